"""Rays against the ground: height scans now, depth images from the same walk.

MuJoCo's own ray test of a height field looks at cell after cell whether or not the ray comes near
it: about 10⁴ camera rays/s on 800 x 800 cells, where this file casts some 200 times as many (see
`benchmarks/rays.py`). Here a ray walks from cell to cell. Along a ray the clearance above the
surface (two triangles in each cell, see `terrain`) is continuous, and straight between the lines
it crosses, cell edges and diagonals; so a hit is a change of its sign, and no ray slips through
between two triangles.

Compiled on first use and then kept on disk; one thread, since the cores belong to physics.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, floor, inf, isnan, nan, sin
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.envs.terrain import Ground, Heights, height_at

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`function` as machine code, kept on disk where a folder can be written to."""
    try:
        made: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no place for its cache
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return made  # type: ignore[no-any-return]


@compiled
def _surface(heights: Heights, x: float, y: float) -> float:
    """Height at a place in cells from the first sample; the edge's beyond the field. [m]"""
    if isnan(x) or isnan(y):
        return nan
    x = min(max(x, 0.0), heights.shape[0] - 1.0)
    y = min(max(y, 0.0), heights.shape[1] - 1.0)
    i = min(int(x), heights.shape[0] - 2)
    j = min(int(y), heights.shape[1] - 2)
    return _in_cell(heights, i, j, x - i, y - j)


@compiled
def _in_cell(heights: Heights, i: int, j: int, u: float, v: float) -> float:
    """Height on the triangles of cell (i, j), at u, v in 0..1 of its sides. [m]"""
    low, high = np.float64(heights[i, j]), np.float64(heights[i + 1, j + 1])
    if u >= v:
        beside = np.float64(heights[i + 1, j])
        return low + u * (beside - low) + v * (high - beside)
    beside = np.float64(heights[i, j + 1])
    return low + v * (beside - low) + u * (high - beside)


@compiled
def _span(start: float, step: float, last: float, t0: float, t1: float) -> tuple[float, float]:
    """Part of t0..t1 in which start + t * step lies in 0..last."""
    if step == 0.0:
        return (t0, t1) if 0.0 <= start <= last else (inf, -inf)
    a, b = -start / step, (last - start) / step
    return max(t0, min(a, b)), min(t1, max(a, b))


@compiled
def _crossing(
    heights: Heights, i: int, j: int, place: tuple[float, ...], step: tuple[float, ...],
    t_in: float, t_out: float,
) -> float:
    """Where in t_in..t_out a ray passes through the surface of cell (i, j); -1 if it does not."""
    z_in, z_out = place[2] + t_in * step[2], place[2] + t_out * step[2]
    a, b = heights[i, j], heights[i + 1, j]
    c, d = heights[i, j + 1], heights[i + 1, j + 1]
    if min(z_in, z_out) > max(max(a, b), max(c, d)) or max(z_in, z_out) < min(min(a, b), min(c, d)):
        return -1.0
    u, v = place[0] + t_in * step[0] - i, place[1] + t_in * step[1] - j
    before, t_before = z_in - _in_cell(heights, i, j, u, v), t_in
    side, turn = u - v, step[0] - step[1]
    t_diagonal = t_in - side / turn if turn != 0.0 else inf
    for part in range(2):
        t = t_out
        if part == 0:
            if not t_in < t_diagonal < t_out:
                continue
            t = t_diagonal
        u, v = place[0] + t * step[0] - i, place[1] + t * step[1] - j
        after = place[2] + t * step[2] - _in_cell(heights, i, j, u, v)
        if (before >= 0.0) != (after >= 0.0):
            return t_before + (t - t_before) * before / (before - after)
        before, t_before = after, t
    return -1.0


@compiled
def _cast_one(
    heights: Heights, place: tuple[float, ...], step: tuple[float, ...], limit: float
) -> float:
    """Distance along one ray; `place` and `step` in cells along x and y, metres along z."""
    last_x, last_y = heights.shape[0] - 1, heights.shape[1] - 1
    t, end = _span(place[0], step[0], last_x, 0.0, limit)
    t, end = _span(place[1], step[1], last_y, t, end)
    if not t <= end:
        return limit
    i = min(max(floor(place[0] + t * step[0]), 0), last_x - 1)
    j = min(max(floor(place[1] + t * step[1]), 0), last_y - 1)
    move_x, move_y = (1 if step[0] > 0 else -1), (1 if step[1] > 0 else -1)
    t_x = (i + (move_x > 0) - place[0]) / step[0] if step[0] != 0.0 else inf
    t_y = (j + (move_y > 0) - place[1]) / step[1] if step[1] != 0.0 else inf
    each_x = abs(1.0 / step[0]) if step[0] != 0.0 else inf
    each_y = abs(1.0 / step[1]) if step[1] != 0.0 else inf
    while True:
        t_out = max(min(min(t_x, t_y), end), t)
        hit = _crossing(heights, i, j, place, step, t, t_out)
        if hit >= 0.0:
            return hit
        if t_out >= end:
            return limit
        if t_x <= t_y:
            i, t_x = i + move_x, t_x + each_x
        else:
            j, t_y = j + move_y, t_y + each_y
        if i < 0 or j < 0 or i >= last_x or j >= last_y:
            return limit
        t = t_out


@compiled
def _cast(
    heights: Heights, cell: float, x: float, y: float, starts: Array, directions: Array,
    limit: float, out: Array,
) -> None:
    for n in range(len(starts)):
        place = ((starts[n, 0] - x) / cell, (starts[n, 1] - y) / cell, starts[n, 2])
        step = (directions[n, 0] / cell, directions[n, 1] / cell, directions[n, 2])
        if isnan(place[0] + place[1] + place[2] + step[0] + step[1] + step[2]):
            out[n] = nan
        else:
            out[n] = _cast_one(heights, place, step, limit)


def cast(
    heights: Heights,
    cell: float,
    origin: tuple[float, float],
    starts: Array,
    directions: Array,
    limit: float,
) -> NDArray[np.float64]:
    """Distance along each ray to the surface, met from above or below; `limit` for a miss.

    heights (Nx, Ny) [m] every `cell` [m] from the world position `origin` [m]; starts (N, 3) [m];
    directions (N, 3), unit vectors for distances in metres. Beyond the field there is nothing to
    hit. A ray that holds a number that is none returns none. (N,) [m]
    """
    out = np.empty(len(starts))
    rays = [np.ascontiguousarray(rows, dtype=np.float64) for rows in (starts, directions)]
    _cast(heights, cell, origin[0], origin[1], rays[0], rays[1], limit, out)
    return out


@compiled
def _heights_below(
    heights: Heights, cell: float, x: float, y: float, xy: Array, out: Array
) -> None:
    for n in range(len(xy)):
        out[n] = _surface(heights, (xy[n, 0] - x) / cell, (xy[n, 1] - y) / cell)


def heights_below(
    heights: Heights, cell: float, origin: tuple[float, float], xy: Array
) -> NDArray[np.float64]:
    """Height of the surface at xy (N, 2) [m], where a ray straight down would hit. (N,) [m]

    Beyond the field it is that of the nearest edge.
    """
    out = np.empty(len(xy))
    places = np.ascontiguousarray(xy, dtype=np.float64)
    _heights_below(heights, cell, origin[0], origin[1], places, out)
    return out


@compiled
def _scan(
    heights: Heights, cell: float, x: float, y: float, points: Array, root_pos: Array, yaw: Array,
    out: Array,
) -> None:
    for b in range(len(root_pos)):
        along, across = cos(yaw[b]) / cell, sin(yaw[b]) / cell
        at_x, at_y = (root_pos[b, 0] - x) / cell, (root_pos[b, 1] - y) / cell
        for n in range(len(points)):
            u = at_x + along * points[n, 0] - across * points[n, 1]
            v = at_y + across * points[n, 0] + along * points[n, 1]
            out[b, n] = root_pos[b, 2] - _surface(heights, u, v)


def scan(
    ground: Ground, points: Tensor, root_pos: Tensor, yaw: Tensor, out: Tensor | None = None
) -> Tensor:
    """Height of the base above the ground at points around it that turn with its heading.

    points (n, 2) heading frame [m]; root_pos (B, 3) world [m]; yaw (B,) [rad]; returns (B, n) [m],
    written into `out` if given. Away from the CPU the same look-up runs as tensor operations.
    """
    if out is None:
        out = torch.empty(len(root_pos), len(points), device=root_pos.device)
    if root_pos.device.type != "cpu":
        return torch.sub(root_pos[:, 2:], height_at(ground, around(points, root_pos, yaw)), out=out)
    inputs = [np.ascontiguousarray(t.numpy(), np.float64) for t in (points, root_pos, yaw)]
    x, y = ground.origin
    _scan(ground.heights, ground.cell, x, y, inputs[0], inputs[1], inputs[2], out.numpy())
    return out


def around(points: Tensor, root_pos: Tensor, yaw: Tensor) -> Tensor:
    """World positions of points (n, 2) given in the heading frames of bases. (B, n, 2) [m]"""
    along, across = yaw.cos().unsqueeze(-1), yaw.sin().unsqueeze(-1)
    x = along * points[:, 0] - across * points[:, 1]
    y = across * points[:, 0] + along * points[:, 1]
    return torch.stack((x, y), dim=-1) + root_pos[:, None, :2]
