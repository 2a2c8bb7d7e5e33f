"""How far a student is from its target: the D of a method.

Every function here gives one number for each step, (..., A) to (...), averaged over the actions,
as `objectives.IMITATION` does, so that a coefficient tuned on 12 joints holds for 29. For what
adds up over actions (the KLs, Rényi, geometric Jensen-Shannon, Wasserstein, the square, the
likelihood) that is the joint value divided by A. The bounded ones (Amari, Jensen-Shannon) do not
add up: each action's own divergence is averaged, which keeps their bound, and keeps a dozen
actions that are each a little off from looking like the worst there is. `gaussian` has the joint
values.

All are differentiable in both arguments; give `target.detach()`. Which one to take:

* `forward` = KL(target ‖ student) pays with the student's std for what the student cannot know
  of the target; its gradient in the mean, (μ_S − μ_T)/σ_S², explodes for a narrow student.
* `reverse` = KL(student ‖ target) hides what cannot be known; its gradient, (μ_S − μ_T)/σ_T²,
  explodes for a narrow teacher, which `targets.temper` widens.
* `amari` and `js_mc` are bounded, and blind where the two are far apart.
* `mse`, `nll` and `wasserstein2` take a teacher that gives only actions, as a `Gaussian` of std 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from tutelage.algos import gaussian, objectives
from tutelage.algos.gaussian import Gaussian

Divergence: TypeAlias = Callable[[Gaussian, Gaussian], Tensor]
"""Of (student, target), both (..., A): one number for each step (...)"""


def forward(student: Gaussian, target: Gaussian) -> Tensor:
    """KL(target ‖ student), which covers all that the target does. [nats per action]"""
    return gaussian.kl(target, student) / student.mean.shape[-1]


def reverse(student: Gaussian, target: Gaussian) -> Tensor:
    """KL(student ‖ target), which keeps to what the target surely does. [nats per action]"""
    return gaussian.kl(student, target) / student.mean.shape[-1]


def renyi(student: Gaussian, target: Gaussian, *, order: float = 0.5) -> Tensor:
    """Rényi's divergence of the student from the target; `reverse` at order 1.

    Below 1 it is milder than `reverse` where the student strays, and always finite.
    """
    return gaussian.renyi(student, target, order) / student.mean.shape[-1]


def amari(student: Gaussian, target: Gaussian, *, alpha: float = 0.5) -> Tensor:
    """Amari's α-divergence by action: `forward` at α = 0, `reverse` at 1, bounded between.

    At most 1 / α(1 − α), which is 4 at the default.
    """
    return gaussian.amari(student.marginals(), target.marginals(), alpha).mean(-1)


def js_mc(
    student: Gaussian,
    target: Gaussian,
    *,
    weight: float = 0.5,
    samples: int = 16,
    noise: Tensor | None = None,
) -> Tensor:
    """The Jensen-Shannon divergence by action, by Monte Carlo; at most ln 2.

    OPSD (arXiv:2601.18734) takes this one. Its code reads a weight of 0 as the forward and of 1 as
    the reverse KL; those are limits of this divergence over w(1 − w), so take `forward` and
    `reverse` for them here.

    Args:
        weight: Of the target in the mixture.
        noise: (S, ..., A) standard normal, to compare values on common random numbers; drawn anew
            for None.
    """
    if noise is None:
        like = student.mean - target.mean
        noise = torch.randn(samples, *like.shape, dtype=like.dtype, device=like.device)
    own, other = student.marginals(), target.marginals()
    return gaussian.jensen_shannon(own, other, noise.unsqueeze(-1), weight).mean(-1)


def js_geometric(student: Gaussian, target: Gaussian, *, weight: float = 0.5) -> Tensor:
    """The geometric Jensen-Shannon divergence: closed, symmetric at ½, and not bounded."""
    return gaussian.geometric_jensen_shannon(student, target, weight) / student.mean.shape[-1]


def wasserstein2(student: Gaussian, target: Gaussian) -> Tensor:
    """The squared 2-Wasserstein distance. [action² per action]"""
    return gaussian.wasserstein2(student, target) / student.mean.shape[-1]


def mse(student: Gaussian, target: Gaussian) -> Tensor:
    """Squared difference of the means, as rsl_rl's `Distillation` has it."""
    return objectives.squared(student.mean, target.mean)


def nll(student: Gaussian, target: Gaussian) -> Tensor:
    """Of the target's mean under the student. May be negative."""
    return objectives.negative_log_likelihood(student.mean, target.mean, student.std)


DIVERGENCES: dict[str, Divergence] = {
    "forward": forward,
    "reverse": reverse,
    "renyi": renyi,
    "amari": amari,
    "js_mc": js_mc,
    "js_geometric": js_geometric,
    "wasserstein2": wasserstein2,
    "mse": mse,
    "nll": nll,
}
"""Other parameters than the defaults are bound with `functools.partial`."""


def bounded(divergence: Divergence) -> Divergence:
    """1 − exp(−d): in [0, 1), like d where it is small, and flat where it is large.

    Not of `nll`, which has no least value to count from.
    """
    if _bare(divergence) is nll:
        raise ValueError("nll may be negative, so 1 - exp(-nll) is not bounded; take mse")

    def within_one(student: Gaussian, target: Gaussian) -> Tensor:
        return -torch.expm1(-divergence(student, target))

    return within_one


def clipped(divergence: Divergence, *, at: float) -> Divergence:
    """The divergence where it is below `at`, and `at`, without gradient, beyond.

    OPSD's clip by token (arXiv:2601.18734; as told in notes on it, not seen in its trainer).
    """

    def up_to(student: Gaussian, target: Gaussian) -> Tensor:
        return divergence(student, target).clamp(max=at)

    return up_to


def _bare(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, partial):
        function = function.func
    return function


def k1(log_prob: Tensor, target_log_prob: Tensor) -> Tensor:
    """ln π_S(a) − ln π_T(a): its mean over the student's actions is KL(student ‖ target).

    To be measured, not minimised: the expected gradient of its mean is zero. (...)
    """
    return log_prob - target_log_prob


def k2(log_prob: Tensor, target_log_prob: Tensor) -> Tensor:
    """½ k1², whose gradient is, on average, that of the joint `reverse`. (...)

    For a target of which only densities at the student's actions are known (KDRL,
    arXiv:2506.02208).
    """
    return 0.5 * k1(log_prob, target_log_prob).square()


def k3(log_prob: Tensor, target_log_prob: Tensor) -> Tensor:
    """exp(−k1) − 1 + k1: never negative, its mean is KL(student ‖ target). (...)

    But its gradient is, on average, that of the joint `forward`.
    """
    difference = k1(log_prob, target_log_prob)
    return torch.expm1(-difference) + difference


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
"""Of the student's and the target's log-probabilities of actions that the student drew: joint,
in nats by step. Schulman 2020, "Approximating KL divergence" (joschu.net/blog/kl-approx.html).
Actions are constants there: `log_prob` is differentiated, the sample is not."""
