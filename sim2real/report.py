"""The report of a check: report.json with the numbers, report.html to look at, and a video.

The page is one file: pictures and video are inside it. The video is also written beside it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from matplotlib.figure import Figure

from tutelage.sim2real import plots, scene
from tutelage.sim2real import scenario as scenarios
from tutelage.sim2real.metrics import METRICS, EpisodeResult
from tutelage.sim2real.scenario import Scenario

if TYPE_CHECKING:
    from tutelage.sim2real.check import CheckResult

DPI = 130
VIDEO = "episode.mp4"

CAPTIONS = {
    "tracking": "The filmed episode. Red: a push acts. Bars: the foot is on the ground.",
    "success": "An episode succeeds when the robot tracks its command and does not fall.",
    "recovery": "Each line is one push; red ones ended in a fall. The dashed line is the error "
    "below which a robot counts as recovered.",
    "sweeps": "What changes when one condition does. Shaded: 95 % interval. Dashed: the largest "
    "velocity error with which an episode succeeds.",
    "grounds": "Each field is one kind of ground in one size.",
    "torques": "Torque over speed of every motor in every episode, inside the drive's limits, and "
    "the share of the torque limit that each joint uses.",
    "curve": "Error in training against wall-clock time, stages one after the other.",
}
"""What each picture shows, in the order in which they come."""


def write(
    result: CheckResult,
    plan: Scenario,
    out: Path,
    *,
    mjcf: Path | None = None,
    video: bool = True,
    curve: Path | Mapping[str, Path] | None = None,
) -> Path:
    """Write report.json, report.html and, where GL is to be had, the video; path of the page.

    `mjcf` is the model that was used; `curve` one file of JSON lines, or several by their name.
    """
    out.mkdir(parents=True, exist_ok=True)
    fault = _film(result, plan, out / VIDEO, mjcf) if video else "no video was asked for"
    data = result.json() | {"video": {"file": "" if fault else VIDEO, "missing_because": fault}}
    (out / "report.json").write_text(json.dumps(data, indent=1, allow_nan=False), encoding="utf-8")
    pictures = draw(result, plan, _curves(curve)) if result.status == "done" else {}
    film = "" if fault else base64.b64encode((out / VIDEO).read_bytes()).decode()
    page = out / "report.html"
    page.write_text(_render(result, pictures, film, fault), encoding="utf-8")
    return page


def _curves(curve: Path | Mapping[str, Path] | None) -> Mapping[str, Path]:
    if curve is None:
        return {}
    return curve if isinstance(curve, Mapping) else {"student": curve}


def draw(
    result: CheckResult, plan: Scenario, curve: Mapping[str, Path]
) -> dict[str, str]:
    """Every picture that has something to show, as base64 PNG by its name."""
    contract = result.contract
    if contract is None:
        return {}
    fitted = {e.name: scenarios.fit(e, contract.commands, plan.commands)[0] for e in plan.episodes}
    pairs = [(fitted[name], trace) for name, trace in result.traces.items()]
    shown = result.traces[filmed(result, plan)]
    makers: dict[str, Callable[[], Figure | None]] = {
        "tracking": lambda: plots.tracking(shown, contract),
        "success": lambda: plots.success(result.groups),
        "recovery": lambda: plots.recovery(pairs),
        "sweeps": lambda: plots.sweeps(result.sweeps, plan.thresholds),
        "grounds": lambda: plots.grounds(result.grounds),
        "torques": lambda: plots.torques([t for _, t in pairs], contract, plan.physics.knee),
        "curve": lambda: plots.curves(curve),
    }
    with plots.style():
        made = {name: make() for name, make in makers.items()}
        return {name: _png(figure) for name, figure in made.items() if figure is not None}


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return base64.b64encode(buffer.getvalue()).decode()


def filmed(result: CheckResult, plan: Scenario) -> str:
    """The scenario's episode for the video, or the first that was played."""
    return plan.video if plan.video in result.traces else next(iter(result.traces))


def _film(result: CheckResult, plan: Scenario, path: Path, mjcf: Path | None) -> str:
    """Film an episode; '' or the reason why there is no video."""
    if result.contract is None or mjcf is None:
        return "the policy could not be run"
    from tutelage.sim2real import video  # its encoder is not needed for the rest

    name = filmed(result, plan)
    episode = next(e for e in plan.episodes if e.name == name)
    built = scene.build(result.contract, mjcf, episode, plan.physics)
    return video.film(built, result.traces[name], path, result.contract.height)


def _render(result: CheckResult, pictures: Mapping[str, str], film: str, fault: str) -> str:
    source = files("tutelage.sim2real").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["number"] = number
    environment.filters["percent"] = lambda value: "–" if value is None else f"{value:.0%}"
    lineage = asdict(result.contract.lineage) if result.contract else {}
    versions = lineage.pop("versions", {})
    return environment.from_string(source).render(
        result=result,
        title=_title(result),
        tiles=_tiles(result),
        pictures=pictures,
        captions=CAPTIONS,
        film=film,
        film_fault=fault,
        meanings=METRICS,
        episodes=sorted(result.episodes, key=lambda episode: episode.success),
        outcome=outcome,
        lineage=lineage,
        versions=versions,
    )


def _title(result: CheckResult) -> str:
    recipe = result.contract.lineage.recipe if result.contract else ""
    return recipe or result.policy


def _tiles(result: CheckResult) -> list[tuple[str, str, str]]:
    """Headline numbers: value, unit, what it is."""
    m = result.metrics
    if not m:
        return []
    whole = f"{m['success']:.0%}", "", f"success in {len(result.episodes)} episodes"
    rows = [
        ("velocity_error", "m/s", "velocity error", 1.0),
        ("yaw_error", "rad/s", "yaw rate error", 1.0),
        ("falls", "%", "episodes with a fall", 100.0),
        ("recovery", "s", "to recover from a push", 1.0),
        ("power", "W", "mechanical power", 1.0),
    ]
    return [whole] + [
        (number(m[name] * factor), unit, label) for name, unit, label, factor in rows if name in m
    ]


def outcome(episode: EpisodeResult) -> str:
    """One episode's result in words."""
    if episode.success:
        return "success"
    return episode.fall or "lost the command"


def number(value: object) -> str:
    """Three significant figures; other things as they are."""
    if value is None:
        return "–"
    if isinstance(value, float):
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return text if value == value and abs(value) != float("inf") else "–"
    return str(value)

