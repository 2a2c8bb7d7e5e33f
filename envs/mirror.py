"""The left-right mirror of observations and actions, for symmetry augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from tutelage.assets.robot import Robot
from tutelage.envs.sim.protocol import HeightScan

Image: TypeAlias = tuple[list[int], list[float]]
"""For each entry of a term, the entry it takes its value from and the sign it takes it with"""


def _fixed(signs: list[float]) -> Callable[[Robot, int], Image]:
    """Entries keep their places; the signs repeat, e.g. from one vector to the next."""
    return lambda robot, size: (list(range(size)), signs * (size // len(signs)))


def _joints(robot: Robot, size: int) -> Image:
    assert robot.mirror
    names = robot.joint_names
    return [names.index(name) for name in robot.mirror.joints], list(robot.mirror.signs)


def _joint_factors(robot: Robot, size: int) -> Image:
    order, _ = _joints(robot, size)
    return order, [1.0] * len(order)


def _feet(robot: Robot, size: int) -> Image:
    assert robot.mirror
    return [robot.feet.index(name) for name in robot.mirror.feet], [1.0] * len(robot.feet)


def _foot_vectors(robot: Robot, size: int) -> Image:
    order, _ = _feet(robot, len(robot.feet))
    return [3 * foot + i for foot in order for i in range(3)], [1.0, -1.0, 1.0] * len(order)


def _heights(robot: Robot, size: int) -> Image:
    grid = HeightScan().points()
    along = int((grid[:, 1] == grid[0, 1]).sum())
    order: list[int] = torch.arange(len(grid)).view(along, -1).flip(1).flatten().tolist()
    return order, [1.0] * len(order)


KINDS: dict[str, Callable[[Robot, int], Image]] = {
    "none": _fixed([1.0]),
    "vector": _fixed([1.0, -1.0, 1.0]),
    "axial": _fixed([-1.0, 1.0, -1.0]),
    "command": _fixed([1.0, -1.0, -1.0]),
    "clock": _fixed([-1.0]),
    "joints": _joints,
    "joint_factors": _joint_factors,
    "feet": _feet,
    "foot_vectors": _foot_vectors,
    "heights": _heights,
}
"""How a term changes in the mirror (x forward, y left, z up; y flips):
none: not at all; vector: a polar vector; axial: an angular velocity; command: (vx, vy, wz);
clock: half a gait cycle, for gaits whose left and right feet are half a cycle apart; joints:
angles, velocities, torques and actions; joint_factors: one number for each joint; feet: one number
for each foot; foot_vectors: one polar vector for each foot; heights: a default HeightScan."""


def mirror(robot: Robot, kinds: list[tuple[str, int]]) -> tuple[Tensor, Tensor]:
    """Places (n,) and signs (n,) that turn a group of terms (kind, size) into its mirror image."""
    places: list[int] = []
    signs: list[float] = []
    for kind, size in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown mirror '{kind}'; known are {list(KINDS)}")
        order, sign = KINDS[kind](robot, size)
        if not len(order) == len(sign) == size:
            raise ValueError(
                f"mirror '{kind}' has {len(sign)} entries for robot '{robot.name}'; the term has "
                f"{size}"
            )
        start = len(places)
        places += [start + i for i in order]
        signs += sign
    return torch.tensor(places), torch.tensor(signs)
