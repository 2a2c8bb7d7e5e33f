"""A multirotor's equations of motion in torch: what the compiled kernel must agree with.

State x, (B, 17): position (3) [m] and velocity (3) [m/s] in the world (z up), quaternion (4) body
to world between them, angular velocity (3) [rad/s] in the body, rotor speeds (4) in 0..1; in the
order position, quaternion, velocity, angular velocity, rotors.

    thrust_i = strength_i (c0 + c1 u_i + c2 u_i²), along the body's z
    m dv/dt  = R(q) Σ thrust - m g + force - drag (v - wind)
    J dw/dt  = Σ (place_i x thrust_i + reaction_i thrust_i) - w x J w + torque
    du_i/dt  = (command_i - u_i) / (rise if command_i >= u_i else fall)

integrated by the classical Runge-Kutta rule over the whole state, rotors included. Without drag
they are those of l2f 2.0.18 (rl-tools l2f/operations_generic/60_dynamics.h), down to what a
quaternion does that is not of unit length within the rule: R(q) z = (2(xz + wy), 2(yz - wx),
1 - 2(x² + y²)). After a step it is made so, and rotor speeds are kept within 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.envs.quadrotors import GRAVITY, Quadrotors

POSITION, QUATERNION, VELOCITY = slice(0, 3), slice(3, 7), slice(7, 10)
RATE, ROTOR = slice(10, 13), slice(13, 17)


@dataclass(frozen=True, slots=True)
class Craft:
    """`Quadrotors` as tensors; shapes and units are theirs."""

    mass: Tensor
    inertia: Tensor
    curve: Tensor
    strength: Tensor
    place: Tensor
    reaction: Tensor
    rise: Tensor
    fall: Tensor
    drag: Tensor

    @classmethod
    def of(cls, q: Quadrotors, dtype: torch.dtype = torch.float32) -> Craft:
        arrays = (
            q.mass, q.inertia, q.curve, q.strength, q.place, q.reaction, q.rise, q.fall, q.drag,
        )  # fmt: skip
        return cls(*(torch.as_tensor(array, dtype=dtype) for array in arrays))


@dataclass(frozen=True, slots=True)
class Air:
    """What acts from outside, the same throughout a step."""

    force: Tensor
    """World frame. (B, 3) [N]"""
    torque: Tensor
    """Body frame. (B, 3) [N·m]"""
    wind: Tensor
    """World frame. (B, 3) [m/s]"""


def still(like: Tensor) -> Air:
    """Nothing from outside, for as many environments as `like` (B, ...) has."""
    return Air(*(torch.zeros(len(like), 3, dtype=like.dtype) for _ in range(3)))


def derivative(x: Tensor, command: Tensor, craft: Craft, air: Air) -> Tensor:
    """Rate of the state. (B, 17), (B, 4) rotor speeds asked for -> (B, 17)"""
    q, v, rate, u = x[:, QUATERNION], x[:, VELOCITY], x[:, RATE], x[:, ROTOR]
    c0, c1, c2 = craft.curve.unsqueeze(-1).unbind(1)
    thrust = craft.strength * (c0 + c1 * u + c2 * u.square())
    torque = torch.stack(
        (
            (craft.place[..., 1] * thrust).sum(-1),
            -(craft.place[..., 0] * thrust).sum(-1),
            (craft.reaction * thrust).sum(-1),
        ),
        dim=-1,
    )
    push = air.force - craft.drag[:, None] * (v - air.wind)
    dv = (thrust.sum(-1, keepdim=True) * up(q) + push) / craft.mass[:, None]
    dv = dv - dv.new_tensor((0.0, 0.0, GRAVITY))
    turning = torch.linalg.cross(rate, craft.inertia * rate)
    dw = (torque + air.torque - turning) / craft.inertia
    gap = command - u
    du = gap / torch.where(gap >= 0, craft.rise[:, None], craft.fall[:, None])
    return torch.cat((v, spin(q, rate), dv, dw, du), dim=-1)


def up(q: Tensor) -> Tensor:
    """The body's z axis in the world. (B, 4) -> (B, 3)"""
    w, x, y, z = q.unbind(-1)
    return torch.stack((2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)), dim=-1)


def spin(q: Tensor, rate: Tensor) -> Tensor:
    """Rate of the quaternion at the body's angular velocity. (B, 4), (B, 3) -> (B, 4)"""
    w, v = q[:, :1], q[:, 1:]
    scalar = -(v * rate).sum(-1, keepdim=True)
    return torch.cat((scalar, w * rate + torch.linalg.cross(v, rate)), dim=-1) / 2


def step(
    x: Tensor, action: Tensor, craft: Craft, air: Air, dt: float = 0.01,
    floor: float = float("-inf"),
) -> Tensor:  # fmt: skip
    """The state `dt` [s] later under actions (B, 4), -1 for rotors off and 1 for full speed.

    Who is below the height `floor` [m] afterwards is put onto it and held there: no bounce, no
    sliding. It is a ground to start from and to fall on, not to land on.
    """
    command = (action.clamp(-1.0, 1.0) + 1) / 2
    k1 = derivative(x, command, craft, air)
    k2 = derivative(x + dt / 2 * k1, command, craft, air)
    k3 = derivative(x + dt / 2 * k2, command, craft, air)
    k4 = derivative(x + dt * k3, command, craft, air)
    x = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    p, q, v = x[:, POSITION], x[:, QUATERNION], x[:, VELOCITY]
    rate, u = x[:, RATE], x[:, ROTOR]
    below = p[:, 2:] < floor
    held = torch.cat((torch.zeros_like(v[:, :2]), v[:, 2:].clamp(min=0.0)), dim=-1)
    v = torch.where(below, held, v)
    p = torch.cat((p[:, :2], torch.where(below, floor, p[:, 2:])), dim=-1)
    q = q / q.norm(dim=-1, keepdim=True)
    return torch.cat((p, q, v, rate, u.clamp(0.0, 1.0)), dim=-1)


def observe(x: Tensor, action: Tensor, target: Tensor) -> Tensor:
    """What policies see: (B, 22) for the student and four rotor speeds, in -1..1, for a teacher.

    Position relative to the target (3) [m], rotation matrix row by row (9), velocity relative to
    the target's (3) [m/s], both in the world; angular velocity (3) [rad/s] in the body; the last
    action (4). `target` (B, 6): its position and velocity. (B, 26)
    """
    q = x[:, QUATERNION]
    vector, w = q[:, 1:], q[:, :1, None]
    outer = vector.unsqueeze(-1) * vector.unsqueeze(-2)
    a, b, c = vector.unbind(-1)
    zero = torch.zeros_like(a)
    cross = torch.stack((zero, -c, b, c, zero, -a, -b, a, zero), dim=-1).view(-1, 3, 3)
    unit = torch.eye(3, dtype=x.dtype)
    matrix = unit * (1 - 2 * vector.square().sum(-1))[:, None, None] + 2 * (outer + w * cross)
    return torch.cat(
        (
            x[:, POSITION] - target[:, :3],
            matrix.flatten(1),
            x[:, VELOCITY] - target[:, 3:],
            x[:, RATE],
            action,
            2 * x[:, ROTOR] - 1,
        ),
        dim=-1,
    )
