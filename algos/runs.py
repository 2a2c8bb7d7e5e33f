"""Run directories: where a training leaves everything, and how it is found again.

    <root>/<experiment>/<YYYY-MM-DD_HH-MM-SS>[_<name>]/
        params/<what>.yaml    what was asked for, written before anything is built
        meta.json             git, packages, hardware, seed, command line
        status.json           running, failed, interrupted or done, and why
        model_<iteration>.pt  checkpoints; `best` points to the one that the check chose
        curve.jsonl           one line an iteration
        eval/<what>.json      measurements
        exported/  videos/

Files appear whole or not at all: each is written beside its place and renamed into it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from tutelage.algos.machine import describe_machine, package_versions

LOG_ROOT = Path("logs/rsl_rl")
STAMP = "%Y-%m-%d_%H-%M-%S"
State: TypeAlias = Literal["running", "interrupted", "failed", "done"]


class Interrupted(Exception):
    """A training stopped because it was asked to, after saving; it can be resumed."""

    def __init__(self, run: Path, iteration: int, command: str) -> None:
        self.run = run
        self.iteration = iteration
        """Iterations completed"""
        self.command = command
        """Shell command that resumes it"""
        super().__init__(
            f"interrupted after {iteration} iterations; everything is saved in {run}. "
            f"Resume with: {command}"
        )


def create(
    experiment: str, *, root: Path = LOG_ROOT, name: str = "", now: datetime | None = None
) -> Path:
    """A new run directory; the second is moved on while another run has it."""
    for what, word in (("experiment", experiment), ("name", name)):
        if re.search(r"[^\w.+-]", word) or word.startswith("."):
            raise ValueError(f"{what} '{word}': use letters, digits and . + - _ only")
    when = now or datetime.now()
    while True:
        path = root / experiment / "_".join(filter(None, (when.strftime(STAMP), name)))
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            when += timedelta(seconds=1)
            continue
        for folder in ("params", "exported", "videos", "eval"):
            (path / folder).mkdir()
        return path


def listing(experiment: str, *, root: Path = LOG_ROOT) -> list[Path]:
    """Runs of an experiment, oldest first."""
    folder = root / experiment
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if _started(path) is not None)


def latest(experiment: str, *, root: Path = LOG_ROOT) -> Path:
    """The newest run of an experiment."""
    found = listing(experiment, root=root)
    if not found:
        there = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        raise FileNotFoundError(
            f"no run of '{experiment}' in {root}; experiments there: {', '.join(there) or 'none'}"
        )
    return found[-1]


def find(run: str | Path, *, root: Path = LOG_ROOT) -> Path:
    """A run by its path, `<experiment>`, `<experiment>/<run>`, or a checkpoint inside it."""
    path = Path(run)
    for candidate in (path, root / path):
        folder = candidate.parent if candidate.is_file() else candidate
        if _started(folder) is not None and folder.is_dir():
            return folder
    if listing(str(run), root=root):
        return latest(str(run), root=root)
    there = [str(p.relative_to(root)) for p in sorted(root.glob("*/*")) if _started(p)]
    raise FileNotFoundError(
        f"no run '{run}' here or in {root}; runs there: {', '.join(there) or 'none'}"
    )


def _started(path: Path) -> datetime | None:
    """When a run of this name was started; None where it is not the name of a run."""
    try:
        return datetime.strptime(path.name[:19], STAMP)
    except ValueError:
        return None


def checkpoints(run: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    found = [(iteration_of(path), path) for path in run.glob("model_*.pt")]
    return [path for _, path in sorted((i, p) for i, p in found if i >= 0)]


def iteration_of(checkpoint: Path) -> int:
    """Number in the name of a checkpoint; -1 where there is none."""
    match = re.fullmatch(r"model_(\d+)", checkpoint.stem)
    return int(match[1]) if match else -1


def newest(run: Path) -> Path:
    """The newest checkpoint of a run."""
    found = checkpoints(run)
    if not found:
        raise FileNotFoundError(f"run {run} has no checkpoint (model_<iteration>.pt)")
    return found[-1]


def set_aside(run: Path, iteration: int) -> None:
    """Rename the checkpoints after an iteration, which is about to be continued differently.

    They would otherwise pass for the newest. Nothing is lost; the ending is ".aside".
    """
    for path in checkpoints(run):
        if iteration_of(path) > iteration:
            os.replace(path, path.with_name(path.name + ".aside"))


def set_best(run: Path, checkpoint: Path) -> None:
    """Point `best` to a checkpoint of the run."""
    if checkpoint.parent.resolve() != run.resolve() or not checkpoint.is_file():
        raise FileNotFoundError(
            f"{checkpoint} is not a checkpoint of {run}; "
            f"its checkpoints: {[path.name for path in checkpoints(run)]}"
        )
    # A file that holds the name, not a symbolic link: those do not survive copying to every disk.
    write_text(run / "best", checkpoint.name + "\n")


def best(run: Path) -> Path | None:
    """The checkpoint that the check chose, if it has chosen."""
    pointer = run / "best"
    if not pointer.is_file():
        return None
    chosen = run / pointer.read_text().strip()
    if not chosen.is_file():
        raise FileNotFoundError(
            f"{pointer} points to {chosen.name}, which is not there; "
            f"checkpoints: {[path.name for path in checkpoints(run)]}"
        )
    return chosen


def checkpoint_of(path: Path) -> Path:
    """The checkpoint meant by a path: itself, or for a run its best or newest."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"neither a run nor a checkpoint: {path}")
    return best(path) or newest(path)


def write_meta(run: Path, *, seed: int, **more: Any) -> None:
    """Write what is needed to tell later where the run came from."""
    meta = {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seed": seed,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git": git_state(Path(__file__).parent),
        "versions": package_versions(),
        "machine": describe_machine(),
        **more,
    }
    write_json(run / "meta.json", meta)


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the checkout around a folder and whether files differ; empty outside of git."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        # An installed copy may lie in somebody else's checkout, which says nothing about it.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "", "dirty": False}


def set_status(run: Path, state: State, why: str = "") -> None:
    """Say how the run stands, and why."""
    if state not in get_args(State):
        raise ValueError(f"unknown state '{state}'; choices: {', '.join(get_args(State))}")
    status = {
        "state": state,
        "why": why,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    write_json(run / "status.json", status)


def status(run: Path) -> dict[str, Any]:
    """How the run stands; a running one whose process is gone counts as interrupted."""
    path = run / "status.json"
    if not path.is_file():
        return {"state": "failed", "why": "no status was ever written"}
    said = read_json(path)
    here = said["host"] == socket.gethostname()
    if said["state"] == "running" and here and not _alive(said["pid"]):
        said |= {"state": "interrupted", "why": f"process {said['pid']} was killed"}
    return said


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def recorded(run: Path) -> Iterator[None]:
    """Keep the run's status true while the body works, however it ends."""
    set_status(run, "running")
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        set_status(run, "interrupted", str(error) or "stopped from the keyboard")
        raise
    except BaseException as error:
        set_status(run, "failed", f"{type(error).__name__}: {error}")
        raise
    set_status(run, "done")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {type(value).__name__}, not an object")
    return value
