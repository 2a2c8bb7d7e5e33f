"""Groups of observations: from terms to the vectors that policies read.

The terms of a group are computed once, side by side in one (B, n) tensor; noise, bias, scale and
clip are then one operation each for the whole group, by columns. Delay is finer than a control
step: it is a whole number of physics steps, read between the two control steps around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import torch
from torch import Generator, Tensor

from tutelage.envs.state import Context
from tutelage.envs.task import Observation


class Group:
    """Terms of one group with their noise, bias, delay, scale and clip; no history."""

    def __init__(
        self,
        terms: Mapping[str, Observation],
        sizes: Mapping[str, int],
        num_envs: int,
        device: torch.device,
        generator: Generator,
        *,
        control_dt: float,
        physics_dt: float,
    ) -> None:
        self.terms, self.sizes = dict(terms), dict(sizes)
        self.size = sum(sizes.values())
        self._generator, self._device, self._num_envs = generator, device, num_envs
        self._scale = self._columns({name: term.scale for name, term in terms.items()})
        self._clip = self._columns(
            {name: inf if term.clip is None else term.clip for name, term in terms.items()}
        )
        self._noise = self._columns({name: term.noise for name, term in terms.items()})
        self._bias_width = self._columns({name: term.bias for name, term in terms.items()})
        self._clipped = any(term.clip is not None for term in terms.values())
        self._noisy = any(term.noise for term in terms.values())
        self._biased = any(term.bias for term in terms.values())
        self._bias = torch.zeros(num_envs, self.size, device=device)
        self._lag = _Lag(self, control_dt, physics_dt, generator, num_envs, device)

    def _columns(self, values: Mapping[str, float]) -> Tensor:
        """One number for each column of the group, from one for each term. (n,)"""
        spread = [values[name] for name, size in self.sizes.items() for _ in range(size)]
        return torch.tensor(spread, device=self._device)

    def raw(self, context: Context) -> Tensor:
        """The terms' values, side by side. (B, n)"""
        return torch.cat([term.term(context) for term in self.terms.values()], dim=-1)

    def clean(self, raw: Tensor) -> Tensor:
        """Scaled and clipped only. (B, n)"""
        scaled = raw * self._scale
        return scaled.clamp(-self._clip, self._clip) if self._clipped else scaled

    def sensed(self, raw: Tensor, fresh: Tensor) -> Tensor:
        """As a robot would sense it. `fresh` (B,): the first step of an episode. (B, n)"""
        value = raw
        if self._noisy:
            value = value + self._noise * self._uniform()
        if self._biased:
            value = value + self._bias
        return self.clean(self._lag(value, fresh))

    def _uniform(self) -> Tensor:
        """(B, n) in -1..1"""
        shape = (self._num_envs, self.size)
        return 2 * torch.rand(shape, generator=self._generator, device=self._device) - 1

    def reset(self, mask: Tensor) -> None:
        """Draw biases and delays anew for the masked environments (B,)."""
        if self._biased:
            self._bias = torch.where(mask[:, None], self._bias_width * self._uniform(), self._bias)
        self._lag.reset(mask)

    def snapshot(self) -> dict[str, Tensor]:
        return {"bias": self._bias} | self._lag.snapshot()

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._bias = snapshot["bias"].clone()
        self._lag.restore(snapshot)


class _Lag:
    """Latency of some columns of a group, drawn for each term and environment once an episode."""

    def __init__(
        self,
        group: Group,
        control_dt: float,
        physics_dt: float,
        generator: Generator,
        num_envs: int,
        device: torch.device,
    ) -> None:
        self._generator = generator
        self._ratio = physics_dt / control_dt
        ranges = [
            (round(low / physics_dt), round(high / physics_dt))
            for low, high in (term.delay for term in group.terms.values())
        ]
        self._low = torch.tensor([float(low) for low, _ in ranges], device=device)
        self._high = torch.tensor([float(high) for _, high in ranges], device=device)
        counts = torch.tensor(list(group.sizes.values()), device=device)
        self._term = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        longest = max((high for _, high in ranges), default=0)
        self.active = longest > 0
        depth = int(-(-longest * self._ratio // 1)) + 1
        self._frames = torch.zeros(depth, num_envs, group.size, device=device)
        self._steps = torch.zeros(num_envs, len(ranges), device=device)

    def __call__(self, value: Tensor, fresh: Tensor) -> Tensor:
        if not self.active:
            return value
        shifted = torch.cat((value[None], self._frames[:-1]))
        self._frames = torch.where(fresh[None, :, None], value[None], shifted)
        age = (self._steps * self._ratio)[:, self._term]
        newer = age.floor().long()
        older = (newer + 1).clamp(max=len(self._frames) - 1)
        share = age - newer
        near = self._frames.gather(0, newer[None])[0]
        far = self._frames.gather(0, older[None])[0]
        return near + share * (far - near)

    def reset(self, mask: Tensor) -> None:
        if not self.active:
            return
        unit = torch.rand(self._steps.shape, generator=self._generator, device=mask.device)
        drawn = (self._low + (self._high - self._low) * unit).round()
        self._steps = torch.where(mask[:, None], drawn, self._steps)

    def snapshot(self) -> dict[str, Tensor]:
        return {"frames": self._frames, "steps": self._steps}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._frames, self._steps = snapshot["frames"].clone(), snapshot["steps"].clone()


class History:
    """The last frames of a group: frame after frame, oldest first; all the first one at reset."""

    def __init__(self, length: int, num_envs: int, size: int, device: torch.device) -> None:
        self._frames = torch.zeros(num_envs, length, size, device=device)

    def __call__(self, frame: Tensor, fresh: Tensor) -> Tensor:
        """(B, n), (B,) -> (B, length * n)"""
        shifted = torch.cat((self._frames[:, 1:], frame[:, None]), dim=1)
        self._frames = torch.where(fresh[:, None, None], frame[:, None], shifted)
        return self._frames.flatten(1)

    def snapshot(self) -> dict[str, Tensor]:
        return {"frames": self._frames}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._frames = snapshot["frames"].clone()
