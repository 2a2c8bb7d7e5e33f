"""What rsl_rl's runner and logger use of an algorithm.

rsl_rl states it nowhere; this is read from `OnPolicyRunner` and `Logger` of version 5.5. A class
that satisfies `Algorithm` can be named in a runner's configuration as
`algorithm.class_name = "package.module:Class"`. The runner also reads `rnd.weight` and
`intrinsic_rewards` when `algorithm.rnd_cfg` is set; ours do not offer RND.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor, nn


@runtime_checkable
class Policy(Protocol):
    """What a runner and its logger use of the policy that an algorithm trains."""

    @property
    def output_std(self) -> Tensor:
        """Standard deviation of the last action distribution; logged in every iteration."""
        ...

    def to(self, device: str | torch.device | None) -> Policy: ...

    def as_jit(self) -> nn.Module: ...

    def as_onnx(self, verbose: bool) -> nn.Module: ...


@runtime_checkable
class Algorithm(Protocol):
    """Who acts, what is stored, what is minimised."""

    learning_rate: float
    """Logged in every iteration"""

    @staticmethod
    def construct_algorithm(
        obs: TensorDict, env: VecEnv, cfg: dict[str, Any], device: str
    ) -> Algorithm:
        """Build models, storage and algorithm from the runner's whole configuration.

        Edits `cfg` in place (observation sets are resolved), so write it to disk before.
        """
        ...

    def act(self, obs: TensorDict) -> Tensor:
        """Actions (B, A) for the environment's observations. In inference mode."""
        ...

    def process_env_step(
        self, obs: TensorDict, rewards: Tensor, dones: Tensor, extras: dict[str, Any]
    ) -> None:
        """Record what came of the last actions. In inference mode; rewards, dones (B,)."""
        ...

    def compute_returns(self, obs: TensorDict) -> None:
        """Close the rollout, with the observations after its last step. In inference mode."""
        ...

    def update(self) -> dict[str, float]:
        """Learn from the rollout and forget it; the losses by name, to be logged."""
        ...

    def train_mode(self) -> None: ...

    def eval_mode(self) -> None: ...

    def save(self) -> dict[str, Any]:
        """All that a resumed run needs of the algorithm; loadable with `weights_only=True`."""
        ...

    def load(
        self, loaded_dict: dict[str, Any], load_cfg: dict[str, bool] | None, strict: bool
    ) -> bool:
        """Take over a checkpoint, or the parts of it that `load_cfg` names.

        True if the runner shall take over the iteration counter as well.
        """
        ...

    def get_policy(self) -> Policy: ...

    def broadcast_parameters(self) -> None:
        """Give every process the parameters of the first. Called under several GPUs only."""
        ...
