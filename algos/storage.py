"""Which transitions count, carried through rsl_rl's own storage.

The flag rides among the stored observations, under a name that no observation group has. rsl_rl's
generators shuffle, slice and pad whatever is there, so the flag arrives with its transition in
flat and in recurrent batches alike, and none of their code has to be written again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from rsl_rl.models import MLPModel
from rsl_rl.storage import RolloutStorage
from rsl_rl.utils import unpad_trajectories
from tensordict import TensorDict
from torch import Tensor

Memory: TypeAlias = Tensor | tuple[Tensor, ...] | None
"""Recurrent state: (layers, B, n), a pair of them for an LSTM, None at rest"""

Envs: TypeAlias = Tensor | slice
"""Which environments: indices, or all"""

COUNTS = "transition_counts"
"""Key of the flag, (T, B, 1) bool"""

FIELDS = ("rewards", "actions", "values", "actions_log_prob", "privileged_actions")


def attach_flag(storage: RolloutStorage) -> Tensor:
    """Add the flag to a storage and return it, all true. (T, B, 1) bool"""
    if COUNTS in storage.observations:
        raise ValueError(
            f"observation group {COUNTS!r} has the name under which a rollout keeps its mask; "
            f"rename it. Groups: {sorted(storage.observations.keys())}"
        )
    flag = torch.ones_like(storage.rewards, dtype=torch.bool)
    storage.observations[COUNTS] = flag
    return flag


def batch_mask(batch: RolloutStorage.Batch) -> Tensor:
    """Which transitions of a batch count: (N,), or (T, N) from a recurrent generator."""
    flag: Tensor = batch.observations[COUNTS]
    if batch.masks is not None:
        flag = unpad_trajectories(flag, batch.masks)
    return flag.squeeze(-1)


def settle(storage: RolloutStorage, flag: Tensor) -> None:
    """Put zero where a transition does not count and a stored number is not finite.

    A masked loss has gradient zero there, but zero times NaN is NaN. What does count stays as it
    is, so that its NaN is found by the guard.
    """
    for name in FIELDS:
        if hasattr(storage, name):
            setattr(storage, name, _settled(getattr(storage, name), flag))
    if getattr(storage, "distribution_params", None) is not None:
        storage.distribution_params = tuple(_settled(p, flag) for p in storage.distribution_params)
    for name, tensor in storage.observations.items():
        if tensor.is_floating_point():
            storage.observations[name] = _settled(tensor, flag)


def counted(observations: TensorDict, flag: Tensor | None) -> TensorDict:
    """The observations (T, B) of transitions that count, as one batch (N,)."""
    flat: TensorDict = observations.flatten(0, 1)
    return flat if flag is None else flat[flag.flatten()]


def _settled(x: Tensor, flag: Tensor) -> Tensor:
    flag = flag.reshape(*flag.shape[:2], *(1 for _ in x.shape[2:]))
    return torch.where(flag | x.isfinite(), x, torch.zeros_like(x))


def each(function: Callable[[Tensor], Tensor], state: Memory) -> Memory:
    """`function` of every tensor of a recurrent model's memory."""
    if isinstance(state, tuple):
        return tuple(function(part) for part in state)
    return None if state is None else function(state)


def of_envs(state: Memory, envs: Envs) -> Memory:
    """The memory of some environments."""
    return each(lambda part: part[..., envs, :], state)


def copied(state: Memory) -> Memory:
    """A copy that no later step writes to; fit for autograd and for a checkpoint."""
    return each(lambda part: part.detach().clone(), state)


def resume(model: MLPModel, state: Memory, num_envs: int, device: str) -> None:
    """Give a recurrent model the memory it was saved with.

    With another number of environments the episodes are not the same ones, and begin at rest.
    """
    parts = state if isinstance(state, tuple) else (state,)
    if any(part is None or part.shape[-2] != num_envs for part in parts):
        model.reset()
    else:
        model.reset(hidden_state=each(lambda part: part.to(device, copy=True), state))
