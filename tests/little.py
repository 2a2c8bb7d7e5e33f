"""A little task on the simulator that can be computed in one's head, for tests of environments.

The toy robot rides on FakeSim: an action of 1 turns a paddle by 0.5 rad, and half a radian of the
left paddle is half a metre a second forward. Nothing is drawn but the heading, unless asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from torch import Generator, Tensor

from tests.fake import FakeSim
from tutelage.assets import ROBOTS
from tutelage.envs.env import Env
from tutelage.envs.sim.protocol import Scene
from tutelage.envs.state import Context
from tutelage.envs.task import Observation, Reward, Task
from tutelage.envs.terms import observations as see
from tutelage.envs.terms import rewards as earn

B = 3
DT = 0.02
"""Control period [s]"""


class Count:
    """A command that says how many control steps its episode has seen: (n, 0, 0)."""

    size = 3
    names: tuple[str, ...] = ("vx", "vy", "wz")
    units: tuple[str, ...] = ("m/s", "m/s", "rad/s")
    low: tuple[float, ...] = (0.0, 0.0, 0.0)
    high: tuple[float, ...] = (1.0, 0.0, 0.0)

    def __init__(self, num_envs: int, device: Any, generator: Generator) -> None:
        self._value = torch.zeros(num_envs, 3)
        self.share = torch.ones(())

    @property
    def value(self) -> Tensor:
        return self._value

    def reset(self, mask: Tensor) -> None:
        self._value = torch.where(mask[:, None], 0.0, self._value)

    def widen(self, share: Tensor) -> None:
        self.share = share

    def step(self, dt: float) -> None:
        self._value = self._value + torch.tensor([1.0, 0.0, 0.0])

    def snapshot(self) -> dict[str, Tensor]:
        return {"value": self._value}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self._value = snapshot["value"].clone()


def asked(c: Context) -> Tensor:
    """The commanded vx. (B,)"""
    return c.command[:, 0]


def time(c: Context) -> Tensor:
    """Time in the episode. (B, 1) [s]"""
    return c.time[:, None]


def little(**changes: Any) -> Task:
    """Earns what it is asked for, in each step; sees joints, last action and command."""
    task = Task(
        name="little",
        robot=ROBOTS["toy"](),
        proprio={
            "joint_pos": Observation(term=see.joint_pos, unit="rad", source="joint_pos"),
            "last_action": Observation(term=see.last_action, unit="1", source="last_action"),
            "command": Observation(term=see.command, unit="m/s", source="command"),
        },
        privileged={"time": Observation(term=time, unit="s")},
        rewards={"asked": Reward(term=asked, weight=1 / DT)},
        terminations={},
        metrics={"velocity_error": earn.velocity_error},
        command=partial(Count),
        episode=1.0,
        reset_noise=0.0,
    )
    return replace(task, **changes)


def ride(task: Task, *, num_envs: int = B, seed: int = 0, history: int = 1) -> Env:
    """The task on FakeSim."""
    scene = Scene(robot=task.robot, terrain=task.terrain, sensors=task.sensors, dt=task.physics_dt)
    return Env(task, FakeSim(scene, num_envs), seed=seed, history=history)


def fake(env: Env) -> FakeSim:
    """The simulator of an environment made by `ride`."""
    assert isinstance(env.sim, FakeSim)
    return env.sim


def tensors(obs: TensorDict) -> dict[str, Tensor]:
    """The groups of observations, by name."""
    return {str(key): obs[key] for key in obs.keys()}  # noqa: SIM118


def after(
    env: Env, steps: int, action: Tensor
) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
    """What the last of so many steps of the same action returns."""
    for _ in range(steps - 1):
        env.step(action)
    return env.step(action)


def actions(left: float, right: float = 0.0, count: int = B) -> Tensor:
    """(count, 2)"""
    return torch.tensor([left, right]).repeat(count, 1)


def only(row: int, count: int = B) -> Tensor:
    """(count,) bool, true in one row."""
    return torch.arange(count) == row
