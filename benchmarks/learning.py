"""Steps and time to a threshold, from the curves of runs that differ in their seed.

    python -m tutelage.benchmarks.learning RUN [RUN ...] [--threshold 0.2] [--out FILE.json]

Writes JSON and, beside it, a picture of the error against wall-clock time. The error is what the
training environments log, with exploration, noise and pushes: the mean over a window of iterations.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import tyro

from tutelage.algos import runs
from tutelage.algos.progress import Curve

METRIC = "Metrics/velocity_error"
WINDOW = 5
"""Iterations over which the error is averaged"""
RESULTS = Path(__file__).parent / "results"


def reached(curve: Sequence[Mapping[str, Any]], threshold: float) -> dict[str, float] | None:
    """Where the windowed error first is at most `threshold` [m/s]; None where it never is."""
    for end in range(WINDOW, len(curve) + 1):
        error = statistics.fmean(row["metrics"][METRIC] for row in curve[end - WINDOW : end])
        if error <= threshold:
            row = curve[end - 1]
            return {"env_steps": row["env_steps"], "seconds": row["seconds"], "error": error}
    return None


def summary(run: Path, threshold: float) -> dict[str, Any]:
    """One run: its seed, where it crossed the threshold, where it ended, its thinned curve."""
    curve = list(Curve(run).read())
    if len(curve) < WINDOW:
        raise ValueError(f"{run} holds {len(curve)} iterations, fewer than {WINDOW}")
    meta = runs.read_json(run / "meta.json")
    rows = curve[:: max(1, len(curve) // 100)]
    return {
        "run": run.name,
        "seed": meta["seed"],
        "reached": reached(curve, threshold),
        "end": {
            "env_steps": curve[-1]["env_steps"],
            "seconds": curve[-1]["seconds"],
            "error": statistics.fmean(row["metrics"][METRIC] for row in curve[-WINDOW:]),
        },
        "curve": [
            [row["env_steps"], round(row["seconds"], 1), round(row["metrics"][METRIC], 4)]
            for row in rows
        ],
        "evaluation": {
            path.stem: runs.read_json(path)["results"] for path in sorted(run.glob("eval/*.json"))
        },
        "git": meta["git"],
        "machine": meta["machine"],
        "packages": meta["versions"],
    }


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Error against wall-clock time, a line for each run."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for run in results["runs"]:
        minutes = [row[1] / 60 for row in run["curve"]]
        axes.plot(minutes, [row[2] for row in run["curve"]], label=f"seed {run['seed']}")
    axes.axhline(results["threshold"], color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="wall-clock time [min]", ylabel="velocity error [m/s]", ylim=(0, None))
    axes.set_title(f"{results['name']}: teacher, in training", loc="left", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    run: Annotated[tuple[Path, ...], tyro.conf.Positional],
    threshold: float = 0.2,
    name: str = "go2-flat",
    out: Path | None = None,
) -> None:
    """Summarise teacher runs into benchmarks/results/learning-<name>.json and .png."""
    results: dict[str, Any] = {
        "name": name,
        "metric": METRIC,
        "window": WINDOW,
        "threshold": threshold,
        "runs": [summary(path, threshold) for path in run],
    }
    path = out or RESULTS / f"learning-{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    draw(results, path.with_suffix(".png"))
    for found in results["runs"]:
        print(found["seed"], found["reached"], found["end"])
    print(path)


if __name__ == "__main__":
    tyro.cli(main)
