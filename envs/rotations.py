"""Rotations as unit quaternions (w, x, y, z), for any leading batch dimensions.

The frame convention is that of the whole package: `q` turns a vector given in the base frame into
the world frame. Quaternions are taken to be of unit length; nothing here normalises, waits for a
device or branches on a value.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """`v` turned by `q`, base frame to world frame. (..., 4), (..., 3) -> (..., 3)"""
    return _turn(q[..., :1], q[..., 1:], v)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """`v` turned back by `q`, world frame to base frame. (..., 4), (..., 3) -> (..., 3)"""
    return _turn(-q[..., :1], q[..., 1:], v)


def _turn(w: Tensor, axis: Tensor, v: Tensor) -> Tensor:
    """v + 2 w (u x v) + 2 u x (u x v), for the quaternion (w, u)."""
    shape = torch.broadcast_shapes(axis.shape, v.shape)  # type: ignore[no-untyped-call]
    axis, v = axis.expand(shape), v.expand(shape)
    twice = 2 * torch.linalg.cross(axis, v)
    turned: Tensor = v + w * twice + torch.linalg.cross(axis, twice)
    return turned


def gravity_b(q: Tensor) -> Tensor:
    """Unit vector along gravity in the base frame. (..., 4) -> (..., 3); (0, 0, -1) upright"""
    w, x, y, z = q.unbind(-1)
    return torch.stack((2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1), dim=-1)


def yaw(q: Tensor) -> Tensor:
    """Heading: angle about the world's vertical of the base's x axis. (..., 4) -> (...) [rad]"""
    w, x, y, z = q.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def from_yaw(angle: Tensor) -> Tensor:
    """Turn about the vertical. (...) [rad] -> (..., 4)"""
    half, zero = angle / 2, torch.zeros_like(angle)
    return torch.stack((half.cos(), zero, zero, half.sin()), dim=-1)


def from_axis_angle(axis: Tensor, angle: Tensor) -> Tensor:
    """Turn about a unit axis. (..., 3), (...) [rad] -> (..., 4)"""
    half = (angle / 2).unsqueeze(-1)
    vector = axis * half.sin()
    return torch.cat((half.cos().expand(*vector.shape[:-1], 1), vector), dim=-1)


def conjugate(q: Tensor) -> Tensor:
    """The opposite turn. (..., 4) -> (..., 4)"""
    return torch.cat((q[..., :1], -q[..., 1:]), dim=-1)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """First the turn `b`, then the turn `a`. (..., 4), (..., 4) -> (..., 4)"""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )
