"""Numbers drawn from traces: for an episode, for a group, for the whole check.

numpy only; nothing here knows a simulator. What each metric means stands beside it in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from tutelage.sim2real.contract import Contract
from tutelage.sim2real.scenario import Episode, Thresholds
from tutelage.sim2real.trace import Bools, Floats, Trace

METRICS = {
    "success": "share of episodes that track and survive",
    "success_low": "lower end of its 95 % Wilson interval",
    "falls": "share of episodes that end in a fall",
    "velocity_error": "mean size of the planar velocity error, all times but the settling ones "
    "[m/s]",
    "velocity_error_moving": "the same, only where a planar velocity is asked for [m/s]",
    "yaw_error": "mean size of the yaw rate's error, all times but the settling ones [rad/s]",
    "power": "mean positive mechanical power of the motors [W]",
    "cost_of_transport": "that energy over weight times distance, where a velocity is asked for",
    "action_rate": "mean speed with which the joint targets change [rad/s]",
    "torque_saturation": "share of joints and times within 5 % of the torque limit",
    "joint_margin": "smallest distance of a joint from its position limit, 1st percentile [rad]",
    "recovery": "mean time from a push until the error is below 0.3 m/s for 0.3 s [s]",
}
"""Every metric of a check and what it means. `success/<group>` and so on hold for one group."""

MOVING = 0.01
"""Size of a command from which it counts as moving [m/s or rad/s]"""
CREEPING = 0.05
"""Mean speed below which a cost of transport says nothing [m/s]"""
SATURATED = 0.95
RECOVERED = 0.3
Z = 1.959964
"""Standard normal quantile of a 95 % interval"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeResult:
    """One episode in numbers. None where a number has no meaning in it."""

    name: str
    group: str
    success: bool
    survived: bool
    tracks: bool
    fall: str
    seconds: float
    """Until the end or the fall [s]"""
    samples: int
    """Control periods that count for the errors"""
    velocity_error: float | None
    velocity_error_moving: float | None
    moving_samples: int
    yaw_error: float | None
    power: float
    cost_of_transport: float | None
    action_rate: float
    torque_saturation: float
    joint_margin: float
    recovery: float | None
    clipped: bool
    """Whether its commands were outside the contract's ranges and were clipped"""
    conditions: dict[str, float | str]
    """payload [kg], friction, strength, delay [s], ground, size"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupResult:
    """Episodes under one heading."""

    name: str
    episodes: int
    successes: int
    falls: int
    success: float
    low: float
    high: float
    """95 % Wilson interval of the success"""
    velocity_error: float | None
    yaw_error: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    metric: str
    value: float
    low: float
    high: float
    passed: bool


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share by Wilson's score (J. Am. Stat. Assoc. 22, 1927)."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At 0 and n the bound is exactly 0 or 1; rounding would leave a trace of 1e-17.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half


def counted(trace: Trace, episode: Episode, settle: float) -> Bools:
    """(T,) where errors count: not within `settle` [s] after a step of the command."""
    since = [trace.time - step for step in episode.steps()]
    settling = np.any([(s >= 0) & (s < settle) for s in since], axis=0)
    return ~np.asarray(settling, dtype=bool)


def episode_result(
    trace: Trace, episode: Episode, contract: Contract, thresholds: Thresholds, clipped: bool
) -> EpisodeResult:
    """Judge one episode."""
    planar = np.linalg.norm(trace.velocity[:, :2] - trace.command[:, :2], axis=1)
    yaw = np.abs(trace.velocity[:, 2] - trace.command[:, 2])
    count = counted(trace, episode, thresholds.settle)
    moving = count & (np.linalg.norm(trace.command[:, :2], axis=1) > MOVING)
    tracks = _tracks(trace, planar, yaw, count, thresholds)
    change = np.abs(np.diff(trace.target, axis=0)) / contract.control_dt
    effort = np.array([joint.effort for joint in contract.joints])
    return EpisodeResult(
        name=episode.name,
        group=episode.group,
        success=tracks and not trace.fall,
        survived=not trace.fall,
        tracks=tracks,
        fall=trace.fall,
        seconds=len(trace.time) * contract.control_dt,
        samples=int(count.sum()),
        velocity_error=_mean(planar, count),
        velocity_error_moving=_mean(planar, moving),
        moving_samples=int(moving.sum()),
        yaw_error=_mean(yaw, count),
        power=float(trace.power.mean()),
        cost_of_transport=_transport(trace, moving),
        action_rate=float(change.mean()) if len(change) else 0.0,
        torque_saturation=float((np.abs(trace.torque) >= SATURATED * effort).mean()),
        joint_margin=_margin(trace, contract),
        recovery=_recovery(trace, episode, planar, contract.control_dt),
        clipped=clipped,
        conditions={
            "payload": episode.payload,
            "friction": episode.friction,
            "strength": episode.strength,
            "delay": round(episode.action_delay + episode.sensor_delay, 6),
            "ground": episode.ground.kind,
            "size": episode.ground.size,
        },
    )


def _mean(values: Floats, mask: Bools) -> float | None:
    return float(values[mask].mean()) if mask.any() else None


def _tracks(trace: Trace, planar: Floats, yaw: Floats, count: Bools, limits: Thresholds) -> bool:
    """Whether both errors are small, measured against what was asked for as well.

    Where the robot is asked to move, the error is judged over those times only and must also be
    below a share of the mean command, so that standing still is never tracking.
    """
    ok = bool(count.any())
    wanted = np.linalg.norm(trace.command[:, :2], axis=1), np.abs(trace.command[:, 2])
    largest = limits.velocity_error, limits.yaw_error
    for error, size, limit in zip((planar, yaw), wanted, largest, strict=True):
        moving = count & (size > MOVING)
        if moving.any():
            limit = min(limit, limits.share * float(size[moving].mean()))
            ok &= float(error[moving].mean()) <= limit
        elif count.any():
            ok &= float(error[count].mean()) <= limit
    return ok


def _transport(trace: Trace, moving: Bools) -> float | None:
    """Energy over weight times distance, where a velocity is asked for and reached at all."""
    speed = np.linalg.norm(trace.velocity[:, :2], axis=1)
    if not moving.any() or speed[moving].mean() < CREEPING:
        return None
    return float(trace.power[moving].sum() / (trace.mass * 9.81 * speed[moving].sum()))


def _margin(trace: Trace, contract: Contract) -> float:
    lower = np.array([joint.lower for joint in contract.joints])
    upper = np.array([joint.upper for joint in contract.joints])
    nearest = np.minimum(trace.joint_pos - lower, upper - trace.joint_pos).min(axis=1)
    return float(np.percentile(nearest, 1))


def _recovery(trace: Trace, episode: Episode, planar: Floats, dt: float) -> float | None:
    """Mean time from the end of each push until the error stays small for 0.3 s [s].

    A push that is not recovered from counts with the time that was left; one whose end the robot
    did not see, because it had fallen, does not count here.
    """
    times = []
    window = max(1, round(0.3 / dt))
    for push in episode.pushes:
        after = planar[trace.time >= push.at + push.lasts - 1e-9]
        if not len(after):
            continue
        calm = np.convolve(after < RECOVERED, np.ones(window), "valid") >= window
        times.append((int(np.argmax(calm)) if calm.any() else len(after)) * dt)
    return float(np.mean(times)) if times else None


def group_result(name: str, results: Sequence[EpisodeResult]) -> GroupResult:
    """Counts and errors of some episodes; errors are weighted by the periods that count."""
    successes = sum(r.success for r in results)
    low, high = wilson(successes, len(results))
    return GroupResult(
        name=name,
        episodes=len(results),
        successes=successes,
        falls=sum(not r.survived for r in results),
        success=successes / len(results) if results else 0.0,
        low=low,
        high=high,
        velocity_error=_weighted(results, "velocity_error", "samples"),
        yaw_error=_weighted(results, "yaw_error", "samples"),
    )


def _weighted(results: Sequence[EpisodeResult], name: str, weight: str) -> float | None:
    pairs = [(getattr(r, name), getattr(r, weight)) for r in results]
    pairs = [(value, n) for value, n in pairs if value is not None and n > 0]
    if not pairs:
        return None
    return float(sum(v * n for v, n in pairs) / sum(n for _, n in pairs))


def aggregate(results: Sequence[EpisodeResult], groups: Sequence[GroupResult]) -> dict[str, float]:
    """Every metric of the check by name; one without a value is left out."""
    whole = group_result("all", results)
    values: dict[str, float | None] = {
        "success": whole.success,
        "success_low": whole.low,
        "falls": whole.falls / whole.episodes,
        "velocity_error": whole.velocity_error,
        "velocity_error_moving": _weighted(results, "velocity_error_moving", "moving_samples"),
        "yaw_error": whole.yaw_error,
        "power": _weighted(results, "power", "seconds"),
        "cost_of_transport": _weighted(results, "cost_of_transport", "moving_samples"),
        "action_rate": _weighted(results, "action_rate", "seconds"),
        "torque_saturation": _weighted(results, "torque_saturation", "seconds"),
        "joint_margin": min(r.joint_margin for r in results),
        "recovery": _weighted(results, "recovery", "samples"),
    }
    for group in groups:
        values[f"success/{group.name}"] = group.success
        values[f"falls/{group.name}"] = group.falls / group.episodes
        values[f"velocity_error/{group.name}"] = group.velocity_error
        values[f"yaw_error/{group.name}"] = group.yaw_error
    return {name: value for name, value in values.items() if value is not None}


def gate_results(
    gates: Sequence[tuple[str, float, float]], metrics: dict[str, float]
) -> tuple[GateResult, ...]:
    """Each (metric, low, high) against what was reached."""
    for metric, _, _ in gates:
        if metric not in metrics:
            raise ValueError(f"no metric '{metric}' to gate on; there are {sorted(metrics)}")
    return tuple(
        GateResult(metric=m, value=metrics[m], low=low, high=high, passed=low <= metrics[m] <= high)
        for m, low, high in gates
    )
