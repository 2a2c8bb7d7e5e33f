"""How well a policy does in an environment, by one function for whoever asks.

The teacher's record at the end of its training and its verification before distillation must be
the same measurement, or their difference would mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos.progress import Means
from tutelage.algos.recipes import Gate


class Acting(Protocol):
    """What is asked of a policy here; every rsl_rl model has it."""

    def __call__(self, obs: TensorDict) -> Tensor: ...

    def reset(self, dones: Tensor | None = None) -> None: ...


METRICS = "Metrics/"
"""Prefix of what an environment logs about how well its task is done"""


def evaluate(policy: Acting, env: VecEnv, steps: int = 0) -> dict[str, float]:
    """Roll out the deterministic policy from where the environment is.

    Args:
        policy: In evaluation mode.
        env: Just made or reset, so that every environment is at the start of an episode.
        steps: Control steps; 0 means one episode of full length.

    Returns:
        return: mean over the environments of the sum of rewards in the first episode;
        episode_length: its mean length [control steps];
        falls: share of the environments that failed at least once;
        and the mean of every metric that the environment logs, e.g. velocity_error [m/s],
        yaw_error [rad/s].
    """
    obs = env.get_observations()
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    fallen = torch.zeros_like(alive)
    total = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    length = torch.zeros_like(total)
    means = Means()
    policy.reset()
    with torch.inference_mode():
        for _ in range(steps or int(env.max_episode_length)):
            obs, rewards, dones, extras = env.step(policy(obs).to(env.device))
            policy.reset(dones)
            total += torch.where(alive, rewards, 0.0)
            length += alive
            ended = dones > 0
            fallen = fallen | (ended & ~extras["time_outs"].bool())
            alive = alive & ~ended
            log = extras.get("log", {})
            means.add({k.removeprefix(METRICS): v for k, v in log.items() if k.startswith(METRICS)})
    return {
        "return": float(total.mean()),
        "episode_length": float(length.mean()),
        "falls": float(fallen.double().mean()),
        **means.take(),
    }


def judge(results: Mapping[str, float], gates: Sequence[Gate]) -> list[dict[str, Any]]:
    """Each gate with its value and whether it is kept; one that was not measured is refused."""
    verdicts = []
    for gate in gates:
        if gate.metric not in results:
            raise ValueError(
                f"gate on '{gate.metric}', which was not measured; measured: {', '.join(results)}"
            )
        value = results[gate.metric]
        bounds = {"low": gate.low, "high": gate.high}
        verdicts.append(
            {"metric": gate.metric, "value": value, "passed": gate.low <= value <= gate.high}
            | {name: bound for name, bound in bounds.items() if abs(bound) != float("inf")}
        )
    return verdicts


class GateFailed(Exception):
    """A policy does not reach the numbers of its recipe."""

    def __init__(self, who: str, verdicts: Sequence[Mapping[str, Any]]) -> None:
        self.verdicts = [dict(v) for v in verdicts if not v["passed"]]
        parts = [
            f"{v['metric']} is {v['value']:.4g}, should be "
            + " and ".join(
                f"{word} {v[bound]:g}"
                for bound, word in (("low", "at least"), ("high", "at most"))
                if bound in v
            )
            for v in self.verdicts
        ]
        super().__init__(f"{who} does not reach its recipe's numbers: {'; '.join(parts)}")
