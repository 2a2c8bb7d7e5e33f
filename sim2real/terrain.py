"""The ground of the check: its own geometry, sharing nothing with the ground of training.

Stairs, slopes and obstacles are boxes here, with true vertical edges; a height field would give
them slanted ones. Only rough ground is a height field. Directed kinds begin on a flat place at the
origin and go on along +x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import mujoco
import numpy as np
from numpy.typing import NDArray

from tutelage.sim2real.scenario import Ground

Floats: TypeAlias = NDArray[np.float64]
Height: TypeAlias = Callable[[float, float], float]
"""Height of the ground at (x, y) [m]"""

START = 1.0
"""Length of the flat place before a directed kind begins, and around the origin elsewhere [m]"""
REACH = 14.0
"""Half of the side of the world [m]; no episode walks further"""
WIDTH = 6.0
"""Half-width of stairs and slopes [m]"""
TREAD = 0.3
"""Depth of a stair [m]"""
STAIRS = 16
SPACING = 0.2
"""Distance between the points of rough ground [m]"""
OBSTACLES = 160

DIRECTED = ("slope_up", "slope_down", "stairs_up", "stairs_down")
"""Kinds on which the robot starts along +x."""

KINDS = {
    "flat": "no size",
    "rough": "bumps up to +- size [m], every 0.2 m",
    "slope_up": "rise over run",
    "slope_down": "fall over run",
    "stairs_up": "height of a step [m], 0.3 m deep",
    "stairs_down": "height of a step [m], 0.3 m deep",
    "obstacles": "height of the highest box [m]; boxes of 0.3 to 1.2 m",
}
"""What the size of each kind means."""


def add_ground(spec: mujoco.MjSpec, ground: Ground, friction: float, seed: int) -> Height:
    """Add the ground's geometry to `spec` and return its height."""
    if ground.kind not in KINDS:
        raise ValueError(f"no ground '{ground.kind}'; there are {', '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    builders: dict[str, Callable[[], Height]] = {
        "flat": lambda: _flat(spec),
        "rough": lambda: _rough(spec, ground.size, rng),
        "slope_up": lambda: _slope(spec, ground.size),
        "slope_down": lambda: _slope(spec, -ground.size),
        "stairs_up": lambda: _stairs(spec, ground.size),
        "stairs_down": lambda: _stairs(spec, -ground.size),
        "obstacles": lambda: _obstacles(spec, ground.size, rng),
    }
    height = builders[ground.kind]()
    for geom in spec.worldbody.geoms:
        geom.friction[0] = friction
        geom.contype, geom.conaffinity = 1, 0
        geom.material = "ground"
    return height


def _flat(spec: mujoco.MjSpec) -> Height:
    size = [0.0, 0.0, 0.05]  # 0: endless
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=size)
    return lambda x, y: 0.0


def _box(spec: mujoco.MjSpec, low: Floats, high: Floats) -> None:
    centre, half = (low + high) / 2, (high - low) / 2
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=centre, size=half)


def _rough(spec: mujoco.MjSpec, size: float, rng: np.random.Generator) -> Height:
    count = round(2 * REACH / SPACING) + 1
    axis = np.linspace(-REACH, REACH, count)
    z = rng.uniform(-size, size, (count, count))
    z[np.hypot(axis[:, None], axis[None, :]) < START] = 0.0
    low, span = float(z.min()), max(float(np.ptp(z)), 1e-6)
    spec.add_hfield(
        name="rough", nrow=count, ncol=count, size=[REACH, REACH, span, 0.5],
        userdata=((z - low) / span).ravel(),
    )
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="rough", pos=[0, 0, low]
    )

    def height(x: float, y: float) -> float:
        column = int(np.clip(round((x + REACH) / SPACING), 0, count - 1))
        row = int(np.clip(round((y + REACH) / SPACING), 0, count - 1))
        return float(z[row, column])

    return height


def _slope(spec: mujoco.MjSpec, grade: float) -> Height:
    """A tilted slab from x = START on; `grade` is negative downhill."""
    angle = math.atan(grade)
    length, thick = REACH, 1.0
    _box(spec, np.array([-REACH, -WIDTH, -thick]), np.array([START, WIDTH, 0.0]))
    # The slab's top edge lies on (START, 0); its centre is half its length along the slope and
    # half its thickness below the surface.
    along = np.array([math.cos(angle), 0.0, math.sin(angle)])
    normal = np.array([-math.sin(angle), 0.0, math.cos(angle)])
    centre = np.array([START, 0.0, 0.0]) + along * length / 2 - normal * thick / 2
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=centre, size=[length / 2, WIDTH, thick / 2],
        quat=[math.cos(-angle / 2), 0.0, math.sin(-angle / 2), 0.0],
    )
    return lambda x, y: max(x - START, 0.0) * grade


def _stairs(spec: mujoco.MjSpec, step: float) -> Height:
    """STAIRS steps from x = START on, then a landing; `step` is negative downstairs."""
    bottom = min(STAIRS * step, 0.0) - 0.5
    _box(spec, np.array([-REACH, -WIDTH, bottom]), np.array([START, WIDTH, 0.0]))
    for i in range(STAIRS):
        x = START + i * TREAD
        end = x + TREAD if i < STAIRS - 1 else REACH
        _box(spec, np.array([x, -WIDTH, bottom]), np.array([end, WIDTH, (i + 1) * step]))

    def height(x: float, y: float) -> float:
        return step * min(max(math.floor((x - START) / TREAD) + 1, 0), STAIRS)

    return height


def _obstacles(spec: mujoco.MjSpec, size: float, rng: np.random.Generator) -> Height:
    """Boxes lying about, each between half of `size` and `size` high."""
    _flat(spec)
    centre = rng.uniform(-REACH, REACH, (OBSTACLES, 2))
    half = rng.uniform(0.15, 0.6, (OBSTACLES, 2))
    top = rng.uniform(0.5, 1.0, OBSTACLES) * size
    clear = (np.abs(centre) > half + START / 2).any(axis=1)
    centre, half, top = centre[clear], half[clear], top[clear]
    for c, h, z in zip(centre, half, top, strict=True):
        _box(spec, np.array([*(c - h), -0.1]), np.array([*(c + h), z]))

    def height(x: float, y: float) -> float:
        inside = (np.abs(np.array([x, y]) - centre) <= half).all(axis=1)
        return float(top[inside].max(initial=0.0))

    return height
