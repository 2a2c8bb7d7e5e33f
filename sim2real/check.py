"""The independent check: does the exported policy walk in a set-up it was not trained in?

The policy file is driven through `runtime` alone, as a robot would drive it, in a MuJoCo model made
from the file's contract (`scene`), with another step, integrator, contact cone, solver budget and
motor model than training has, over a written scenario. Nothing of the training environment is
imported. A file that cannot be trusted gives the status "failed" and no numbers at all.

Called from a script with more than one worker, the script needs the usual
`if __name__ == "__main__":`, since workers are started as fresh processes.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import mujoco
import numpy as np

from tutelage import assets
from tutelage.sim2real import check_episode, metrics, scene
from tutelage.sim2real import scenario as scenarios
from tutelage.sim2real.contract import Contract
from tutelage.sim2real.metrics import EpisodeResult, GateResult, GroupResult
from tutelage.sim2real.runtime import Policy
from tutelage.sim2real.scenario import Episode, Scenario
from tutelage.sim2real.trace import Trace

Gate: TypeAlias = tuple[str, float, float]
"""A metric and the bounds it must keep: (name, low, high)"""
Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with episodes done, episodes in all, and the name of the last"""

SWEEPS = ("delay", "payload", "friction", "strength")
"""Conditions that are tabulated by value, each over the episodes of the group of its name."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What was checked, on what, with what result."""

    status: str
    """"done", or "failed" when the policy could not be run at all"""
    reason: str
    """Why it failed, or ''"""
    verdict: str
    """"pass" or "fail" by the gates; "none" without gates"""
    failing: tuple[str, ...]
    """Metrics whose gates failed"""
    policy: str
    """File name"""
    policy_sha256: str
    scenario: str
    about: str
    scenario_sha256: str
    setup: dict[str, str | float]
    """The check's physics, beside training's periods"""
    warnings: tuple[str, ...]
    metrics: dict[str, float]
    gates: tuple[GateResult, ...]
    groups: tuple[GroupResult, ...]
    sweeps: dict[str, tuple[GroupResult, ...]]
    """By value of a swept condition"""
    grounds: dict[str, tuple[GroupResult, ...]]
    """By kind of ground, then by size"""
    episodes: tuple[EpisodeResult, ...]
    machine: dict[str, str]
    seconds: float
    """Wall clock of the episodes [s]"""
    contract: Contract | None
    """The policy's; not in the JSON, since the policy file carries it"""
    traces: dict[str, Trace]
    """By episode; not in the JSON"""

    @property
    def passed(self) -> bool:
        """True unless the policy could not be run or a gate failed."""
        return self.status == "done" and self.verdict != "fail"

    def json(self) -> dict[str, Any]:
        """What goes into report.json. An open bound of a gate becomes None."""
        data = asdict(replace(self, traces={}, contract=None))
        for gate in data["gates"]:
            for bound in ("low", "high"):
                gate[bound] = gate[bound] if math.isfinite(gate[bound]) else None
        lineage = asdict(self.contract.lineage) if self.contract else {}
        return {k: v for k, v in data.items() if k not in ("traces", "contract")} | {
            "passed": self.passed,
            "lineage": lineage,
        }


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to play an episode; it travels to other processes."""

    policy: str
    mjcf: str
    plan: Scenario


def check(
    policy_path: str | Path,
    scenario: str | Path | Scenario,
    *,
    mjcf: str | Path | None = None,
    gates: Sequence[Gate] = (),
    episodes: Sequence[str] | None = None,
    workers: int = 2,
    video: bool = True,
    out: Path | None = None,
    progress: Progress | None = None,
    curve: Path | Mapping[str, Path] | None = None,
) -> CheckResult:
    """Run a policy over a scenario; with `out`, write report.html, report.json and the video.

    `mjcf` replaces the robot's own model; joints are found in it by name. `episodes` keeps those
    whose names are given. `workers=1` runs in this process. `curve` is a file of JSON lines with
    `seconds` and `metrics`, or several by the name of their stage, drawn into the report.
    """
    plan = scenario if isinstance(scenario, Scenario) else scenarios.load(scenario)
    plan = replace(plan, episodes=_choose(plan, episodes))
    path = Path(policy_path)
    if not path.is_file():
        raise FileNotFoundError(f"no policy at {path}")
    try:
        contract = Policy(path).contract
    except Exception as error:  # whatever is wrong with the file, it must not give numbers
        result, model = _failed(path, plan, error), None
    else:
        model = model_path(contract, mjcf)
        left = len(plan.episodes)
        plan = scenarios.possible(plan, contract.commands)
        left -= len(plan.episodes)
        job = Job(policy=str(path), mjcf=str(model), plan=plan)
        result = _checked(job, contract, gates, workers, progress, left)
    if out is not None:
        from tutelage.sim2real import report  # drawing is not needed for the numbers

        report.write(
            result,  # pyright: ignore[reportArgumentType]  # this file's class, by its other path
            plan, out, mjcf=model, video=video, curve=curve,
        )
    return result


def model_path(contract: Contract, mjcf: str | Path | None) -> Path:
    """The given MJCF file, or that of the robot the contract names."""
    path = Path(mjcf) if mjcf else assets.robot(contract.robot).path
    if not path.is_file():
        raise FileNotFoundError(f"no MJCF at {path}")
    return path


def _choose(plan: Scenario, names: Sequence[str] | None) -> tuple[Episode, ...]:
    if names is None:
        return plan.episodes
    known = {episode.name: episode for episode in plan.episodes}
    for name in names:
        if name not in known:
            raise ValueError(f"scenario '{plan.name}' has no episode '{name}'; it has {[*known]}")
    return tuple(known[name] for name in names)


def _checked(
    job: Job, contract: Contract, gates: Sequence[Gate], workers: int, progress: Progress | None,
    left: int,
) -> CheckResult:  # fmt: skip
    """Play every episode and judge them; `left` were left out."""
    _check_gates(gates, job.plan)
    started = time.perf_counter()
    played = []
    for done, (result, trace) in enumerate(_played(job, workers), start=1):
        played.append((result, trace))
        if progress:
            progress(done, len(job.plan.episodes), result.name)
    seconds = time.perf_counter() - started
    results = tuple(result for result, _ in played)
    groups = tuple(
        metrics.group_result(name, [r for r in results if r.group == name])
        for name in job.plan.groups
    )
    values = metrics.aggregate(results, groups)
    judged = metrics.gate_results(gates, values)
    failing = tuple(gate.metric for gate in judged if not gate.passed)
    return replace(
        _blank(Path(job.policy), job.plan),
        status="done",
        verdict="none" if not judged else "fail" if failing else "pass",
        failing=failing,
        setup=_setup(contract, job.plan),
        warnings=_warnings(contract, Path(job.mjcf), results, left),
        metrics=values,
        gates=judged,
        groups=groups,
        sweeps=_sweeps(results),
        grounds=_grounds(results),
        episodes=results,
        seconds=seconds,
        contract=contract,
        traces={result.name: trace for result, trace in played},
    )


def _check_gates(gates: Sequence[Gate], plan: Scenario) -> None:
    """Raise before a minute is spent, not after it."""
    by_group = ("success", "falls", "velocity_error", "yaw_error")
    known = {*metrics.METRICS, *(f"{m}/{g}" for m in by_group for g in plan.groups)}
    for metric, _, _ in gates:
        if metric not in known:
            raise ValueError(f"no metric '{metric}' to gate on; there are {sorted(known)}")


def _failed(path: Path, plan: Scenario, error: Exception) -> CheckResult:
    reason = f"{type(error).__name__}: {error}"
    return replace(_blank(path, plan), status="failed", verdict="fail", reason=reason)


def _blank(path: Path, plan: Scenario) -> CheckResult:
    """A result that says what was asked for and nothing yet of what came out."""
    return CheckResult(
        status="failed", reason="", verdict="fail", failing=(), policy=path.name,
        policy_sha256=hashlib.sha256(path.read_bytes()).hexdigest(), scenario=plan.name,
        about=plan.about, scenario_sha256=plan.sha256, setup={}, warnings=(), metrics={}, gates=(),
        groups=(), sweeps={}, grounds={}, episodes=(), machine=_machine(), seconds=0.0,
        contract=None, traces={},
    )  # fmt: skip


def _setup(contract: Contract, plan: Scenario) -> dict[str, str | float]:
    substeps = scene.substeps(contract, plan.physics)
    return {
        "physics step [s]": contract.control_dt / substeps,
        "training's physics step [s]": contract.physics_dt,
        "control period [s]": contract.control_dt,
        "integrator": plan.physics.integrator,
        "contact cone": plan.physics.cone,
        "solver": f"Newton, {plan.physics.iterations:g} iterations",
        "motor": f"explicit torque, fading from {plan.physics.knee:.0%} of top speed",
        "settling time not counted [s]": plan.thresholds.settle,
        "mujoco": mujoco.__version__,
    }


def _warnings(
    contract: Contract, mjcf: Path, results: Sequence[EpisodeResult], left: int
) -> tuple[str, ...]:
    found = []
    if left:
        found.append(f"{left} episodes were left out: the policy has no such command")
    if hashlib.sha256(mjcf.read_bytes()).hexdigest() != contract.mjcf_sha256:
        found.append(f"{mjcf.name} is not the model file that the policy was trained with")
    clipped = sum(result.clipped for result in results)
    if clipped:
        found.append(f"commands of {clipped} episodes were clipped to the contract's ranges")
    return tuple(found)


def _machine() -> dict[str, str]:
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "mujoco": mujoco.__version__,
        "numpy": np.__version__,
    }


def _sweeps(results: Sequence[EpisodeResult]) -> dict[str, tuple[GroupResult, ...]]:
    return {
        name: _by_value([r for r in results if r.group == name], name)
        for name in SWEEPS
        if any(r.group == name for r in results)
    }


def _grounds(results: Sequence[EpisodeResult]) -> dict[str, tuple[GroupResult, ...]]:
    kinds = dict.fromkeys(str(r.conditions["ground"]) for r in results)
    return {
        kind: _by_value([r for r in results if r.conditions["ground"] == kind], "size")
        for kind in kinds
        if kind != "flat"
    }


def _by_value(results: Sequence[EpisodeResult], condition: str) -> tuple[GroupResult, ...]:
    values = sorted({float(r.conditions[condition]) for r in results})
    return tuple(
        metrics.group_result(f"{value:g}", [r for r in results if r.conditions[condition] == value])
        for value in values
    )


def _played(job: Job, workers: int) -> Iterator[tuple[EpisodeResult, Trace]]:
    """Results in the order of the scenario."""
    episodes = job.plan.episodes
    if workers <= 1:
        for episode in episodes:
            yield play(job, episode)
        return
    # Fresh processes: a fork would share onnxruntime's threads and any device the parent holds.
    with _one_thread(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(play, [job] * len(episodes), episodes)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started in here compute with one thread each; there are as many as cores."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@lru_cache(maxsize=4)
def _policy(path: str, joint_order: tuple[str, ...]) -> Policy:
    """One session for each worker: loading replays the recorded sequences."""
    return Policy(Path(path), joint_order=joint_order)


def play(job: Job, episode: Episode) -> tuple[EpisodeResult, Trace]:
    """Play and judge one episode."""
    mujoco.set_mju_user_warning(_unsaid)
    contract = _policy_contract(job.policy)
    plan = job.plan
    fitted, clipped = scenarios.fit(episode, contract.commands, plan.commands)
    world = scene.build(contract, Path(job.mjcf), fitted, plan.physics)
    policy = _policy(job.policy, world.joint_names)
    trace = check_episode.run(policy, contract, world, fitted, plan.physics)
    return metrics.episode_result(trace, fitted, contract, plan.thresholds, clipped), trace


@lru_cache(maxsize=4)
def _policy_contract(path: str) -> Contract:
    return Policy(Path(path)).contract


def _unsaid(message: str) -> None:
    """MuJoCo's warnings are counted in its data; left alone it writes a file where it runs."""
