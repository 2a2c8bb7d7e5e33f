"""Draws what physics is like: fields at the start of an episode, fields and pushes in between."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from tutelage.envs.sim.protocol import Field, Simulator
from tutelage.envs.task import Event


class Events:
    """All events of a task on one simulator; remembers what was drawn, for privileged terms."""

    def __init__(self, events: Mapping[str, Event], sim: Simulator, generator: Generator) -> None:
        self._events, self._sim, self._generator = events, sim, generator
        joints = len(sim.scene.robot.joints)
        self._ranges = {
            name: _range(name, event, joints, sim.device) for name, event in events.items()
        }
        self._left = {
            name: torch.zeros(sim.num_envs, device=sim.device)
            for name, event in events.items()
            if event.every
        }
        self.dynamics: dict[str, Tensor] = {
            event.field: self._ranges[name][0].expand(sim.num_envs, -1).clone()
            for name, event in events.items()
            if event.field
        }

    def reset(self, mask: Tensor) -> None:
        """A new episode: draw every field anew, and the time of the first push. mask (B,)"""
        for name, event in self._events.items():
            if event.field:
                self._draw(name, event.field, mask)
            if event.every:
                self._wait(name, event.every, mask)

    def step(self, dt: float) -> None:
        """Let time pass; what is due happens before the next physics step."""
        for name, event in self._events.items():
            if not event.every:
                continue
            due = self._left[name] < dt / 2  # the nearest step, however the sum was rounded
            if event.field:
                self._draw(name, event.field, due)
            else:
                self._sim.push(due, self._uniform(name))
            self._wait(name, event.every, due)
            self._left[name] = self._left[name] - dt

    def _draw(self, name: str, field: Field, mask: Tensor) -> None:
        values = self._uniform(name)
        if field is Field.ACTION_DELAY:
            values = values.round()
        self._sim.randomise(field, mask, values)
        self.dynamics[field] = torch.where(mask[:, None], values, self.dynamics[field])

    def _uniform(self, name: str) -> Tensor:
        low, high = self._ranges[name]
        shape = (self._sim.num_envs, len(low))
        unit = torch.rand(shape, generator=self._generator, device=low.device)
        return low + (high - low) * unit

    def _wait(self, name: str, every: tuple[float, float], mask: Tensor) -> None:
        unit = torch.rand(len(mask), generator=self._generator, device=mask.device)
        wait = every[0] + (every[1] - every[0]) * unit
        self._left[name] = torch.where(mask, wait, self._left[name])

    def snapshot(self) -> dict[str, Tensor]:
        saved = {f"left.{name}": value for name, value in self._left.items()}
        return saved | {f"dynamics.{name}": value for name, value in self.dynamics.items()}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._left = {name: snapshot[f"left.{name}"].clone() for name in self._left}
        self.dynamics = {name: snapshot[f"dynamics.{name}"].clone() for name in self.dynamics}


_SIZES = {
    Field.FRICTION: 1, Field.MASS: 1, Field.COM: 3, Field.GRAVITY: 3, Field.ACTION_DELAY: 1,
}
"""Entries of a field that has not one for each joint"""


def _range(name: str, event: Event, joints: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(n,) lowest and highest values of an event's draw."""
    size = _SIZES.get(event.field, joints) if event.field else 6
    for entries in (event.low, event.high):
        if len(entries) not in (1, size):
            raise ValueError(
                f"event '{name}' gives {len(entries)} values, {event.field or 'a push'} has {size}"
            )
    if event.field is None and event.every is None:
        raise ValueError(f"event '{name}' is a push and needs `every`, the time between pushes")
    low, high = (
        torch.tensor(entries, device=device).expand(size) for entries in (event.low, event.high)
    )
    if (low > high).any():
        raise ValueError(f"event '{name}': low {event.low} exceeds high {event.high}")
    return low, high
