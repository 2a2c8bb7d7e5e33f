"""What works on this machine, and the one line that mends what does not."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from tutelage.cli import commands


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    well: bool
    text: str
    remedy: str = ""
    core: bool = True
    """Whether nothing works without it"""


def doctor(command: commands.Doctor) -> int:
    table = Table("", "what", "found", "remedy", box=None, pad_edge=False)
    broken = False
    for examine in (python, packages, batch, backends, robots, rendering, cache, machine):
        for finding in examined(examine):
            sign = "ok" if finding.well else ("BROKEN" if finding.core else "missing")
            broken |= finding.core and not finding.well
            table.add_row(sign, finding.what, finding.text, "" if finding.well else finding.remedy)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print("the core is broken" if broken else "the core works")
    return int(broken)


def examined(examine: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What an examination finds; one that fails is itself a finding."""
    try:
        yield from examine()
    except Exception as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        yield Finding(what=examine.__name__, well=False, text=text, remedy=REINSTALL)


REINSTALL = "pip install --upgrade --force-reinstall tutelage"


def python() -> Iterator[Finding]:
    yield Finding(
        what="python",
        well=sys.version_info >= (3, 11),
        text=platform.python_version(),
        remedy="use Python 3.11 or newer",
    )


def packages() -> Iterator[Finding]:
    """Every package that ours requires, its version against our bounds."""
    for line in importlib.metadata.requires("tutelage") or []:
        need = Requirement(line)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        yield Finding(
            what=need.name,
            well=bool(version) and need.specifier.contains(version, prereleases=True),
            text=f"{version or 'not installed'} (needs {need.specifier or 'any'})",
            remedy=f'pip install "{need.name}{need.specifier}"',
        )


def batch() -> Iterator[Finding]:
    """The part of MuJoCo that came with 4.0 and steps all environments at once."""
    module = importlib.import_module("mujoco.batch")
    yield Finding(
        what="mujoco.batch",
        well=hasattr(module, "Batch"),
        text="found" if hasattr(module, "Batch") else "has no Batch",
        remedy='pip install "mujoco>=4.0"',
    )
    runtime = importlib.import_module("onnxruntime")
    providers = runtime.get_available_providers()
    yield Finding(
        what="onnxruntime on the CPU",
        well="CPUExecutionProvider" in providers,
        text=", ".join(providers),
        remedy="pip install --force-reinstall onnxruntime",
    )


def backends() -> Iterator[Finding]:
    """The simulators: two environments of the first recipe's task are stepped."""
    import torch

    from tutelage import envs
    from tutelage.algos.recipes import RECIPES

    task = next(iter(RECIPES.values()))().task
    env = envs.make(task, num_envs=2)
    env.step(torch.zeros(2, env.num_actions))
    env.close()
    yield Finding(what="simulator mujoco_cpu", well=True, text=f"stepped {task}")
    cuda = torch.cuda.is_available()
    yield Finding(
        what="cuda",
        well=cuda,
        text=torch.cuda.get_device_name() if cuda else "no NVIDIA GPU that torch can use",
        remedy="not needed: training runs on the CPU",
        core=False,
    )


def robots() -> Iterator[Finding]:
    from tutelage.assets import ROBOTS

    folder = files("tutelage.assets").joinpath("mjcf")
    for name, make in ROBOTS.items():
        path = Path(str(folder)) / make().mjcf
        yield Finding(
            what=f"robot {name}", well=path.is_file(), text=make().mjcf, remedy=REINSTALL
        )


MODEL = "mujoco.MjModel.from_xml_string('<mujoco/>')"
DRAW = f"import mujoco; mujoco.Renderer({MODEL}, 64, 64).render()"


def rendering() -> Iterator[Finding]:
    """Whether MuJoCo can draw without a screen, which only videos need.

    In a process of its own, because the choice of GL is made once, when MuJoCo is imported.
    """
    asked = os.environ.get("MUJOCO_GL")
    for kind in [asked] if asked else ["egl", "osmesa"]:
        environment = {**os.environ, "MUJOCO_GL": kind}
        command = [sys.executable, "-c", DRAW]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            yield Finding(what="rendering", well=True, text=kind, core=False)
            return
    package = "libegl1" if asked == "egl" else "libosmesa6"
    yield Finding(
        what="rendering",
        well=False,
        text=f"no GL without a screen (MUJOCO_GL={asked or 'not set'}); reports have no video",
        remedy=f"apt-get install {package}",
        core=False,
    )


def cache() -> Iterator[Finding]:
    """Where numba keeps compiled functions; without it each start compiles anew."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(str(files("tutelage.envs").joinpath("")))
    places = [Path(chosen)] if chosen else [beside, Path.home() / ".cache"]
    good = [place for place in places if writable(place)]
    yield Finding(
        what="numba's cache",
        well=bool(good),
        text=str(good[0]) if good else f"cannot write to {', '.join(map(str, places))}",
        remedy="export NUMBA_CACHE_DIR=<a folder you can write to>",
        core=False,
    )


def writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding(
        what="machine",
        well=memory >= 4,
        text=f"{cores} cores, {memory:.0f} GiB, {platform.platform()}",
        remedy="train with fewer environments: --num-envs 256",
        core=False,
    )
