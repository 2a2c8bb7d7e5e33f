"""The quantities that algorithms minimise and measure, as pure functions of tensors.

A `mask` is true where a transition counts. Where it is false the number is replaced before
anything nonlinear sees it, so that neither the value nor the gradient of the others can tell what
stood there; inputs must be finite there (`storage.settle` sees to that). `None` means that
everything counts, and is computed exactly as rsl_rl computes it, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def keep(x: Tensor, mask: Tensor | None) -> Tensor:
    """`x`, with zero where the mask is false. Both of one shape."""
    return x if mask is None else torch.where(mask, x, torch.zeros_like(x))


def mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over what the mask keeps; zero when it keeps nothing."""
    if mask is None:
        return x.mean()
    return keep(x, mask).sum() / mask.sum().clamp(min=1)


def standardise(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean 0 and standard deviation 1 over what the mask keeps."""
    if mask is None:
        return (x - x.mean()) / (x.std() + 1e-8)
    centred = keep(x - mean(x, mask), mask)
    variance = centred.square().sum() / (mask.sum() - 1).clamp(min=1)
    return centred / (variance.sqrt() + 1e-8)


def advantages(
    rewards: Tensor,
    values: Tensor,
    last_values: Tensor,
    dones: Tensor,
    *,
    gamma: float,
    lam: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438). (T, B, 1)

    A done cuts the bootstrap. A transition that does not count has no advantage and hands none
    back in time: the one before it bootstraps from the value of the state between them.

    Args:
        rewards, values, dones: (T, B, 1) at each step; `dones` tells of the state after it.
        last_values: (B, 1) of the state after the last step.
    """
    advantage = torch.zeros_like(last_values)
    result = torch.empty_like(values)
    next_values = last_values
    for step in reversed(range(len(rewards))):
        going_on = 1.0 - dones[step].float()
        delta = rewards[step] + going_on * gamma * next_values - values[step]
        advantage = delta + going_on * gamma * lam * advantage
        advantage = keep(advantage, None if mask is None else mask[step])
        result[step] = advantage
        next_values = values[step]
    return result


def surrogate(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    *,
    clip: float,
    mask: Tensor | None = None,
) -> Tensor:
    """PPO's clipped surrogate, to be minimised (Schulman et al. 2017, arXiv:1707.06347).

    All inputs of one shape, (N,) or (T, N).
    """
    ratio = torch.exp(keep(log_prob - old_log_prob, mask))
    plain = -advantage * ratio
    clipped = -advantage * torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    return mean(torch.max(plain, clipped), mask)


def value_error(
    values: Tensor,
    returns: Tensor,
    old_values: Tensor,
    *,
    clip: float | None,
    mask: Tensor | None = None,
) -> Tensor:
    """Squared error of the value, pessimistic about moves beyond `clip`; None does not clip."""
    if clip is None:
        return mean(keep(returns - values, mask).pow(2), mask)
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    plain_error = keep(values - returns, mask).pow(2)
    clipped_error = keep(clipped - returns, mask).pow(2)
    return mean(torch.max(plain_error, clipped_error), mask)


def mirror_error(mirrored_input: Tensor, mirrored_output: Tensor, mask: Tensor | None) -> Tensor:
    """Squared disagreement of policy(mirror(obs)) with mirror(policy(obs)). (N, A) each

    The gradient flows through the first only, as in rsl_rl's symmetry extension.
    mask: (N,)
    """
    target = mirrored_output.detach()
    if mask is None:
        return functional.mse_loss(mirrored_input, target)
    return mean((mirrored_input - target).square().mean(-1), mask)


def squared(means: Tensor, labels: Tensor, std: Tensor | None = None) -> Tensor:
    """Squared difference, averaged over the A actions. (..., A) to (...)"""
    return (means - labels).square().mean(-1)


def huber(means: Tensor, labels: Tensor, std: Tensor | None = None) -> Tensor:
    """Half the square up to a difference of 1, linear beyond; averaged. (..., A) to (...)"""
    return functional.huber_loss(means, labels, reduction="none").mean(-1)


def negative_log_likelihood(means: Tensor, labels: Tensor, std: Tensor | None) -> Tensor:
    """Of the labels under N(means, std), averaged. (..., A) to (...)

    The only one of the three that trains the std, which becomes what the student cannot know of
    the teacher's action.
    """
    if std is None:
        raise ValueError("the negative log likelihood needs a std")
    z = (labels - means) / std
    return (0.5 * z.square() + std.log() + 0.5 * math.log(2 * math.pi)).mean(-1)


IMITATION: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "mse": squared,
    "huber": huber,
    "nll": negative_log_likelihood,
}
"""name -> function of (student's means, teacher's means, student's std): error by transition.
Averages over actions, not sums, so that a number tuned on 12 joints holds for 29."""
