"""The left-right mirror of observations and actions, for symmetry augmentation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tutelage.assets.robot import Robot
from tutelage.envs.sim.protocol import HeightScan

type_of_mirror = tuple[list[int], list[float]]


def _fixed(signs: list[float]) -> Callable[[Robot, int], type_of_mirror]:
    return lambda robot, size: (list(range(size)), (signs * size)[:size])


def _joints(robot: Robot, size: int) -> type_of_mirror:
    assert robot.mirror
    names = robot.joint_names
    return [names.index(name) for name in robot.mirror.joints], list(robot.mirror.signs)


def _joint_factors(robot: Robot, size: int) -> type_of_mirror:
    order, _ = _joints(robot, size)
    return order, [1.0] * size


def _feet(robot: Robot, size: int) -> type_of_mirror:
    assert robot.mirror
    return [robot.feet.index(name) for name in robot.mirror.feet], [1.0] * size


def _foot_vectors(robot: Robot, size: int) -> type_of_mirror:
    order, _ = _feet(robot, len(robot.feet))
    return [3 * foot + i for foot in order for i in range(3)], [1.0, -1.0, 1.0] * len(order)


def _heights(robot: Robot, size: int) -> type_of_mirror:
    grid = HeightScan().points()
    across = len(grid[:, 1].unique())
    order = torch.arange(size).view(-1, across).flip(1).flatten().tolist()
    return order, [1.0] * size


KINDS: dict[str, Callable[[Robot, int], type_of_mirror]] = {
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
clock: half a gait cycle, for gaits whose left and right feet are half a cycle apart; joints: angles,
velocities, torques and actions; joint_factors: one number for each joint; feet: one number for each
foot; foot_vectors: one polar vector for each foot; heights: a default HeightScan."""


def mirror(robot: Robot, kinds: list[tuple[str, int]]) -> tuple[Tensor, Tensor]:
    """Places (n,) and signs (n,) that turn a group of terms (kind, size) into its mirror image."""
    places: list[int] = []
    signs: list[float] = []
    for kind, size in kinds:
        if kind not in KINDS:
            raise ValueError(f"unknown mirror '{kind}'; known are {list(KINDS)}")
        order, sign = KINDS[kind](robot, size)
        start = len(places)
        places += [start + i for i in order]
        signs += sign
    return torch.tensor(places), torch.tensor(signs)
