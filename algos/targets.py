"""Which Gaussian is the label at each state: the T of a method.

K teachers are one `Gaussian` with a leading dimension (K, ..., A). Clip a teacher's mean to what
the actuators can do before it becomes a label, and extrapolate only from what was clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.algos import gaussian
from tutelage.algos.gaussian import Gaussian


def route(teachers: Gaussian, teacher: Tensor) -> Gaussian:
    """In each environment the one teacher it is assigned: (K, ..., B, A) to (..., B, A).

    Better than a product where teachers disagree. BiDexHD (arXiv:2410.02477) routes by task,
    RAPTOR (arXiv:2509.11481) by dynamics, Flow-OPD (arXiv:2605.08063) by reward.

    Args:
        teacher: Number of the teacher, long; (B,), or (..., B) by step.
    """
    mean, std = teachers.mean, teachers.std.expand_as(teachers.mean)
    index = teacher.expand(mean.shape[1:-1])[None, ..., None].expand(1, *mean.shape[1:])
    return Gaussian(mean.gather(0, index).squeeze(0), std.gather(0, index).squeeze(0))


def product(teachers: Gaussian, weights: Tensor) -> Gaussian:
    """The consensus Π π_k^(w_k) of K teachers, Σ w = 1: (K, ..., A) to (..., A).

    Where teachers disagree it is a policy that none of them runs; prefer `route` there.

    Args:
        weights: (K,), or (K, ...) by step; not negative.
    """
    total = weights.sum(0)
    if bool((weights < 0).any()) or not torch.allclose(total, torch.ones_like(total)):
        raise ValueError(
            f"the least weight is {float(weights.min()):g} and their sums go from "
            f"{float(total.min()):g} to {float(total.max()):g}; weights of a product are not "
            "negative and sum to 1. To go beyond a teacher, use extrapolate"
        )
    return gaussian.product(teachers, weights)


def temper(teacher: Gaussian, *, temperature: float = 1.0, least: float = 0.0) -> Gaussian:
    """The teacher with std max(τ σ_T, least): what reverse KL needs of a narrow one. (..., A)

    About 0.05 of an action's range serves as `least`.
    """
    return Gaussian(teacher.mean, (temperature * teacher.std).clamp(min=least))


def residual(prior: Gaussian, correction: Gaussian, *, gate: float | Tensor = 1.0) -> Gaussian:
    """A frozen prior's mean, corrected: μ = μ_prior + gate · Δμ, with the correction's std.

    The gradient flows to the correction only. AffordDex (arXiv:2508.08896). (..., A)
    """
    return Gaussian(prior.mean.detach() + gate * correction.mean, correction.std)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Limits:
    """The greatest λ to which a target can be extrapolated, each (...) and at least 1."""

    precision: Tensor
    """There is no Gaussian at or beyond it; inf where the teacher is no wider than the
    reference"""
    clip: Tensor
    """Beyond it the importance weights of the teacher's actions pass what clips them"""
    saturation: Tensor
    """Beyond it the mean of some action leaves the range of its actuator"""


MEANING = {
    "precision": "there the precision of some action becomes zero",
    "clip": "there the Rényi divergence of order 2 of the teacher from the target is ln clip",
    "saturation": "there the mean of some action leaves the range of its actuator",
}
"""What happens at each of `Limits`"""


def limits(
    teacher: Gaussian,
    reference: Gaussian,
    *,
    clip: float = 5.0,
    low: float | Tensor = -math.inf,
    high: float | Tensor = math.inf,
) -> Limits:
    """How far π_T^λ π_ref^(1−λ) can be taken at each state. All (..., A) to (...)

    Args:
        clip: c > 1, of the importance weights; G-OPD's code has 5.
        low, high: Range of each action, a number or (A,).
    """
    if clip <= 1:
        raise ValueError(f"clip is {clip}; importance weights are clipped above 1")
    one = torch.ones_like(teacher.mean[..., 0])
    return Limits(
        precision=precision_limit(teacher, reference),
        clip=clip_limit(teacher, reference, clip),
        saturation=saturation_limit(teacher, reference, low, high).maximum(one),
    )


def precision_limit(teacher: Gaussian, reference: Gaussian) -> Tensor:
    """λ_max = min σ_T²/(σ_T² − σ_ref²) over the actions in which the teacher is wider. (...)"""
    excess = teacher.variance - reference.variance
    wider = excess > 0
    limit = teacher.variance / torch.where(wider, excess, torch.ones_like(excess))
    limit = torch.where(wider, limit, torch.full_like(limit, math.inf))
    return limit.expand_as(teacher.mean).amin(-1)


def clip_limit(teacher: Gaussian, reference: Gaussian, clip: float) -> Tensor:
    """The λ at which D₂(π_T ‖ π*_λ) = ln c, i.e. the mean squared importance weight is c. (...)

    With equal std it is 1 + √(ln c)/‖(μ_T − μ_ref)/σ‖. In general, with y = (λ − 1)²,
    k = 1 − σ_T²/σ_ref² and m = (μ_T − μ_ref)² σ_T²/σ_ref⁴,

        D₂ = Σ y m/(1 − y k²) − ½ ln(1 − y k²),

    from ∫ π_T²/π* = ∫ π_T^(2−λ) π_ref^(λ−1) · ∫ π_T^λ π_ref^(1−λ). It is convex in y and infinite
    from y k² = 1 on, which with its slope at 0 bounds what a bisection has to search.
    """
    ratio = teacher.variance / reference.variance
    square = (teacher.mean - reference.mean).square()
    k2, m = (1 - ratio).square().expand_as(square), square * ratio / reference.variance
    slope = (m + 0.5 * k2).sum(-1)
    same = slope == 0
    high = math.log(clip) / torch.where(same, torch.ones_like(slope), slope)
    high = high.minimum(1 / k2.amax(-1))
    low = torch.zeros_like(high)
    for _ in range(30):
        middle = 0.5 * (low + high)
        y = middle.unsqueeze(-1)
        rest = (1 - y * k2).clamp(min=torch.finfo(k2.dtype).tiny)
        beyond = (y * m / rest - 0.5 * rest.log()).sum(-1) > math.log(clip)
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return torch.where(same, torch.full_like(low, math.inf), 1 + low.sqrt())


def saturation_limit(
    teacher: Gaussian, reference: Gaussian, low: float | Tensor, high: float | Tensor
) -> Tensor:
    """The first λ from 1 on at which some mean of the target reaches the end of its range. (...)

    An action that the teacher itself already holds at or beyond the end it is heading for gives 1.
    """
    upward = teacher.mean > reference.mean
    ends = [torch.as_tensor(x, dtype=teacher.mean.dtype, device=upward.device) for x in (low, high)]
    end = torch.where(upward, ends[1], ends[0])
    side = torch.where(upward, 1.0, -1.0).to(teacher.mean.dtype)
    # distances to the end, in units of the variance: the target's is λ there + (1 − λ) before
    before = side * (end - reference.mean) / reference.variance
    there = side * (end - teacher.mean) / teacher.variance
    reaches = (before > there) & end.isfinite() & (teacher.mean != reference.mean)
    limit = before / torch.where(reaches, before - there, torch.ones_like(before))
    limit = torch.where(reaches, limit, torch.full_like(limit, math.inf))
    return torch.where(there <= 0, torch.ones_like(limit), limit).amin(-1)


def extrapolate(
    teacher: Gaussian, reference: Gaussian, lam: float | Tensor, *, within: Limits
) -> Gaussian:
    """π* ∝ π_T^λ π_ref^(1−λ): the reference at λ = 0, the teacher at 1, better still beyond.

    The optimum of G-OPD (arXiv:2602.12125), max E[λ ln π_T/π_ref − KL(π ‖ π_ref)]. The reference
    must be less able, not less informed: an early checkpoint of the teacher, not the teacher with
    its privileged observations masked, which would amplify what no student can imitate.

    ValueError when λ passes a limit at any state, with the limit's name; `restrain` keeps it
    inside at each state by itself.

    Args:
        lam: λ, a number or one for each step (...).
        within: Of `limits` of these two.
    """
    wanted = torch.as_tensor(lam, dtype=teacher.mean.dtype, device=teacher.mean.device)
    if bool((wanted < 0).any()):
        raise ValueError(f"lam is {float(wanted.min()):g}; at least 0, where it is the reference")
    for name, meaning in MEANING.items():
        limit: Tensor = getattr(within, name)
        outside = (wanted > 1) & ((wanted >= limit) if name == "precision" else (wanted > limit))
        if bool(outside.any()):
            least = float(limit[outside.expand_as(limit)].min())
            raise ValueError(
                f"lam is {float(wanted.max()):g}, but its {name} limit is {least:.4g}: {meaning}. "
                f"That is so at {int(outside.sum())} of {outside.numel()} states; "
                "take a smaller lam, or restrain(lam, limits)"
            )
    return gaussian.geometric(reference, teacher, wanted if wanted.dim() else float(wanted))


def restrain(lam: float | Tensor, within: Limits, *, margin: float = 0.9) -> Tensor:
    """At each state λ, or less where a limit asks for it. (...)

    Args:
        margin: Share of the way from 1 to the precision limit that may be gone; near it the std
            and the mean grow without bound.
    """
    ceiling = (1 + margin * (within.precision - 1)).minimum(within.clip)
    ceiling = ceiling.minimum(within.saturation)
    return torch.as_tensor(lam, dtype=ceiling.dtype, device=ceiling.device).minimum(ceiling)


def bernoulli_limit(teacher: Tensor, reference: Tensor, *, clip: float) -> Tensor:
    """λ beyond which a binary choice (a gripper, a contact) leaves what the clip can hold. (...)

    Extrapolating log-odds, logit q = (1 − λ) logit b + λ logit p, reaches 1 − q = (1 − p)/c at
    λ* = (logit((c − 1 + p)/c) − logit b)/(logit p − logit b). "Extrapolation cliff"
    (arXiv:2605.08737), theorem 4.1; taken from a re-implementation, and derived here again.

    Args:
        teacher, reference: p > b, probabilities of the choice that the teacher prefers.
        clip: c > 1
    """
    # 1 - q is handed over by itself: for p near 1 it would be lost in rounding q
    edge = torch.log(clip - 1 + teacher) - torch.log1p(-teacher)
    start = torch.logit(reference)
    return (edge - start) / (torch.logit(teacher) - start)
