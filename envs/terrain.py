"""The ground as one height field: a grid of tiles, difficulty along x, kind along y.

A `Terrain` says what ground is wanted; `generate` makes the `Ground` that backends turn into
geometry and that rays and height look-ups read. Between the samples the surface is made of two
triangles in each cell, cut along the diagonal from (i, j) to (i + 1, j + 1): MuJoCo's own cut
(`mj_rayHfield` and the prisms of its collision), so that what a robot sees is what it stands on.

Heights are in metres, the plain around the tiles is at 0, and tiles meet it at 0 where they can.
A kind is named by what a robot that starts in the middle of its tile meets on its way out:
`stairs_up` is a sunken pyramid, `stairs_down` a raised one.

Sizes grow with difficulty d from 0 to 1. Published ranges for quadrupeds with a height scan are
slope 0.1 + 0.52 d, steps 0.05 + 0.23 d at treads of 0.31 m and obstacles 0.05 + 0.25 d
(go2_rl_gym, after legged_gym's slope 0.4 d, steps 0.05 + 0.18 d, obstacles 0.05 + 0.2 d with d
below 1). Here a student must walk blind on legs of 0.4 m: the top of each range is about a third
lower, and the bottom is nearly flat, so that a policy that knows nothing yet can earn its first
level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Heights: TypeAlias = NDArray[np.float32]
Samples: TypeAlias = NDArray[np.float64]
Kind: TypeAlias = Callable[[Samples, Samples, float, np.random.Generator], Samples]
"""Heights [m] of one tile at the samples x, y (n, n) [m], measured from its centre, for a
difficulty in 0..1"""

PLATFORM = 1.0
"""Half-width of the level ground in the middle of a tile, where robots start [m]"""
TREAD = 0.3
"""Depth of a stair [m]"""


def flat(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """Level ground, for a robot to remember how it walks there."""
    return np.zeros_like(x)


def rough(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """Uniform noise drawn every 0.2 m (legged_gym's spacing), joined by straight lines."""
    half = 0.01 + 0.06 * difficulty
    span = float(x[-1, 0] - x[0, 0])
    knots = np.linspace(0.0, span, round(span / 0.2) + 1)
    drawn = rng.uniform(-half, half, (len(knots), len(knots)))
    at = x[:, 0] - x[0, 0]
    along = np.stack([np.interp(at, knots, column) for column in drawn.T], axis=1)
    return np.stack([np.interp(at, knots, row) for row in along])


def slope_up(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """A pit with even sides."""
    heights: Samples = (0.05 + 0.40 * difficulty) * (_outwards(x, y) - _reach(x))
    return heights


def slope_down(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """A hill with even sides."""
    return -slope_up(x, y, difficulty, rng)


def stairs_up(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """A pit with stairs on its four sides."""
    # The small number keeps samples on an edge from falling to either side by rounding.
    step = np.floor(_outwards(x, y) / TREAD + 1e-6)
    heights: Samples = (0.02 + 0.14 * difficulty) * (step - np.floor(_reach(x) / TREAD + 1e-6))
    return heights


def stairs_down(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """A hill with stairs on its four sides."""
    return -stairs_up(x, y, difficulty, rng)


def obstacles(x: Samples, y: Samples, difficulty: float, rng: np.random.Generator) -> Samples:
    """Twenty boxes and holes, 0.5 m to 1.5 m wide, around a level middle."""
    tall = 0.02 + 0.15 * difficulty
    heights = np.zeros_like(x)
    reach = float(x[-1, 0])
    for _ in range(20):
        half = rng.uniform(0.25, 0.75, 2)
        centre = rng.uniform(-reach + half, reach - half)
        inside = (np.abs(x - centre[0]) <= half[0]) & (np.abs(y - centre[1]) <= half[1])
        heights[inside] = rng.choice((-tall, -tall / 2, tall / 2, tall))
    heights[np.maximum(np.abs(x), np.abs(y)) <= PLATFORM] = 0.0
    return heights


def _outwards(x: Samples, y: Samples) -> Samples:
    """Distance from the platform's edge, square rings."""
    return np.maximum(np.maximum(np.abs(x), np.abs(y)) - PLATFORM, 0.0)


def _reach(x: Samples) -> float:
    """Distance from the platform's edge to the tile's."""
    return float(x[-1, 0]) - PLATFORM


KINDS: dict[str, Kind] = {
    "flat": flat,
    "rough": rough,
    "slope_up": slope_up,
    "slope_down": slope_down,
    "stairs_up": stairs_up,
    "stairs_down": stairs_down,
    "obstacles": obstacles,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A height field in the world."""

    heights: Heights
    """(Nx, Ny) [m]"""
    cell: float
    """Distance between samples [m]"""
    origin: tuple[float, float]
    """World position of heights[0, 0] [m]"""
    spawns: Heights
    """Middle of each tile, at the highest ground within half a metre. (rows, columns, 3) [m]"""
    kinds: tuple[str, ...]
    """(columns,)"""
    difficulty: tuple[float, ...]
    """(rows,) 0..1"""
    _copies: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device) -> Tensor:
        """The heights as a tensor, copied to a device once. (Nx, Ny) [m]"""
        if device not in self._copies:
            self._copies[device] = torch.from_numpy(self.heights).to(device)
        return self._copies[device]


@dataclass(frozen=True, kw_only=True)
class Terrain:
    """What ground is wanted. A flat plane when it has no kinds."""

    kinds: tuple[str, ...] = ()
    """Names from `KINDS`"""
    shares: tuple[float, ...] = ()
    """Share of the columns for each kind, any scale; equal when empty"""
    rows: int = 10
    """Levels of difficulty"""
    columns: int = 20
    tile: float = 8.0
    """Side of a tile [m]"""
    cell: float = 0.1
    """Distance between samples [m]. A foot near a line between triangles touches on both sides of
    it: a Go2 that stands has 4 contacts on a plane, 5.5 with cells of 0.2 m, 7.4 at 0.1 m and 9.3
    at 0.05 m (MuJoCo 4.0); finer cells cost, coarser ones turn stairs into ramps"""
    border: float = 16.0
    """Plain around the tiles; there is nothing beyond it. A robot that starts in the middle of an
    outer tile and walks outwards at 1 m/s reaches 20 - 8 / 2 = 16 m in an episode of 20 s [m]"""
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"unknown terrain kind '{kind}'; known are {sorted(KINDS)}")
        if self.shares and len(self.shares) != len(self.kinds):
            raise ValueError(f"{len(self.shares)} shares for {len(self.kinds)} kinds {self.kinds}")
        if any(share <= 0 for share in self.shares):
            raise ValueError(f"shares of terrain kinds must be positive: {self.shares}")
        if self.rows < 1 or self.cell <= 0 or self.border < 0:
            raise ValueError(
                f"a terrain has at least one row, a positive cell and no negative border: rows "
                f"{self.rows}, cell {self.cell} m, border {self.border} m"
            )
        if self.kinds and self.tile < 2 * PLATFORM + 2 * TREAD:
            raise ValueError(f"a tile of {self.tile} m leaves no room around its platform")
        missing = set(self.kinds) - set(self.column_kinds())
        if missing:
            raise ValueError(f"{self.columns} columns are too few to show {sorted(missing)}")

    def column_kinds(self) -> tuple[str, ...]:
        """(columns,) kind of each column: the shares, in their order."""
        if not self.kinds:
            return ("flat",)
        ends = np.cumsum(self.shares or [1.0] * len(self.kinds))
        middles = (np.arange(self.columns) + 0.5) / self.columns * ends[-1]
        return tuple(self.kinds[i] for i in np.searchsorted(ends, middles))

    def generate(self) -> Ground:
        """The same ground for the same terrain, wherever it is made."""
        if not self.kinds:
            return _plane()
        kinds = self.column_kinds()
        difficulty = tuple(row / max(self.rows - 1, 1) for row in range(self.rows))
        cells, edge = round(self.tile / self.cell), round(self.border / self.cell)
        at = (np.arange(cells + 1, dtype=np.float64) - cells / 2) * self.cell
        x, y = np.meshgrid(at, at, indexing="ij")
        shape = (self.rows * cells + 2 * edge + 1, len(kinds) * cells + 2 * edge + 1)
        heights = np.zeros(shape, dtype=np.float32)
        spawns = np.zeros((self.rows, len(kinds), 3), dtype=np.float32)
        origin = (-(shape[0] - 1) / 2 * self.cell, -(shape[1] - 1) / 2 * self.cell)
        near = round(0.5 / self.cell)
        for row, column in np.ndindex(self.rows, len(kinds)):
            # A generator for each tile: a tile does not change when others are added.
            rng = np.random.default_rng((self.seed, row, column))
            tile = KINDS[kinds[column]](x, y, difficulty[row], rng)
            i, j = edge + row * cells, edge + column * cells
            heights[i : i + cells + 1, j : j + cells + 1] = tile
            i, j = i + cells // 2, j + cells // 2
            top = heights[i - near : i + near + 1, j - near : j + near + 1].max()
            spawns[row, column] = origin[0] + i * self.cell, origin[1] + j * self.cell, top
        return Ground(
            heights=heights, cell=self.cell, origin=origin, spawns=spawns, kinds=kinds,
            difficulty=difficulty,
        )


def _plane() -> Ground:
    """One cell, wide enough that nobody leaves it."""
    return Ground(
        heights=np.zeros((2, 2), dtype=np.float32), cell=2000.0, origin=(-1000.0, -1000.0),
        spawns=np.zeros((1, 1, 3), dtype=np.float32), kinds=("flat",), difficulty=(0.0,),
    )


FLAT = Terrain()
ROUGH = Terrain(
    kinds=("flat", "rough", "slope_up", "slope_down", "stairs_up", "stairs_down", "obstacles"),
    shares=(3, 3, 2, 2, 4, 2, 4),
)
"""Every kind; a fifth of the columns climb stairs, as in go2_rl_gym (a quarter), since that is what
a blind policy finds hardest."""


def height_at(ground: Ground, xy: Tensor) -> Tensor:
    """Height of the surface, on any device; positions beyond the field read its edge.

    xy (..., 2) world [m] -> (...) [m]
    """
    heights = ground.on(xy.device)
    last_x, last_y = heights.shape[0] - 1, heights.shape[1] - 1
    x = ((xy[..., 0] - ground.origin[0]) / ground.cell).clamp(0, last_x)
    y = ((xy[..., 1] - ground.origin[1]) / ground.cell).clamp(0, last_y)
    # Clamped again: a position that is not a number becomes just any integer.
    i, j = x.long().clamp(0, last_x - 1), y.long().clamp(0, last_y - 1)
    u, v = x - i, y - j
    low, high = heights[i, j], heights[i + 1, j + 1]
    beside = torch.where(u >= v, heights[i + 1, j], heights[i, j + 1])
    return low + torch.maximum(u, v) * (beside - low) + torch.minimum(u, v) * (high - beside)


def promote(
    level: Tensor,
    distance: Tensor,
    commanded_distance: Tensor,
    tile: float,
    rows: int,
    random_level: Tensor,
) -> Tensor:
    """Level of difficulty of the next episode, from how far the last one got; legged_gym's rule.

    Up for who walked more than half a tile, down for who walked less than half of what the command
    asked for. Above the last row stands any row, drawn by the caller, so that the easy ones are
    not forgotten. `level`, `random_level` (B,) long; `distance`, `commanded_distance` (B,) [m];
    returns (B,) long in 0..rows - 1.
    """
    up = distance > tile / 2
    down = (distance < 0.5 * commanded_distance) & ~up
    moved = level + up.long() - down.long()
    return torch.where(moved >= rows, random_level, moved.clamp(min=0))
