"""When an episode has failed. Each returns (B,) bool."""

from __future__ import annotations

from math import cos

import torch
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
    # Columns one by one: an index that is a list is copied to the device in every step.
    loads = torch.stack([c.state.link_force[:, link] for link in links], dim=-1)
    return (loads > force).any(-1)
