"""What a robot is rewarded for. Each returns (B,); weights and signs belong to the task."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.assets.robot import Gait
from tutelage.envs.state import Context


def moving(c: Context, stand_below: float) -> Tensor:
    """Whether the command asks for more than standing. (B,) bool"""
    asked: Tensor = c.command.norm(dim=-1) > stand_below
    return asked


def velocity_error(c: Context) -> Tensor:
    """Distance between commanded and measured planar velocity [m/s]."""
    error: Tensor = (c.command[:, :2] - c.state.lin_vel_b[:, :2]).norm(dim=-1)
    return error


def yaw_error(c: Context) -> Tensor:
    """Distance between commanded and measured yaw rate [rad/s]."""
    return (c.command[:, 2] - c.state.ang_vel_b[:, 2]).abs()


def track_velocity(c: Context, *, std: float) -> Tensor:
    """1 at the commanded planar velocity, exp(-1) when `std` [m/s] away from it."""
    error = (c.command[:, :2] - c.state.lin_vel_b[:, :2]).square().sum(-1)
    return torch.exp(-error / std**2)


def track_yaw(c: Context, *, std: float) -> Tensor:
    """1 at the commanded yaw rate, exp(-1) when `std` [rad/s] away from it."""
    return torch.exp(-(c.command[:, 2] - c.state.ang_vel_b[:, 2]).square() / std**2)


def vertical_velocity(c: Context) -> Tensor:
    """Squared vertical velocity of the base [m²/s²]."""
    return c.state.lin_vel_b[:, 2].square()


def roll_pitch_rate(c: Context) -> Tensor:
    """Squared roll and pitch rates, summed [rad²/s²]."""
    return c.state.ang_vel_b[:, :2].square().sum(-1)


def tilt(c: Context) -> Tensor:
    """Squared sine of the angle between the base's and the world's vertical."""
    return c.state.gravity_b[:, :2].square().sum(-1)


def height_error(c: Context, *, height: float) -> Tensor:
    """Squared distance of the base from its height above ground [m²]."""
    return (c.base_height - height).square()


def action_rate(c: Context) -> Tensor:
    """Squared change of the action, summed."""
    return (c.action - c.last_action).square().sum(-1)


def action_jerk(c: Context) -> Tensor:
    """Squared second difference of the action, summed."""
    return (c.action - 2 * c.last_action + c.last_last_action).square().sum(-1)


def pose_deviation(c: Context) -> Tensor:
    """Distance of the joints from the rest pose, absolute, summed [rad]."""
    return (c.state.joint_pos - c.rest).abs().sum(-1)


def torque(c: Context) -> Tensor:
    """Squared motor torques, summed [N²·m²]."""
    return c.state.joint_torque.square().sum(-1)


def power(c: Context) -> Tensor:
    """Mechanical power of the motors, absolute, summed [W]."""
    return (c.state.joint_torque * c.state.joint_vel).abs().sum(-1)


def joint_acceleration(c: Context) -> Tensor:
    """Squared joint accelerations over the last control step, summed [rad²/s⁴]."""
    return ((c.state.joint_vel - c.last_joint_vel) / c.dt).square().sum(-1)


def joint_limits(c: Context, *, share: float = 0.95) -> Tensor:
    """How far joints are beyond this share of their range, about its middle, summed [rad]."""
    middle, half = (c.lower + c.upper) / 2, (c.upper - c.lower) / 2
    return ((c.state.joint_pos - middle).abs() - share * half).clamp(min=0).sum(-1)


def link_contact(c: Context, *, force: float) -> Tensor:
    """How many links carry a contact force above `force` [N]."""
    return (c.state.link_force > force).sum(-1).float()


def foot_slip(c: Context) -> Tensor:
    """Horizontal speed of the feet that touch the ground, squared and summed [m²/s²]."""
    speed = c.state.foot_vel_w[..., :2].square().sum(-1)
    return (speed * c.state.foot_contact).sum(-1)


def stand_still(c: Context, *, stand_below: float) -> Tensor:
    """Distance from the rest pose while asked to stand, absolute, summed [rad]."""
    return pose_deviation(c) * ~moving(c, stand_below)


def swing(c: Context, *, gait: Gait, stand_below: float) -> Tensor:
    """Which feet the gait clock wants in the air; none while asked to stand. (B, F) bool"""
    phases = [(gait.frequency * c.time + offset) % 1.0 for offset in gait.offsets]
    return (torch.stack(phases, dim=-1) >= gait.duty) & moving(c, stand_below).unsqueeze(-1)


def gait_contact(c: Context, *, gait: Gait, stand_below: float) -> Tensor:
    """Share of feet whose contact is as the gait clock wants it."""
    return (c.state.foot_contact != swing(c, gait=gait, stand_below=stand_below)).float().mean(-1)


def gait_height(c: Context, *, gait: Gait, stand_below: float, std: float) -> Tensor:
    """Feet in swing near the gait's swing height: 1 there, exp(-1) `std` [m] away; their mean."""
    error = (c.foot_height - gait.swing_height) / std
    up = swing(c, gait=gait, stand_below=stand_below)
    return (torch.exp(-error.square()) * up).mean(-1)
