"""How much each step counts in the imitation: the W of a method.

All are detached, not negative, and of the shape of what they weigh. `couplings.loss` divides by
their sum; `combine` brings products of them to mean 1, so that a coefficient keeps its meaning.
An outcome is 1 for success, 0 for failure and NaN while the episode goes on; a group is the
number of the scenario bin (terrain, command, payload) that an environment is in.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.algos import objectives
from tutelage.algos.gaussian import Gaussian


def uniform(divergence: Tensor) -> Tensor:
    """Ones, in its shape."""
    return torch.ones_like(divergence)


class Outcome(NamedTuple):
    """Weights of two losses; each has mean 1 over those it is for in a group, else 0."""

    own: Tensor
    """(N,) of the likelihood of the student's own actions, where it succeeded"""
    teacher: Tensor
    """(N,) of the divergence to the teacher, where it failed"""


def outcome(
    success: Tensor,
    student_nll: Tensor,
    teacher_nll: Tensor,
    group: Tensor,
    *,
    groups: int,
    temperature: float,
) -> Outcome:
    """SCOPE (arXiv:2604.10688): learn from oneself where that worked, else from the teacher.

    Perplexity by token becomes exp(mean negative log likelihood by action). Of the successes
    those count more of which the student was unsure, in proportion to PPL_S^(1/τ); of the failures
    those that the teacher finds likely, PPL_T^(−1/τ), since its advice is better where it has been.

    Args:
        success: (N,) rollouts; NaN counts for neither.
        student_nll, teacher_nll: (N,) mean over steps and actions, of the executed actions.
        group: (N,) long, below `groups`.
        temperature: τ; all weights tend to 1 as it grows.
    """
    own = _shares(student_nll.detach() / temperature, success == 1, group, groups)
    teacher = _shares(-teacher_nll.detach() / temperature, success == 0, group, groups)
    return Outcome(own, teacher)


def _shares(logits: Tensor, member: Tensor, group: Tensor, groups: int) -> Tensor:
    """Softmax over the members of each group, times their number; zero for the others. (N,)"""
    nothing = torch.full_like(logits, -torch.inf)
    highest = logits.new_full((groups,), -torch.inf).scatter_reduce(
        0, group, torch.where(member, logits, nothing), "amax"
    )
    each = objectives.keep((logits - highest[group]).exp(), member)
    total, count = _sum(each, group, groups), _sum(member.to(logits.dtype), group, groups)
    return objectives.keep(each * count[group] / total[group], member)


def _sum(x: Tensor, group: Tensor, groups: int) -> Tensor:
    """(N,) to (groups,)"""
    return x.new_zeros(groups).scatter_add(0, group, x)


def unsuccessful(success: Tensor) -> Tensor:
    """1 unless the episode was a success (KDRL's mask, arXiv:2506.02208). (...)"""
    return (success != 1).float()


def ratio_floor(log_ratio: Tensor, *, clip: float) -> Tensor:
    """max(π/π_old, 1 − ε): keep imitating where the policy has moved away. (...)

    RPD's PPD (arXiv:2503.05833).
    """
    return log_ratio.detach().exp().clamp(min=1 - clip)


def segment_means(x: Tensor, segment: Tensor, dones: Tensor, mask: Tensor | None = None) -> Tensor:
    """At each step the mean of x over the segment it belongs to, in this window. (T, B)

    NaN in a segment of which no step counts.

    Args:
        segment: (T, B) long, of the step inside its episode.
        dones: (T, B) bool, after each step.
        mask: (T, B)
    """
    begins = torch.zeros_like(dones, dtype=torch.long)
    begins[1:] = ((segment[1:] != segment[:-1]) | dones[:-1].bool()).long()
    slot = begins.cumsum(0)
    total = torch.zeros_like(x).scatter_add(0, slot, objectives.keep(x, mask))
    count = torch.zeros_like(x).scatter_add(0, slot, objectives.keep(torch.ones_like(x), mask))
    return (total / count).gather(0, slot)


def stepwise(
    drift: Tensor,
    segment: Tensor,
    dones: Tensor,
    first: Tensor,
    *,
    mask: Tensor | None = None,
    headroom: float = 0.2,
    epsilon: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """SOD (arXiv:2605.07725): trust the teacher less where the student has drifted from it.

    With d_k the mean drift in segment k, w_1 = 1 and w_k = min(Π_{u<k} (d_u + ε)/(d_{u+1} + ε),
    1 + δ), which telescopes to min((d_1 + ε)/(d_k + ε), 1 + δ). The windows of a rollout cut
    episodes, so d_1 is handed on from one window to the next.

    Args:
        drift: (T, B) e.g. the root of the divergence, which is a distance.
        segment: (T, B) long, counted from 0 at the beginning of each episode.
        dones: (T, B) bool, after each step.
        first: (B,) d_1 of the running episodes, as the last call returned it; whatever is there
            for environments that are in segment 0.
        mask: (T, B) A segment of which no step counts has weight 0.
        headroom: δ

    Returns:
        The weights (T, B), and `first` for the next window.
    """
    means = segment_means(drift.detach(), segment, dones, mask)
    # without a mask a NaN is a fault, for the guard to find
    known = torch.ones_like(dones).bool() if mask is None else ~means.isnan()
    firsts = []
    for mean, begins in zip(means, (segment == 0) & known, strict=True):
        first = torch.where(begins, mean, first)
        firsts.append(first)
    ratio = (torch.stack(firsts) + epsilon) / (means + epsilon)
    return objectives.keep(ratio.clamp(max=1 + headroom), known), first


def uncertain(
    uncertainty: Tensor, divergence: Tensor, *, share: float, mask: Tensor | None = None
) -> Tensor:
    """TIP (arXiv:2604.14084): 1 for the share of steps that have most to tell, else 0. (...)

    The score is h + d − h d (either one suffices) of both, scaled to [0, 1]. The uncertainty must
    differ between states: rsl_rl's default std does not, and then only the divergence decides.
    A recurrent student still has to pass through all steps; the weight is only on the loss.

    Args:
        uncertainty: e.g. the student's entropy, or the disagreement of an ensemble. (...)
        divergence: Bounded is better; see `divergences.bounded`. (...)
        share: ρ in (0, 1]; 1 is ones.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; above 0 and at most 1")
    h, d = _scaled(uncertainty.detach(), mask), _scaled(divergence.detach(), mask)
    score = h + d - h * d
    if mask is not None:
        score = torch.where(mask, score, torch.full_like(score, -1.0))
    count = score.numel() if mask is None else int(mask.sum())
    if count == 0:
        return torch.zeros_like(score)
    chosen = score.flatten().topk(max(1, round(share * count))).indices
    return torch.zeros_like(score).flatten().scatter(0, chosen, 1.0).view_as(score)


def _scaled(x: Tensor, mask: Tensor | None) -> Tensor:
    """From 0 at the least to 1 at the greatest of what the mask keeps; zeros if all are equal."""
    low = x if mask is None else torch.where(mask, x, torch.full_like(x, torch.inf))
    high = x if mask is None else torch.where(mask, x, torch.full_like(x, -torch.inf))
    least = low.min()
    return objectives.keep((x - least) / (high.max() - least).clamp(min=1e-8), mask)


def comprehension(teachers: Gaussian, student: Gaussian) -> Tensor:
    """How well the student understands each teacher, in (0, 1]: (K, ..., A) to (K, ...).

    exp(−½ mean ((μ_T − μ_S)/σ_S)²). AMPO (arXiv:2510.02227) takes the mean probability of the
    teacher's tokens; densities of actions are not probabilities, so here they are divided by the
    greatest, and averaged over actions so that it does not fall with their number. The teacher
    to route to is the one with the greatest mean over time: `.mean(1).argmax(0)` for (K, T, B).
    """
    z = (teachers.mean - student.mean) / student.std
    return torch.exp(-0.5 * z.detach().square().mean(-1))


def comprehended(comprehension: Tensor, *, half: float = 0.1) -> Tensor:
    """c/(c + half), AMPO's weight of steps that a teacher executed; ½ at c = half. (...)"""
    return comprehension.detach() / (comprehension.detach() + half)


def margin(
    advantage: Tensor, success: Tensor, group: Tensor, *, groups: int, least: float
) -> Tensor:
    """Uni-OPD (arXiv:2605.03677): what to add so that successes stand `least` above failures.

    In each group in which there are both, successes are lifted by what the difference of the
    mean advantages lacks; elsewhere, and where it lacks nothing, it is 0. (N,)

    Args:
        advantage: (N,) mean over the steps of each rollout.
        success: (N,); NaN counts for neither.
        group: (N,) long, below `groups`.
    """
    good, bad = success == 1, success == 0
    gap = _group_mean(advantage, good, group, groups) - _group_mean(advantage, bad, group, groups)
    # NaN where a group lacks one of the two
    lift = (least - gap).clamp(min=0).nan_to_num(nan=0.0)
    return objectives.keep(lift[group], good)


def _group_mean(x: Tensor, member: Tensor, group: Tensor, groups: int) -> Tensor:
    """Mean over the members of each group, NaN where there are none. (N,) to (groups,)"""
    total = _sum(objectives.keep(x.detach(), member), group, groups)
    return total / _sum(member.to(x.dtype), group, groups)


def combine(*weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Their product, with mean 1 over what the mask keeps, and zero elsewhere. All (...)"""
    product = torch.ones_like(weights[0])
    for weight in weights:
        product = product * weight.detach()
    return objectives.keep(product, mask) / objectives.mean(product, mask).clamp(min=1e-12)
