"""Every task as a gymnasium environment, `Tutelage/<task>-v0`.

    import gymnasium, tutelage.envs.gym
    env = gymnasium.make_vec("Tutelage/go2-flat-v0", num_envs=64)

Importing this module registers the tasks and builds nothing. Observations are a dict of the groups
that `envs.env.Env` gives, as float32 arrays; actions are the policy's raw actions.

An environment whose episode ends begins the next one in the same step, and the observation that
comes back is the first of the new episode, as rsl_rl has it. The last observation of the old one
is not kept (it would cost a second computation of every term), so `infos` holds no "final_obs".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from tensordict import TensorDict

from tutelage import envs

Observations: TypeAlias = dict[str, NDArray[np.float32]]
Actions: TypeAlias = NDArray[np.float32]


class Vector(gymnasium.vector.VectorEnv[Observations, Actions, NDArray[Any]]):
    """`num_envs` copies of a task, stepped together."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, *, task: str, num_envs: int = 1, **kwargs: Any) -> None:
        """`kwargs` are those of `tutelage.envs.make`: sim, seed, history."""
        self._made = {"name": task, "num_envs": num_envs, **kwargs}
        self.env = envs.make(**self._made)
        self._fresh = True
        self.num_envs = num_envs
        clip = self.env.task.action_clip
        self.single_observation_space = Dict(
            {
                name: Box(-np.inf, np.inf, value.shape[1:], np.float32)
                for name, value in self.env.get_observations().items()
            }
        )
        self.single_action_space = Box(-clip, clip, (self.env.num_actions,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """New episodes everywhere; with a seed, exactly those of an environment made with it."""
        if isinstance(seed, list):
            raise ValueError(f"one seed serves all environments; got a list of {len(seed)}")
        if options:
            raise ValueError(f"no options are known here; got {sorted(options)}")
        if seed is not None:
            self.env.close()
            self.env = envs.make(**{**self._made, "seed": seed})
        elif not self._fresh:
            self.env.reset()
        self._fresh = False
        return arrays(self.env.get_observations()), {}

    def step(
        self, actions: Actions
    ) -> tuple[Observations, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Ends are split as gymnasium has it: terminated (failed) and truncated (time is up)."""
        tensor = torch.as_tensor(np.asarray(actions), dtype=torch.float32, device=self.env.device)
        obs, rewards, dones, extras = self.env.step(tensor)
        truncated = extras["time_outs"].bool()
        terminated = dones.bool() & ~truncated
        infos = {"valid": extras["valid"].cpu().numpy(), "log": numbers(extras["log"])}
        ends = terminated.cpu().numpy(), truncated.cpu().numpy()
        return arrays(obs), rewards.cpu().numpy(), *ends, infos

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()


class Single(gymnasium.Env[Observations, Actions]):
    """One copy of a task, for libraries that know nothing of vectors."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, *, task: str, **kwargs: Any) -> None:
        self.vector = Vector(task=task, num_envs=1, **kwargs)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        obs, infos = self.vector.reset(seed=seed, options=options)
        return first(obs), infos

    def step(self, action: Actions) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        obs, rewards, terminated, truncated, infos = self.vector.step(action[None])
        infos["valid"] = bool(infos["valid"][0])
        return first(obs), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), infos

    def close(self) -> None:
        self.vector.close()


def arrays(obs: TensorDict) -> Observations:
    """Copies, since the environment's tensors may change in the next step."""
    return {str(name): np.array(x.cpu().numpy(), dtype=np.float32) for name, x in obs.items()}


def first(obs: Observations) -> Observations:
    return {name: value[0] for name, value in obs.items()}


def numbers(log: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in log.items()}


def register() -> None:
    """Name every task for `gymnasium.make` and `gymnasium.make_vec`."""
    for task in envs.known_tasks():
        gymnasium.register(
            id=f"Tutelage/{task}-v0",
            entry_point="tutelage.envs.gym:Single",
            vector_entry_point="tutelage.envs.gym:Vector",
            kwargs={"task": task},
        )


register()
