"""What a robot is asked to do."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor


class VelocityCommand:
    """Planar velocity and yaw rate in the base frame, drawn uniformly, held for some seconds.

    A share of the draws asks to stand. Speeds too small to be worth a step are made zero, so that
    standing has one meaning. `widen` sets the share of the full range that draws come from.
    """

    names: tuple[str, ...] = ("vx", "vy", "wz")
    units: tuple[str, ...] = ("m/s", "m/s", "rad/s")
    size = 3

    def __init__(
        self,
        num_envs: int,
        device: torch.device,
        generator: Generator,
        *,
        high: tuple[float, float, float] = (1.0, 0.6, 1.0),
        hold: tuple[float, float] = (2.0, 8.0),
        standing: float = 0.25,
        stand_below: float = 0.1,
    ) -> None:
        self.high: tuple[float, ...] = high
        self.low: tuple[float, ...] = tuple(-value for value in high)
        self._high = torch.tensor(high, device=device)
        self._generator = generator
        self._hold, self._standing, self._stand_below = hold, standing, stand_below
        self._share = torch.ones((), device=device)
        self._value = torch.zeros(num_envs, 3, device=device)
        self._left = torch.zeros(num_envs, device=device)

    @property
    def value(self) -> Tensor:
        """(B, 3): vx [m/s], vy [m/s], wz [rad/s]"""
        return self._value

    def widen(self, share: Tensor) -> None:
        self._share = share

    def step(self, dt: float) -> None:
        self._left = self._left - dt
        self.reset(self._left < dt / 2)  # the nearest step, however the sum was rounded

    def reset(self, mask: Tensor) -> None:
        drawn = torch.rand((len(mask), 5), generator=self._generator, device=self._value.device)
        value = (2 * drawn[:, :3] - 1) * self._high * self._share
        moving = (value.norm(dim=-1) > self._stand_below) & (drawn[:, 3] >= self._standing)
        self._value = torch.where(mask[:, None], value * moving[:, None], self._value)
        low, high = self._hold
        self._left = torch.where(mask, low + (high - low) * drawn[:, 4], self._left)

    def snapshot(self) -> dict[str, Tensor]:
        return {"value": self._value, "left": self._left, "share": self._share}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._value, self._left = snapshot["value"].clone(), snapshot["left"].clone()
        self._share = snapshot["share"].clone()
