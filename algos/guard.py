"""Stop before a bad number reaches the weights.

rsl_rl checks what the environment returns for NaN, but not the losses, the gradients, or for inf;
one bad minibatch and every weight is NaN from then on. Here the step is refused instead, and the
error carries what is needed to find the cause. Nothing is written: the runner writes the dump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

Statistics = dict[str, dict[str, float]]
"""Name of a tensor -> its least, mean and greatest finite value, and how many are not finite"""


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient norm is NaN or inf; the optimiser step was not taken.

    Model and optimiser are those of the last good step.
    """

    def __init__(
        self, name: str, value: float, values: Mapping[str, float], statistics: Statistics
    ) -> None:
        self.name = name
        """The first that is not finite, e.g. "surrogate" or "gradient of the actor" """
        self.value = value
        self.values = dict(values)
        """Every loss and gradient norm of the refused step"""
        self.statistics = statistics
        bad = [f"{key} ({int(s['nonfinite'])})" for key, s in statistics.items() if s["nonfinite"]]
        cause = ", ".join(bad) or "none of the stored tensors, so it arose in the networks"
        super().__init__(
            f"{name} is {value}; the optimiser step was not taken. "
            f"Values that are not finite in the rollout: {cause}."
        )


def require_finite(values: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, float]:
    """The scalars as floats, read from the device at once; NonFiniteLoss if one is not finite.

    Args:
        values: Losses and gradient norms.
        stored: What they were computed from, described in the error.
    """
    names = list(values)
    floats = torch.stack([values[name].detach().float() for name in names]).tolist()
    numbers = dict(zip(names, floats, strict=True))
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise NonFiniteLoss(name, value, numbers, describe(stored))
    return numbers


def describe(tensors: Mapping[str, Tensor]) -> Statistics:
    """Least, mean and greatest finite value of each tensor, and how many are not finite."""
    result: Statistics = {}
    for name, tensor in tensors.items():
        x = tensor.detach().double()
        finite = x.isfinite()
        good = x[finite] if bool(finite.any()) else x.new_full((1,), math.nan)
        result[name] = {
            "min": float(good.min()),
            "mean": float(good.mean()),
            "max": float(good.max()),
            "nonfinite": float(x.numel() - int(finite.sum())),
        }
    return result
