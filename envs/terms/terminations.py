"""When an episode has failed. Each returns (B,) bool."""

from __future__ import annotations

from math import cos

from torch import Tensor

from tutelage.envs.state import Context


def tilted(c: Context, *, angle: float) -> Tensor:
    """The base leans by more than `angle` [rad]."""
    return c.state.gravity_b[:, 2] > -cos(angle)


def low(c: Context, *, height: float) -> Tensor:
    """The base is lower than `height` above the ground [m]."""
    return c.base_height < height


def link_hit(c: Context, *, links: tuple[int, ...], force: float) -> Tensor:
    """One of the given columns of `link_force` carries more than `force` [N]."""
    return (c.state.link_force[:, list(links)] > force).any(-1)
