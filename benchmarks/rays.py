"""How fast rays and height scans are on 800 x 800 cells, beside MuJoCo's own ray test.

`python -m tutelage.benchmarks.rays` measures everything in one run, in turns, on one thread, and
writes `benchmarks/results/rays.json`. Figures are medians over windows of processor time, which a
shared machine disturbs less than wall-clock time; the ratio to MuJoCo is what to quote.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.algos import runs
from tutelage.algos.machine import describe_machine, package_versions
from tutelage.envs.rays import around, cast, heights_below, scan
from tutelage.envs.sim.protocol import HeightScan
from tutelage.envs.terrain import KINDS, Ground, Terrain

RESULT = Path(__file__).parent / "results" / "rays.json"
BASES = 512
LIMIT = 5.0
"""Longest camera ray [m]"""
CAMERA = (32, 24)
"""Pixels across and down"""
PITCH = 0.3
"""How far the camera looks down [rad]"""


@dataclass(frozen=True, kw_only=True)
class Rays:
    starts: NDArray[np.float64]
    directions: NDArray[np.float64]


def field() -> Ground:
    """Seven kinds at seven difficulties: 801 x 801 samples, 0.1 m apart."""
    return Terrain(kinds=tuple(KINDS), rows=7, columns=7, border=12.0).generate()


def bases(ground: Ground) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions 0.4 m above the ground (B, 3) [m] and headings (B,) [rad]."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-25.0, 25.0, (BASES, 2))
    z = heights_below(ground.heights, ground.cell, ground.origin, xy) + 0.4
    position = torch.from_numpy(np.column_stack((xy, z)))
    return position, torch.from_numpy(rng.uniform(0.0, 2 * np.pi, BASES))


def downward(points: torch.Tensor, position: torch.Tensor, heading: torch.Tensor) -> Rays:
    """A height scan as rays from 3 m up."""
    xy = around(points.double(), position, heading).view(-1, 2).numpy()
    starts = np.column_stack((xy, np.full(len(xy), 3.0)))
    return Rays(starts=starts, directions=np.tile([0.0, 0.0, -1.0], (len(xy), 1)))


def camera(position: torch.Tensor, heading: torch.Tensor) -> Rays:
    """An image from each base, row after row."""
    across, down = np.linspace(0.7, -0.7, CAMERA[0]), np.linspace(0.45, -0.45, CAMERA[1])
    elevation, azimuth = np.meshgrid(down - PITCH, across, indexing="ij")
    turned = heading.numpy()[:, None] + azimuth.ravel()
    level = np.cos(elevation.ravel())
    rise = np.broadcast_to(np.sin(elevation.ravel()), turned.shape)
    directions = np.stack((np.cos(turned) * level, np.sin(turned) * level, rise), axis=-1)
    starts = np.repeat(position.numpy(), CAMERA[0] * CAMERA[1], axis=0)
    return Rays(starts=starts, directions=directions.reshape(-1, 3))


def by_mujoco(ground: Ground, rays: Rays, count: int) -> Callable[[], None]:
    """The first `count` rays, all from the first one's start, through mj_multiRay."""
    heights, half = ground.heights, [(n - 1) * ground.cell / 2 for n in ground.heights.shape]
    low, span = float(heights.min()), float(np.ptp(heights))
    spec = mujoco.MjSpec()
    spec.add_hfield(
        name="terrain", nrow=heights.shape[1], ncol=heights.shape[0], size=[*half, span, 1.0],
        userdata=((heights.T - low) / span).astype(np.float64).ravel(),
    )
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="terrain", pos=[0, 0, low]
    )
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    vectors = np.ascontiguousarray(rays.directions[:count]).ravel()
    geoms, distances = np.zeros(count, np.int32), np.zeros(count)
    start = rays.starts[0].reshape(3, 1)

    def work() -> None:
        mujoco.mj_multiRay(
            model, data, start, vectors, None, 1, -1, geoms, distances, None, count, LIMIT
        )

    return work


def rates(work: dict[str, tuple[int, Callable[[], object]]], windows: int = 7) -> dict[str, float]:
    """Items a second of processor time for each name, measured in turns; (items, function)."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for window in range(windows + 1):
        for name, (items, function) in work.items():
            began = time.process_time()
            function()
            if window:  # the first compiles and warms up
                taken[name].append(items / (time.process_time() - began))
    return {name: statistics.median(found) for name, found in taken.items()}


def measure() -> dict[str, Any]:
    torch.set_num_threads(1)
    ground, points = field(), HeightScan().points()
    position, heading = bases(ground)
    down, image = downward(points, position, heading), camera(position, heading)
    heights, cell, origin = ground.heights, ground.cell, ground.origin
    per_second = rates(
        {
            "scan_points": (len(down.starts), lambda: scan(ground, points, position, heading)),
            "rays_down": (
                len(down.starts),
                lambda: cast(heights, cell, origin, down.starts, down.directions, LIMIT),
            ),
            "rays_camera": (
                len(image.starts),
                lambda: cast(heights, cell, origin, image.starts, image.directions, LIMIT),
            ),
            "mujoco_rays_down": (20, by_mujoco(ground, down, 20)),
            "mujoco_rays_camera": (20, by_mujoco(ground, image, 20)),
        }
    )
    return {
        "samples": list(heights.shape),
        "per_second": per_second,
        "times_mujoco": {
            kind: per_second[kind] / per_second[f"mujoco_{kind}"]
            for kind in ("rays_down", "rays_camera")
        },
        "machine": describe_machine(),
        "packages": package_versions(),
        "git": runs.git_state(Path(runs.__file__).parent),
    }


def main() -> None:
    result = measure()
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for name, rate in result["per_second"].items():
        print(f"{name:20} {rate:12.4g} /s")
    print(RESULT)


if __name__ == "__main__":
    main()
