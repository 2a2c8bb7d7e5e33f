"""What can be typed after `tutelage`: one dataclass for each command, read by tyro.

Nothing is imported here but tyro, so that `tutelage --help` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from tyro.conf import Positional, arg, subcommand

RecipeName: TypeAlias = Annotated[Positional[str], arg(metavar="RECIPE")]
LOG_ROOT = Path("logs/rsl_rl")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What every command understands."""

    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Training(Command):
    """What every command that trains understands."""

    recipe: RecipeName
    """A recipe's name; `tutelage list` shows them."""
    num_envs: Annotated[int | None, arg(metavar="N")] = None
    """Environments of this process, instead of the recipe's number."""
    iterations: Annotated[int | None, arg(metavar="N")] = None
    """Iterations altogether (also after --resume), instead of the recipe's number."""
    seed: int = 0
    """Seed of everything that is drawn."""
    set: Annotated[tuple[str, ...], arg(metavar="KEY=VALUE")] = ()
    """Other numbers of the recipe, e.g. --set learning_rate=3e-4 epochs=2."""
    name: str = ""
    """A word added to the name of the run's folder."""
    log_root: Path = LOG_ROOT
    """Folder below which runs are kept."""
    resume: Annotated[Path | None, arg(metavar="RUN")] = None
    """Folder of a run to go on with."""
    smoke: bool = False
    """A tiny budget, to see that everything works."""
    print_config: bool = False
    """Print what would be used, and stop."""


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a recipe's teacher, which sees what only a simulator knows."""


@dataclass(frozen=True, kw_only=True)
class Distill(Training):
    """Distil a trained teacher into a student, which sees what the robot senses."""

    teacher: Annotated[Path | None, arg(metavar="RUN|FILE")] = None
    """The teacher: its run's folder, or one of its checkpoints. A run that is resumed knows it."""


@dataclass(frozen=True, kw_only=True)
class Export(Command):
    """Write a student as one ONNX file that carries its contract and its proof."""

    run: Annotated[Positional[Path], arg(metavar="RUN|FILE")]
    """The student: its run's folder, or one of its checkpoints."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """Where to write; by default exported/policy.onnx in the run's folder."""


@dataclass(frozen=True, kw_only=True)
class Check(Command):
    """Judge a policy in a second simulator set-up and write a report."""

    policy: Annotated[Positional[str], arg(metavar="RECIPE|FILE|RUN")]
    """An ONNX file, a run's folder, or a recipe whose policy is shipped with this package."""
    scenario: Annotated[str | None, arg(metavar="NAME|FILE")] = None
    """What to judge it on, instead of the recipe's scenario."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder of the report; by default `check` beside the file, or logs/check/RECIPE."""
    smoke: bool = False
    """A handful of short episodes; gates are reported, not enforced."""
    video: bool = True
    """Render a video into the report."""
    seed: int = 0
    """Seed of everything that is drawn."""


@dataclass(frozen=True, kw_only=True)
class Play(Command):
    """Watch a policy: in the browser with a joystick, or as a video."""

    policy: Annotated[Positional[str], arg(metavar="RECIPE|FILE|RUN")]
    """An ONNX file, a run's folder, or a recipe whose policy is shipped with this package."""
    video: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write a video instead of opening a viewer."""
    command: Annotated[tuple[float, ...], arg(metavar="VALUE")] = ()
    """What the robot is asked to do in the video, e.g. --command 0.8 0 0."""
    seconds: float = 10.0
    """Length of the video [s]."""
    port: int = 8080
    """Port of the viewer."""


@dataclass(frozen=True, kw_only=True)
class Run(Command):
    """Teacher, student, export, check and report, in one go."""

    recipe: RecipeName
    """A recipe's name; `tutelage list` shows them."""
    smoke: bool = False
    """A tiny budget; gates are reported, not enforced."""
    seed: int = 0
    """Seed of everything that is drawn."""
    name: str = ""
    """A word added to the name of the run's folder."""
    log_root: Path = LOG_ROOT
    """Folder below which runs are kept."""
    resume: Annotated[Path | None, arg(metavar="RUN")] = None
    """Folder of an interrupted run to go on with."""
    video: bool = True
    """Render a video into the report."""
    print_config: bool = False
    """Print what would be used, and stop."""


@dataclass(frozen=True, kw_only=True)
class Bench(Command):
    """Measure physics, environment and training steps per second, and write them as JSON."""

    recipe: RecipeName
    """A recipe's name; `tutelage list` shows them."""
    num_envs: int = 1024
    """Environments."""
    windows: int = 7
    """Interleaved windows of each kind; medians are reported."""
    steps: int = 12
    """Control steps in a window."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """Where to write; by default benchmarks/results/RECIPE.json."""


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """Show recipes, robots, tasks and runs."""

    log_root: Path = LOG_ROOT
    """Folder below which runs are kept."""


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Say what works on this machine, and mend what does not in one line each."""


AnyCommand: TypeAlias = (
    Annotated[List, subcommand("list")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Distill, subcommand("distill")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Play, subcommand("play")]
    | Annotated[Run, subcommand("run")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Doctor, subcommand("doctor")]
)
NAMES = ("list", "train", "distill", "export", "check", "play", "run", "bench", "doctor")
