"""Diagonal Gaussians over actions, and what is known of two of them in closed form.

Everything here is joint over the A actions of a step: inputs (..., A), results (...). Where all
actions are independent, most of it is a sum over them; `marginals` gives the same quantities for
each action by itself. A std of zero (a teacher that gives only actions) has no density: then only
`wasserstein2` of these is finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)

NEAR = 1e-4
"""Closer than this to the order at which a divergence becomes a KL, it is taken to be that KL:
in single precision the quotient that tends to it has lost more than the difference."""


@dataclass(frozen=True, eq=False, slots=True)
class Gaussian:
    """A Gaussian over A actions, independent of each other.

    Its two tensors stand in the order in which rsl_rl's distributions give their parameters.
    """

    mean: Tensor
    """(..., A)"""
    std: Tensor
    """Positive; (..., A), or (A,) and the like that broadcasts to it"""

    @property
    def variance(self) -> Tensor:
        """As `std`"""
        return self.std.square()

    def log_prob(self, actions: Tensor) -> Tensor:
        """Logarithm of the density. (..., A) to (...)"""
        z = (actions - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log() - 0.5 * LOG_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """[nats] (...)"""
        per_action = self.std.log() + 0.5 * (1 + LOG_2PI)
        return per_action.expand_as(self.mean).sum(-1)

    def sample(self, noise: Tensor) -> Tensor:
        """Actions from standard normal noise (..., A); differentiable in mean and std."""
        return self.mean + self.std * noise

    def detach(self) -> Gaussian:
        """The same, as a constant."""
        return Gaussian(self.mean.detach(), self.std.detach())

    def marginals(self) -> Gaussian:
        """Each action by itself, as a Gaussian over one: (..., A, 1)."""
        return Gaussian(self.mean.unsqueeze(-1), self.std.expand_as(self.mean).unsqueeze(-1))


def kl(p: Gaussian, q: Gaussian) -> Tensor:
    """KL(p ‖ q) = Σ ln σ_q/σ_p + (σ_p² + (μ_p − μ_q)²) / 2σ_q² − ½. [nats] (...)"""
    square = (p.variance + (p.mean - q.mean).square()) / q.variance
    return (q.std.log() - p.std.log() + 0.5 * square - 0.5).sum(-1)


def log_overlap(p: Gaussian, q: Gaussian, order: float | Tensor) -> Tensor:
    """ln ∫ p^α q^(1−α), at most 0 for α in [0, 1]; inf where the integral diverges. (...)

    Convex in α, and 0 at α = 0 and 1: the logarithm of the normaliser of the geometric mixture.
    It diverges where σ_α² = α σ_q² + (1 − α) σ_p² is not positive for some action, which happens
    only outside [0, 1]. See Gil et al. 2013 (doi:10.1016/j.ins.2013.06.018).

    Args:
        order: α; a number, or one for each step (...).
    """
    a = order.unsqueeze(-1) if isinstance(order, Tensor) else order
    variance = a * q.variance + (1 - a) * p.variance
    exists = (variance > 0).all(-1)
    # replaced before the logarithm, so that the gradient where it exists stays finite
    variance = torch.where(exists.unsqueeze(-1), variance, torch.ones_like(variance))
    square = a * (1 - a) * (p.mean - q.mean).square() / variance
    width = (1 - a) * p.std.log() + a * q.std.log() - 0.5 * variance.log()
    total = (width - 0.5 * square).sum(-1)
    return torch.where(exists, total, torch.full_like(total, math.inf))


def renyi(p: Gaussian, q: Gaussian, order: float) -> Tensor:
    """Rényi's divergence of p from q; KL(p ‖ q) at order 1. [nats] (...)

    Inf where the order is above 1 and q is too narrow for it (`log_overlap`). van Erven and
    Harremoës 2014 (arXiv:1206.2459).
    """
    if order <= 0:
        raise ValueError(f"order is {order}; Rényi's divergence takes a positive one")
    if abs(order - 1) < NEAR:
        return kl(p, q)
    return log_overlap(p, q, order) / (order - 1)


def amari(p: Gaussian, q: Gaussian, alpha: float) -> Tensor:
    """Amari's α-divergence, (1 − ∫ p^α q^(1−α)) / α(1 − α). (...)

    KL(p ‖ q) at α = 1 and KL(q ‖ p) at 0; four times the squared Hellinger distance at ½. For α
    between 0 and 1 at most 1 / α(1 − α), and flat where p and q are far apart. Cichocki and Amari
    2010 (doi:10.3390/e12061532).
    """
    if abs(alpha - 1) < NEAR:
        return kl(p, q)
    if abs(alpha) < NEAR:
        return kl(q, p)
    return -torch.expm1(log_overlap(p, q, alpha)) / (alpha * (1 - alpha))


def jensen_shannon(p: Gaussian, q: Gaussian, noise: Tensor, weight: float = 0.5) -> Tensor:
    """(1 − w) KL(p ‖ m) + w KL(q ‖ m), m = (1 − w) p + w q, by Monte Carlo. [nats] (...)

    There is no closed form. The same noise moves the samples of p and of q (common random
    numbers), so it is exactly 0 for p = q, and two values that were computed with one noise can
    be compared. Every sample, and so the estimate, is at most the entropy of the weight (ln 2 at
    ½). Differentiable through the samples.

    Args:
        noise: (S, ..., A) standard normal.
        weight: Of q; between 0 and 1.
    """
    if not 0 < weight < 1:
        raise ValueError(f"weight is {weight}; between 0 and 1")

    def half(own: Gaussian) -> Tensor:
        actions = own.sample(noise)
        log_p = math.log1p(-weight) + p.log_prob(actions)
        log_q = math.log(weight) + q.log_prob(actions)
        return (own.log_prob(actions) - torch.logaddexp(log_p, log_q)).mean(0)

    return (1 - weight) * half(p) + weight * half(q)


def geometric(p: Gaussian, q: Gaussian, weight: float | Tensor) -> Gaussian:
    """The normalised p^(1−w) q^w, in which precisions and precision-weighted means are added.

    A weight above 1 extrapolates from p through q, and one below 0 the other way; there is such a
    Gaussian only while every precision stays positive, and NaN stands where there is none.

    Args:
        weight: w; a number, or one for each step (...).
    """
    w = weight.unsqueeze(-1) if isinstance(weight, Tensor) else weight
    of_p, of_q = (1 - w) / p.variance, w / q.variance
    precision = of_p + of_q
    return Gaussian((of_p * p.mean + of_q * q.mean) / precision, precision.rsqrt())


def geometric_jensen_shannon(p: Gaussian, q: Gaussian, weight: float = 0.5) -> Tensor:
    """(1 − w) KL(p ‖ g) + w KL(q ‖ g), g the geometric mixture. [nats] (...)

    In closed form, but not bounded, unlike the Jensen-Shannon divergence, whose name it shares:
    two unit Gaussians d apart have d²/8. Nielsen 2019 (arXiv:1904.04017).
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}; between 0 and 1")
    mixture = geometric(p, q, weight)
    return (1 - weight) * kl(p, mixture) + weight * kl(q, mixture)


def wasserstein2(p: Gaussian, q: Gaussian) -> Tensor:
    """The squared 2-Wasserstein distance, Σ (Δμ)² + (Δσ)². [action²] (...)

    Fit for teachers that are almost or wholly deterministic. Dowson and Landau 1982
    (doi:10.1016/0047-259X(82)90077-X).
    """
    return ((p.mean - q.mean).square() + (p.std - q.std).square()).sum(-1)


def product(experts: Gaussian, weights: Tensor) -> Gaussian:
    """The normalised Π_k p_k^(w_k) of K experts: Λ = Σ w_k/σ_k², μ = Σ w_k μ_k/σ_k² / Λ.

    With weights 1/K also the one Gaussian nearest to all of them in reverse KL, which does not
    widen with their disagreement. Hinton 2002 (doi:10.1162/089976602760128018).

    Args:
        experts: (K, ..., A)
        weights: (K,), or (K, ...) by step
    """
    mean, std = experts.mean, experts.std.expand_as(experts.mean)
    unit = (1,) * (mean.dim() - 1)
    shares = weights.view(-1, *unit) if weights.dim() == 1 else weights.unsqueeze(-1)
    each = shares / std.square()
    precision = each.sum(0)
    return Gaussian((each * mean).sum(0) / precision, precision.rsqrt())


def moment_match(experts: Gaussian) -> Gaussian:
    """The one Gaussian nearest to all K experts in forward KL: (K, ..., A) to (..., A).

    μ = E μ_k and σ² = E σ_k² + Var μ_k. Where the experts are one teacher under all that its
    privileged observations may be, given what the student knows, Var μ_k is the gap that no
    student can close, and the std of a student that minimises forward KL pays for it.
    """
    mean = experts.mean
    variance = experts.variance.expand_as(mean).mean(0) + mean.var(0, unbiased=False)
    return Gaussian(mean.mean(0), variance.sqrt())
