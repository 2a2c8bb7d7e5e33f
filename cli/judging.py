"""`tutelage export`, `tutelage check` and `tutelage play`."""

from __future__ import annotations

import contextlib
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tutelage.algos import runs
from tutelage.algos.recipes import RECIPES, Recipe
from tutelage.cli import commands, shipped
from tutelage.cli.names import UserError
from tutelage.cli.progress import Line
from tutelage.sim2real import check as checking
from tutelage.sim2real import scenario as scenarios
from tutelage.sim2real.runtime import Policy, PolicyError

T = TypeVar("T")
SCENARIO = "quadruped"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of a check, and where it is written."""

    result: checking.CheckResult
    report: Path
    smoke: bool


def export(command: commands.Export) -> int:
    from tutelage.sim2real.export_run import export_run  # torch is not needed for the rest

    run = command.run if command.run.is_file() else runs.find(command.run)
    with Line() as line:
        line.begin("export")
        path = export_run(run, command.out)
        line.end()
    print(path)
    return 0


def check(command: commands.Check) -> int:
    path = shipped.policy(command.policy)
    recipe = recipe_of(path)
    with Line() as line:
        line.begin("check")
        judged = judge(
            path,
            recipe,
            scenario=command.scenario,
            out=command.out or place(command.policy, path),
            smoke=command.smoke,
            video=command.video,
            line=line,
        )
        line.end("judged")
    return verdict(judged)


def recipe_of(path: Path) -> Recipe | None:
    """The recipe that a policy names in its contract; None where the file or name is not ours."""
    try:
        named = Policy(path).contract.lineage.recipe
    except PolicyError:
        return None  # the check refuses the file, and says so in its report
    return RECIPES[named]() if named in RECIPES else None


def place(named: str, path: Path) -> Path:
    """Beside the policy, but never inside the installed package."""
    if path in shipped.policies().values():
        return Path("logs/check") / named
    return path.parent / "check"


def judge(
    path: Path,
    recipe: Recipe | None,
    *,
    out: Path,
    smoke: bool,
    video: bool,
    line: Line,
    scenario: str | None = None,
    curves: Mapping[str, Path] | None = None,
) -> Judged:
    """Run the scenario and write the report; gates are those of the recipe."""
    chosen = scenario or (recipe.scenario if recipe else SCENARIO)
    plan = scenarios.load(f"{chosen}:smoke" if smoke and ":" not in chosen else chosen)
    gates = [(gate.metric, gate.low, gate.high) for gate in recipe.gates] if recipe else []
    out.mkdir(parents=True, exist_ok=True)
    result = checking.check(
        path,
        plan,
        gates=gates,
        video=video,
        out=out,
        progress=lambda done, total, name: line.count(name, done, total),
        curve=curves,
    )
    return Judged(result=result, report=out / "report.html", smoke=smoke)


def verdict(judged: Judged) -> int:
    """Print the verdict, its numbers and the report's path; the exit code."""
    result = judged.result
    if result.status == "failed":
        raise UserError(f"{result.reason}\nreport: {judged.report}")
    for warning in result.warnings:
        print(f"warning: {warning}")
    gated = {gate.metric for gate in result.gates}
    for name, value in result.metrics.items():
        if name not in gated and "/" not in name:  # those of groups are in the report
            print(f"  {name:<28}{value:>10.4f}")
    for gate in result.gates:
        bounds = " and ".join(
            f"at {word} {bound:g}"
            for word, bound in (("least", gate.low), ("most", gate.high))
            if math.isfinite(bound)
        )
        kept = "pass" if gate.passed else "FAIL"
        print(f"  {gate.metric:<28}{gate.value:>10.4f}   {kept} ({bounds})")
    enforced = " (a smoke run: gates are not enforced)" if judged.smoke else ""
    print(f"verdict: {result.verdict}{enforced}")
    print(f"report: {judged.report}")
    return 0 if result.passed or judged.smoke else 1


def play(command: commands.Play) -> int:
    """In the browser until Ctrl-C; as a video where one is asked for or no viewer is installed."""
    from tutelage.sim2real import play as playing

    path = shipped.policy(command.policy)
    film = command.video
    if film is None and importlib.util.find_spec("mjviser") is None:
        film = Path("logs/play") / f"{path.parent.name}.mp4"
        print(f"no viewer is installed ({playing.INSTALL}); writing a video instead")
    if film is None:
        print(f"http://localhost:{command.port} shows {path}; Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        fault = playing.play(
            path,
            video_path=film,
            command=command.command,
            seconds=command.seconds,
            port=command.port,
        )
        if fault:
            raise UserError(f"no video: {fault}; `tutelage doctor` names the package to install")
        if film is not None:
            print(film)
    return 0
