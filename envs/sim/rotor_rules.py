"""What an episode of hovering is: how it starts, what it pays, when it ends. RAPTOR's by default.

The numbers are those of its post-training (rl-tools, commit e43ae4bc: l2f/parameters/init and
l2f/parameters/reward_functions/squared, src/foundation_policy). `reward` and `fallen` say in torch
what `rotor_episode` compiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.envs.sim.rotor_model import POSITION, QUATERNION, RATE, VELOCITY


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Uniform draws around the target; an axis of tilt is uniform over the sphere."""

    guidance: float = 0.1
    """Share of episodes that begin at the target, level and at rest"""
    box: float = 0.5
    """Farthest along each axis [m]"""
    box_in_reaches: float = 0.0
    """The same, in distances from rotor to centre, added to it; RAPTOR's teachers: 0 m and 10"""
    angle: float = 1.0
    """Largest tilt [rad]"""
    velocity: float = 1.0
    """Largest, along each axis [m/s]"""
    rate: float = 1.0
    """Largest, about each axis [rad/s]"""
    rotor: float = 0.5
    """Largest rotor speed, each rotor for itself, in 0..1"""
    force: float = 1.0
    """Factor on the spread of the disturbance force, which is drawn once; 0 for none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    alive: float = 1.5
    position: float = 1.0
    """Cost of each metre from the target"""
    heading: float = 0.2
    """Cost of each radian of arccos(1 - |q_z|), which is 0 without yaw"""
    change: float = 1.0
    """Cost of the Euclidean distance from the last action"""
    fall: float = -100.0
    """Instead of all this, in the step that ends an episode early"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """An episode ends where one is passed along or about any axis, or a number is none."""

    reaches: float = 20.0
    """Distance from the target, in distances from rotor to centre"""
    velocity: float = 2.0
    """[m/s]"""
    rate: float = 35.0
    """[rad/s]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    start: Start = Start()
    reward: Reward = Reward()
    limits: Limits = Limits()
    horizon: int = 500
    """Steps after which an episode is over"""
    dt: float = 0.01
    """Period of control and of physics [s]"""
    floor: float = float("-inf")
    """Height of the ground [m]; see `rotor_model.step`"""


def reward(
    x: Tensor, action: Tensor, last_action: Tensor, target: Tensor, weights: Reward
) -> Tensor:
    """Pay for a step that led to state x (B, 17), actions (B, 4) within -1..1. (B,)

    The angle is written 2 arcsin √(|q_z| / 2), which loses no digits near zero.
    """
    away = (x[:, POSITION] - target[:, :3]).norm(dim=-1)
    turned = 2 * torch.asin((x[:, QUATERNION][:, 3].abs() / 2).sqrt())
    change = (action - last_action).norm(dim=-1)
    cost = weights.position * away + weights.heading * turned + weights.change * change
    paid: Tensor = weights.alive - cost
    return paid


def fallen(x: Tensor, reach: Tensor, target: Tensor, limits: Limits) -> Tensor:
    """Whether a state (B, 17) is beyond the limits, or none. (B,) bool"""
    near = (x[:, POSITION] - target[:, :3]).abs() <= limits.reaches * reach[:, None]
    slow = x[:, VELOCITY].abs() <= limits.velocity
    calm = x[:, RATE].abs() <= limits.rate
    return ~(near & slow & calm).all(-1)
