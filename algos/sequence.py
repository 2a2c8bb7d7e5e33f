"""Run a model over a stretch of time, its memory held by the caller.

`tutelage.policies` models do this themselves. The helper here does it for rsl_rl's own, so that
an algorithm can have either as its student.
"""

from __future__ import annotations

from functools import partial

import torch
from rsl_rl.models import MLPModel
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos.storage import Memory, each


def run(model: MLPModel, obs: TensorDict, dones: Tensor, state: Memory) -> tuple[Tensor, Memory]:
    """Mean actions (T, B, A) for observations (T, B), and the memory after the last step.

    An episode that ends with step t leaves nothing to step t + 1. The memory that the model itself
    keeps between rollout steps is left as it was.

    Args:
        dones: (T, B) bool, after each step.
        state: Memory before the first step; None at rest.
    """
    if hasattr(model, "sequence"):
        actions, state = model.sequence(obs, dones, state)
        return actions, state
    if not model.is_recurrent:
        return model(obs), None
    own = model.get_hidden_state()
    model.reset(hidden_state=state)
    actions = []
    for step, ended in enumerate(dones):
        actions.append(model(obs[step]))
        # rsl_rl clears the memory in place, which autograd does not always survive
        clear = partial(Tensor.masked_fill, mask=ended.unsqueeze(-1), value=0.0)
        model.reset(hidden_state=each(clear, model.get_hidden_state()))
    state = model.get_hidden_state()
    model.reset(hidden_state=own)
    return torch.stack(actions), state
