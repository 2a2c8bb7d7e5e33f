"""How imitation meets reinforcement: the J of a method.

The teacher may enter as a loss beside PPO's, in the advantage, in the reward, in PPO's ratio, or
in the size of the advantage. These are not the same. Write d_t for the divergence at step t. The
loss differentiates d_t where the student is; that a step also decides which states come later,
Σ_t ∇ln π(a_t) Σ_{t'>t} d_t', is missing in it and in the advantage form, and is there in the
reward form only, when the advantages are estimated from the rewards. That has the price that a
reward below zero pays the student for ending the episode; see `reward`.

All are by step: (...) stands for (T, B) or (N,). What depends on the teacher is detached.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tutelage.algos import gaussian, objectives
from tutelage.algos.gaussian import Gaussian


def loss(divergence: Tensor, weight: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Σ w d / Σ w over what the mask keeps; zero when that is nothing. All (...), a scalar."""
    if weight is None:
        return objectives.mean(divergence, mask)
    weight = objectives.keep(weight.detach(), mask)
    total = (weight * objectives.keep(divergence, mask)).sum()
    return total / torch.where(weight.sum() > 0, weight.sum(), torch.ones_like(total))


def signal(
    student: Gaussian, target: Gaussian, actions: Tensor, *, baseline: bool = True
) -> Tensor:
    """u = ln π_T(a) − ln π_S(a), and with `baseline` + KL(π_S ‖ π_T). (...), detached

    For actions that the student drew, u is on average −KL, which is therefore the value of the
    state; taking it away leaves the policy gradient as it is and its noise smaller (vOPD,
    arXiv:2605.07865). With equal std and ‖δ‖ the distance of the means in units of it, the
    gradient's total variance falls by the factor 1 + A‖δ‖²/4(A + 1).

    Args:
        student: The one that acted.
        actions: (..., A)
    """
    with torch.no_grad():
        u = target.log_prob(actions) - student.log_prob(actions)
        return u + gaussian.kl(student, target) if baseline else u


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "reverse": lambda u: u,
    "forward": lambda u: u.exp() - 1,
    "hellinger": lambda u: (0.5 * u).exp() - 1,
    "jensen_shannon": lambda u: 0.5 * (functional.softplus(u) - math.log(2.0)),
}
"""name -> advantage (...) of u = ln π_T(a) − ln π_S(a), whose policy gradient descends that
divergence. For E_S f(r), r = e^u, that is r f'(r) − f(r), up to a constant: since r holds the
student too, −f by itself descends only the reverse KL. They are of f = −ln r, r ln r, (√r − 1)²
and ½(r ln r − (1 + r) ln ½(1 + r)), and 0 where the two agree."""


def advantage(reinforcement: Tensor, signal: Tensor, *, scale: float) -> Tensor:
    """The RL advantage and `scale` times the teacher's signal. (...)

    Standardise the first before, not the sum after, which would rescale `scale` in every batch.
    G-OPD (arXiv:2602.12125), vOPD, VLA-OPD (arXiv:2603.26666), SOD (arXiv:2605.07725).
    """
    return reinforcement + scale * signal.detach()


def reward(rewards: Tensor, signal: Tensor, *, scale: float, alive: float | Tensor) -> Tensor:
    """r + scale (u + alive), from which the advantages are then estimated. (...)

    By itself u is on average −KL, so each step that the episode goes on costs, and the student
    learns to end it: at a KL of 0.5 a hundred steps discounted by 0.99 pay −31.7, dying in the
    first −0.5. `alive` is paid for each step; with at least the running mean of the KL, living on
    is worth no less than dying. π-Distill and OPSD (arXiv:2602.04942) have the form without it.

    Args:
        signal: Without baseline.
        alive: [nats] 0 where no episode can end early.
    """
    return rewards + scale * (signal.detach() + alive)


def closeness(student: Gaussian, target: Gaussian) -> Tensor:
    """exp(−KL(student ‖ target)/A), a reward in (0, 1] that never pays for dying. (...)"""
    with torch.no_grad():
        return torch.exp(-gaussian.kl(student, target) / student.mean.shape[-1])


def trust_region(
    log_prob: Tensor,
    old_log_prob: Tensor,
    target_log_prob: Tensor,
    *,
    alpha: float,
    actions: int = 1,
) -> Tensor:
    """ln of (π/π_old)^α (π/π_T)^(1−α), to stand for PPO's log-ratio within its clip. (...)

    TRRD of RLAD (arXiv:2602.22495): the teacher moves the trust region, the advantage keeps its
    sign. Actions that the student already prefers to the teacher are not reinforced further. At
    α = 1 it is PPO's ratio to the bit. Give it to `objectives.surrogate` with an old
    log-probability of zero.

    Its port to many actions needs care: the teacher's part is a sum over actions and is there
    already before the first step, so that at a distance of 1 std in each of 12 actions and
    α = 0.9, 90 % of the samples start outside the clip of 0.2. `actions` = A divides that part
    by A; or take α from `within_clip`.
    """
    own = log_prob - old_log_prob
    if alpha == 1.0:
        return own
    return own + (1 - alpha) * (old_log_prob - target_log_prob).detach() / actions


def within_clip(
    log_ratio: Tensor, *, clip: float, actions: int = 1, mask: Tensor | None = None
) -> Tensor:
    """The least α for which 95 % of `trust_region` start within 1 + clip. A scalar in [0, 1]

    (1 − α) · |u|₉₅ / actions ≤ ln(1 + clip).

    Args:
        log_ratio: u of `signal` without baseline. (...)
    """
    size = log_ratio.detach().abs()
    if mask is not None:
        size = torch.where(mask, size, torch.full_like(size, math.nan))
    high = torch.nanquantile(size, 0.95) / actions
    return 1 - (math.log1p(clip) / high.clamp(min=1e-12)).clamp(max=1.0)


def magnitude(reinforcement: Tensor, log_ratio: Tensor, *, share: float, clip: float) -> Tensor:
    """A · ((1 − λ) + λ · clip(exp(sign(A) u), 1 ± ε)): the teacher never turns the sign. (...)

    Where the teacher agrees with the outcome a step counts more, where not, less.

    Args:
        reinforcement: A, the RL advantage. (...)
        log_ratio: u of `signal` without baseline. (...)
        share: λ in [0, 1]
        clip: ε
    """
    agreement = torch.exp(reinforcement.sign() * log_ratio.detach())
    return reinforcement * ((1 - share) + share * agreement.clamp(1 - clip, 1 + clip))


def preference_margin(
    student: Gaussian, reference: Gaussian, chosen: Tensor, rejected: Tensor
) -> Tensor:
    """How much more than the reference the student prefers the chosen actions. (...)

    ln π_S(chosen)/π_S(rejected) − ln π_ref(chosen)/π_ref(rejected); in SODA (arXiv:2604.03873) the
    teacher's actions against those of a snapshot of the student. It is linear in the student's
    mean, along chosen − rejected.

    Args:
        chosen, rejected: (..., A)
    """
    own = student.log_prob(chosen) - student.log_prob(rejected)
    other = reference.log_prob(chosen) - reference.log_prob(rejected)
    return own - other.detach()


def dpo(margin: Tensor, *, beta: float) -> Tensor:
    """−ln σ(β m), Rafailov et al. 2023 (arXiv:2305.18290), eq. 7. (...)

    With Gaussians there is no best mean: the margin is linear in it, and this falls for ever as
    the mean passes the chosen action and goes on. Take `ipo`, or add a divergence that holds it.
    """
    return -functional.logsigmoid(beta * margin)


def ipo(margin: Tensor, *, beta: float) -> Tensor:
    """(m − 1/2β)², Azar et al. 2023 (arXiv:2310.12036), eq. 17: least at a finite margin. (...)"""
    return (margin - 0.5 / beta).square()
