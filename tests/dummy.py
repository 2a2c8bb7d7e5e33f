"""A vectorised environment that can be computed in one's head, and can be snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

GROUPS = ("proprio", "privileged", "critic")


class DummyEnv(VecEnv):
    """A point that each action moves: x <- x + a + noise. Reward -|x|², episodes of 8 steps.

    "proprio" is x (B, 2) with noise, "privileged" is the step in the episode (B, 1), "critic"
    both without noise. An action in column 0 is played `drift` stronger after every episode, so
    that the environment has something like a curriculum.
    """

    num_actions = 2
    max_episode_length = 8
    device = "cpu"

    def __init__(self, num_envs: int = 4, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.cfg: dict[str, object] = {}
        self.generator = torch.Generator().manual_seed(seed)
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long)
        self.x = torch.zeros(num_envs, 2)
        self.gain = torch.ones(())
        self.poison_at = -1
        """Step in which environment 1 returns NaN"""
        self.steps = 0
        self._observe()

    def _observe(self) -> None:
        noise = 0.1 * torch.randn(self.num_envs, 2, generator=self.generator)
        time = self.episode_length_buf.unsqueeze(-1) / self.max_episode_length
        groups = {
            "proprio": self.x + noise,
            "privileged": time,
            "critic": torch.cat((self.x, time), -1),
        }
        self.obs = TensorDict(groups, batch_size=[self.num_envs])

    def get_observations(self) -> TensorDict:
        return self.obs

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        draw = torch.randn(self.num_envs, 2, generator=self.generator)
        self.x = self.x + 0.1 * self.gain * actions + 0.05 * draw
        self.episode_length_buf = self.episode_length_buf + 1
        done = self.episode_length_buf >= self.max_episode_length
        reward = -self.x.square().sum(-1)
        if self.steps == self.poison_at:
            reward[1] = torch.nan
        self.steps += 1
        self.gain = self.gain + 0.01 * done.float().mean()
        self.x = torch.where(done[:, None], torch.ones_like(self.x), self.x)
        self.episode_length_buf = torch.where(done, 0, self.episode_length_buf)
        self._observe()
        log = {"Metrics/distance": (-reward).sqrt().mean(), "Curriculum/gain": self.gain}
        return self.obs, reward, done, {"time_outs": done, "log": log}

    def snapshot(self) -> dict[str, Tensor]:
        return {
            "x": self.x,
            "gain": self.gain,
            "length": self.episode_length_buf,
            "generator": self.generator.get_state(),
            **{f"obs/{name}": self.obs.get(name) for name in GROUPS},
        }

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self.x, self.gain = snapshot["x"].clone(), snapshot["gain"].clone()
        self.episode_length_buf = snapshot["length"].clone()
        self.generator.set_state(snapshot["generator"])
        for name in GROUPS:
            self.obs[name] = snapshot[f"obs/{name}"].clone()


def ppo_config(steps: int = 4) -> dict[str, Any]:
    """A teacher small enough to train in milliseconds."""
    network = {
        "class_name": "rsl_rl.models:MLPModel",
        "hidden_dims": [8],
        "activation": "elu",
        "obs_normalization": True,
    }
    gaussian = {"class_name": "rsl_rl.modules.distribution:GaussianDistribution", "init_std": 0.5}
    return {
        "num_steps_per_env": steps,
        "save_interval": 2,
        "keep_interval": 0,
        "logger": "tensorboard",
        "obs_groups": {"actor": ["proprio", "privileged"], "critic": ["critic"]},
        "actor": network | {"distribution_cfg": gaussian},
        "critic": network,
        "algorithm": {
            "class_name": "tutelage.algos.ppo:PPO",
            "num_learning_epochs": 2,
            "num_mini_batches": 2,
            "learning_rate": 1e-3,
        },
    }
