"""Pictures of a check. Each function returns a figure, or None where there is nothing to draw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tutelage.sim2real.contract import Contract
from tutelage.sim2real.metrics import RECOVERED, GroupResult
from tutelage.sim2real.scenario import Episode, Thresholds
from tutelage.sim2real.trace import Bools, Floats, Trace

INK, SOFT, GRID = "#1f2937", "#6b7280", "#e5e7eb"
BLUE, ORANGE, TEAL, RED, PURPLE = "#2563eb", "#ea7317", "#0f9488", "#dc2626", "#7c3aed"
LINES = (BLUE, ORANGE, TEAL, PURPLE, RED, "#0891b2")
NAMES = {"delay": "latency [ms]", "payload": "payload [kg]", "friction": "friction",
         "strength": "motor strength"}  # fmt: skip

STYLE: Any = {
    "font.family": "sans-serif", "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.edgecolor": GRID, "axes.labelcolor": SOFT,
    "axes.titlecolor": INK, "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.8, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8,
    "xtick.major.size": 0, "ytick.major.size": 0, "lines.linewidth": 1.4,
    "savefig.facecolor": "white",
}  # fmt: skip


@contextmanager
def style() -> Iterator[None]:
    """The look of every picture here, for the time in which they are made."""
    with matplotlib.rc_context(STYLE):
        yield


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _empty(figure: Figure, axes: Axes) -> None:
    """Only a background: no ticks, no grid, no spines."""
    axes.grid(False)
    axes.spines[:].set_visible(False)


def tracking(trace: Trace, contract: Contract) -> Figure:
    """Commanded against measured velocity, and under it which feet are on the ground."""
    figure = _figure(8.6, 5.6 if contract.feet else 4.6)
    heights = [1, 1, 1, 0.8] if contract.feet else [1, 1, 1]
    rows = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    labels = ("forward [m/s]", "leftward [m/s]", "yaw rate [rad/s]")
    for i, (axes, label) in enumerate(zip(rows, labels, strict=False)):
        axes.plot(trace.time, trace.velocity[:, i], color=BLUE, lw=1.1, label="measured")
        axes.plot(trace.time, trace.command[:, i], color=INK, lw=1.5, ls=(0, (4, 2)),
                  label="commanded")  # fmt: skip
        axes.set_ylabel(label)
        reach = max(0.3, 1.15 * float(np.abs(np.r_[trace.command[:, i], 0.0]).max()))
        seen = float(np.abs(trace.velocity[:, i]).max()) * 1.05
        axes.set_ylim(-max(reach, seen), max(reach, seen))
        _mark_pushes(axes, trace)
    rows[0].set_title("Commanded and measured velocity")
    rows[0].legend(ncol=2, loc="upper right", bbox_to_anchor=(1, 1.32))
    if contract.feet:
        _gait(rows[3], trace, contract)
    rows[-1].set_xlabel("time [s]")
    rows[-1].set_xlim(0, trace.time[-1])
    return figure


def _mark_pushes(axes: Axes, trace: Trace) -> None:
    for start, end in _spans(trace.push):
        axes.axvspan(trace.time[start], trace.time[min(end, len(trace.time) - 1)], color=RED,
                     alpha=0.25, lw=0)  # fmt: skip


def _gait(axes: Axes, trace: Trace, contract: Contract) -> None:
    """A bar for each foot while it is on the ground."""
    dt = contract.control_dt
    for row in range(len(contract.feet)):
        spans = [(trace.time[a], (b - a) * dt) for a, b in _spans(trace.contact[:, row])]
        axes.broken_barh(spans, (row - 0.32, 0.64), facecolors=LINES[row % len(LINES)], alpha=0.85)
    axes.set_yticks(range(len(contract.feet)), [_short(foot) for foot in contract.feet])
    axes.set_ylim(len(contract.feet) - 0.4, -0.6)
    axes.set_ylabel("stance")
    axes.grid(False)


def _short(name: str) -> str:
    return name.removesuffix("_foot").removesuffix("_joint").replace("_", " ")


def _spans(mask: Bools) -> list[tuple[int, int]]:
    """Half-open ranges in which the mask is true."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def torques(traces: Sequence[Trace], contract: Contract, knee: float) -> Figure:
    """Each kind of motor's torque over its speed, inside its limits; share of the limit used."""
    torque = np.concatenate([trace.torque for trace in traces])
    speed = np.concatenate([trace.joint_vel for trace in traces])
    kinds = _kinds(contract)
    figure = _figure(8.6, 2.9 + 0.14 * len(contract.joints))
    ratios = [2.4, 0.8 + 0.14 * len(contract.joints)]
    (top,), (bottom,) = figure.subfigures(2, 1, height_ratios=ratios, squeeze=False)
    columns = top.subplots(1, len(kinds), squeeze=False)[0]
    for axes, (kind, places) in zip(columns, kinds.items(), strict=True):
        _envelope(axes, torque[:, places], speed[:, places], contract, places[0], knee)
        axes.set_title(kind)
        axes.set_xlabel("speed [rad/s]")
    columns[0].set_ylabel("torque [N·m]")
    _usage(bottom.subplots(), torque, contract)
    return figure


def _kinds(contract: Contract) -> dict[str, list[int]]:
    """Joints of the same limits together, named by what their names have in common."""
    groups: dict[tuple[float, float, str], list[int]] = {}
    for i, joint in enumerate(contract.joints):
        last = _short(joint.name).split()[-1]
        groups.setdefault((joint.effort, joint.speed, last), []).append(i)
    if len(groups) > 4:  # a humanoid: by limits alone
        merged: dict[tuple[float, float, str], list[int]] = {}
        for (effort, speed, _), places in groups.items():
            merged.setdefault((effort, speed, f"{effort:g} N·m"), []).extend(places)
        groups = merged
    return {key[2]: places for key, places in groups.items()}


def _envelope(
    axes: Axes, torque: Floats, speed: Floats, contract: Contract, joint: int, knee: float
) -> None:
    effort, top = contract.joints[joint].effort, contract.joints[joint].speed
    rng = np.random.default_rng(0)  # a sample: more points show nothing more
    keep = rng.permutation(torque.size)[:6000]
    axes.scatter(speed.ravel()[keep], torque.ravel()[keep], s=2, color=BLUE, alpha=0.18, lw=0,
                 rasterized=True)  # fmt: skip
    x = np.array([-top, -knee * top, knee * top, top])
    axes.plot([-top, *x[1:3], top, top], [effort, effort, effort, 0, -effort], color=INK, lw=1.1)
    axes.plot([-top, -top, x[1], top], [effort, 0, -effort, -effort], color=INK, lw=1.1)
    axes.set_xlim(-1.1 * top, 1.1 * top)
    axes.set_ylim(-1.15 * effort, 1.15 * effort)


def _usage(axes: Axes, torque: Floats, contract: Contract) -> None:
    """Median, 95th percentile and largest torque of each joint as a share of its limit."""
    effort = np.array([joint.effort for joint in contract.joints])
    share = np.abs(torque) / effort
    rows = np.arange(len(effort))
    median, high, most = np.percentile(share, [50, 95, 100], axis=0)
    axes.barh(rows, high, color=BLUE, alpha=0.25, height=0.7, label="95 %")
    axes.barh(rows, median, color=BLUE, alpha=0.9, height=0.7, label="median")
    axes.scatter(most, rows, marker="|", s=36, color=INK, label="largest", zorder=3)
    axes.axvline(1.0, color=RED, lw=1.2)
    axes.set_yticks(rows, [_short(joint.name) for joint in contract.joints], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.05)
    axes.set_xlabel("share of the torque limit")
    axes.grid(axis="y", visible=False)
    axes.legend(ncol=3, loc="lower right", bbox_to_anchor=(1, 1.0))


def recovery(pairs: Sequence[tuple[Episode, Trace]]) -> Figure | None:
    """Planar velocity error around each push, and the largest error by direction."""
    runs = [(push, trace) for episode, trace in pairs for push in episode.pushes]
    if not runs:
        return None
    figure = _figure(8.6, 2.9)
    ((left, right),) = figure.subfigures(1, 2, width_ratios=[2, 1], squeeze=False)
    axes, compass = left.subplots(), right.subplots(subplot_kw={"projection": "polar"})
    grid, curves = np.arange(-0.5, 2.0, 0.02), []
    for push, trace in runs:
        error = np.linalg.norm(trace.velocity[:, :2] - trace.command[:, :2], axis=1)
        curve = np.interp(grid, trace.time - push.at, error, right=np.nan)
        curves.append(curve)
        axes.plot(grid, curve, color=RED if trace.fall else BLUE, alpha=0.25, lw=0.9)
        after = curve[(grid >= 0) & np.isfinite(curve)]
        if after.size:
            compass.scatter(np.deg2rad(push.angle), after.max(), s=22,
                            color=RED if trace.fall else BLUE, alpha=0.8, lw=0)  # fmt: skip
    known = np.isfinite(curves).any(axis=0)
    mean = np.nanmean(np.array(curves)[:, known], axis=0)
    axes.plot(grid[known], mean, color=INK, lw=2, label="mean")
    axes.axvspan(0, runs[0][0].lasts, color=RED, alpha=0.2, lw=0, label="push")
    axes.axhline(RECOVERED, color=SOFT, lw=0.9, ls=(0, (3, 3)), label="counts as recovered")
    axes.set(xlabel="time since the push [s]", ylabel="velocity error [m/s]", xlim=(-0.5, 2.0))
    axes.set_ylim(bottom=0)
    axes.set_title("Push recovery")
    axes.legend(loc="upper right")
    compass.set_theta_zero_location("N")  # forward is up, left is left
    compass.set_thetagrids([0, 90, 180, 270], ["front", "left", "back", "right"])
    compass.tick_params(labelsize=7)
    compass.set_title("largest error [m/s]\nby direction of the push", fontsize=8, loc="center",
                      fontweight="normal", color=SOFT)  # fmt: skip
    return figure


def success(groups: Sequence[GroupResult]) -> Figure:
    """Share of successes of each group with its interval."""
    figure = _figure(8.6, 0.75 + 0.32 * len(groups))
    axes = figure.subplots()
    for row, group in enumerate(groups):
        axes.plot([group.low, group.high], [row, row], color=BLUE, alpha=0.3, lw=6,
                  solid_capstyle="round")  # fmt: skip
        axes.scatter(group.success, row, color=BLUE, s=40, zorder=3)
        axes.text(1.02, row, f"{group.successes} of {group.episodes}", va="center", color=SOFT,
                  fontsize=8, transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axes.grid(axis="y", visible=False)
    axes.set_title("Success by group, with 95 % intervals")
    return figure


def sweeps(tables: Mapping[str, Sequence[GroupResult]], thresholds: Thresholds) -> Figure | None:
    """Success and velocity error over each swept condition."""
    shown = {name: rows for name, rows in tables.items() if len(rows) > 1}
    if not shown:
        return None
    figure = _figure(8.6, 3.6)
    grid = figure.subplots(2, len(shown), squeeze=False, sharex="col", sharey="row")
    for column, (name, rows) in enumerate(shown.items()):
        factor = 1000 if name == "delay" else 1
        x = [float(row.name) * factor for row in rows]
        upper, lower = grid[0][column], grid[1][column]
        upper.fill_between(x, [r.low for r in rows], [r.high for r in rows], color=BLUE, alpha=0.15,
                           lw=0)  # fmt: skip
        upper.plot(x, [r.success for r in rows], "o-", color=BLUE, ms=4)
        upper.set_ylim(-0.03, 1.05)
        errors = [np.nan if r.velocity_error is None else r.velocity_error for r in rows]
        lower.plot(x, errors, "o-", color=ORANGE, ms=4)
        lower.axhline(thresholds.velocity_error, color=SOFT, lw=0.9, ls=(0, (3, 3)))
        lower.set_xlabel(NAMES.get(name, name))
        upper.set_title(name)
    grid[0][0].set_ylabel("success")
    grid[0][0].yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    grid[1][0].set_ylabel("velocity error [m/s]")
    known = [row.velocity_error or 0.0 for rows in shown.values() for row in rows]
    grid[1][0].set_ylim(0, 1.15 * max(*known, thresholds.velocity_error))
    return figure


def grounds(tables: Mapping[str, Sequence[GroupResult]]) -> Figure | None:
    """Success for each kind of ground (rows) and size (columns, easy to hard)."""
    if not any(len(rows) > 1 for rows in tables.values()):
        return None
    width = max(len(rows) for rows in tables.values())
    figure = _figure(8.6, 0.7 + 0.5 * len(tables))
    axes = figure.subplots()
    for y, rows in enumerate(tables.values()):
        for x, row in enumerate(rows):
            colour = matplotlib.colormaps["RdYlGn"](0.1 + 0.8 * row.success)
            axes.add_patch(Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=colour, alpha=0.75))
            axes.text(x, y - 0.1, f"{row.success:.0%}", ha="center", va="center", weight="bold")
            axes.text(x, y + 0.25, f"size {row.name} · {row.successes}/{row.episodes}",
                      ha="center", va="center", fontsize=7, color=INK)  # fmt: skip
    axes.set_yticks(range(len(tables)), list(tables))
    axes.set_xticks([])
    axes.set(xlim=(-0.5, width - 0.5), ylim=(len(tables) - 0.5, -0.5))
    axes.set_title("Success by kind of ground, easy to hard")
    _empty(figure, axes)
    return figure


def curves(files: Mapping[str, Path], metric: str = "velocity_error") -> Figure | None:
    """Error against wall-clock time of training, from files of JSON lines."""
    lines = {name: _read_curve(path, metric) for name, path in files.items() if path.is_file()}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure = _figure(8.6, 2.6)
    axes = figure.subplots()
    start = 0.0
    for colour, (name, points) in zip(LINES, lines.items(), strict=False):
        minutes = start + points[:, 0] / 60
        axes.plot(minutes, points[:, 1], color=colour, label=name)
        start = float(minutes[-1])
    axes.set(xlabel="wall-clock time of training [min]", ylabel="velocity error [m/s]")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_title("Learning curve")
    axes.legend()
    return figure


def _read_curve(path: Path, metric: str) -> Floats:
    """(n, 2) seconds and error; lines without the number, or cut short, are left out."""
    points = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError:
            continue
        found = {k.rsplit("/", 1)[-1]: v for k, v in {**line, **line.get("metrics", {})}.items()}
        if found.get(metric) is not None and "seconds" in found:
            points.append((float(found["seconds"]), float(found[metric])))
    return np.array(points).reshape(-1, 2)
