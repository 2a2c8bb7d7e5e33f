"""What a policy may be shown. Each returns (B, n), in the unit stated."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from tutelage.envs.sim.protocol import Field
from tutelage.envs.state import Context


def angular_velocity(c: Context) -> Tensor:
    """Of the base, base frame. (B, 3) [rad/s]"""
    return c.state.ang_vel_b


def gravity(c: Context) -> Tensor:
    """Unit vector along gravity, base frame. (B, 3)"""
    return c.state.gravity_b


def joint_pos(c: Context) -> Tensor:
    """Joint angles minus the rest pose. (B, J) [rad]"""
    return c.state.joint_pos - c.rest


def joint_vel(c: Context) -> Tensor:
    """(B, J) [rad/s]"""
    return c.state.joint_vel


def last_action(c: Context) -> Tensor:
    """The action that led here. (B, A)"""
    return c.action


def command(c: Context) -> Tensor:
    """(B, C)"""
    return c.command


def gait_clock(c: Context, *, frequency: float, stand_below: float) -> Tensor:
    """Sine and cosine of the gait's phase; both 0 while the command asks to stand. (B, 2)"""
    angle = 2 * pi * frequency * c.time
    clock = torch.stack((angle.sin(), angle.cos()), dim=-1)
    moving: Tensor = c.command.norm(dim=-1, keepdim=True) > stand_below
    return clock * moving


def linear_velocity(c: Context) -> Tensor:
    """Of the base, base frame. (B, 3) [m/s]"""
    return c.state.lin_vel_b


def base_height(c: Context) -> Tensor:
    """Above the ground. (B, 1) [m]"""
    return c.base_height.unsqueeze(-1)


def foot_force(c: Context) -> Tensor:
    """Contact forces on the feet, world frame, foot after foot. (B, 3 F) [N]"""
    return c.state.foot_force_w.flatten(1)


def foot_height(c: Context) -> Tensor:
    """Above the ground. (B, F) [m]"""
    return c.foot_height


def joint_torque(c: Context) -> Tensor:
    """(B, J) [N·m]"""
    return c.state.joint_torque


def dynamics(c: Context, *, field: Field) -> Tensor:
    """What an event drew for this environment, in the field's unit. (B, n)"""
    if field not in c.dynamics:
        drawn = [str(name) for name in c.dynamics]
        raise KeyError(f"no event draws '{field}'; the task's events draw {drawn}")
    return c.dynamics[field]


def scan(c: Context, *, sensor: str, height: float) -> Tensor:
    """Height scan minus the standing height: 0 on flat ground, negative over a bump. (B, n) [m]"""
    return c.sense(sensor) - height
