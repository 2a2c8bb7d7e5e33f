"""Distances of a student from its target, by their bounds, gradients and what they learn."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from tutelage.algos import divergences, gaussian
from tutelage.algos.divergences import DIVERGENCES
from tutelage.algos.gaussian import Gaussian

TRUE = sorted(set(DIVERGENCES) - {"nll"})
"""Those that are zero of two that are equal, and nowhere less"""


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def pair(actions: int = 3) -> tuple[Gaussian, Gaussian]:
    """Two of shape (5, 4, A) that differ."""
    shape = (5, 4, actions)
    student = Gaussian(normal(*shape, seed=0), normal(*shape, seed=1).exp())
    return student, Gaussian(normal(*shape, seed=2), normal(*shape, seed=3).exp())


@pytest.mark.parametrize("name", DIVERGENCES)
def test_there_is_one_number_for_each_step(name: str) -> None:
    assert DIVERGENCES[name](*pair()).shape == (5, 4)


@pytest.mark.parametrize("name", TRUE)
def test_it_is_zero_of_two_that_are_equal_and_positive_else(name: str) -> None:
    student, target = pair()
    assert bool((DIVERGENCES[name](student, target) > 0).all())
    same = DIVERGENCES[name](student, student)
    torch.testing.assert_close(same, torch.zeros_like(same), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", TRUE)
def test_it_grows_with_the_gap(name: str) -> None:
    gaps = torch.linspace(0, 3, 13, dtype=torch.float64).unsqueeze(-1)
    student = Gaussian(gaps, torch.ones(1, dtype=torch.float64))
    target = Gaussian(torch.zeros_like(gaps), torch.full_like(gaps, 1.3))
    torch.manual_seed(0)
    values = DIVERGENCES[name](student, target)
    if name == "js_mc":
        noise = normal(256, 1, 1, seed=0).expand(256, 13, 1)
        values = divergences.js_mc(student, target, noise=noise)
    assert bool((values.diff() > 0).all())


@pytest.mark.parametrize("name", sorted(set(DIVERGENCES) - {"js_mc"}))
def test_as_many_actions_again_leave_the_number_as_it_is(name: str) -> None:
    student, target = pair()
    twice = [Gaussian(g.mean.repeat(1, 1, 2), g.std.repeat(1, 1, 2)) for g in (student, target)]
    torch.testing.assert_close(DIVERGENCES[name](*twice), DIVERGENCES[name](student, target))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    student, target = pair(2)
    divergence = DIVERGENCES[name]
    if name == "js_mc":
        divergence = partial(divergences.js_mc, noise=normal(8, 2, 2, seed=5))

    def value(mean: Tensor, std: Tensor) -> Tensor:
        other = Gaussian(target.mean[0, :2], target.std[0, :2])
        return divergence(Gaussian(mean, std), other)

    mean = student.mean[0, :2].clone().requires_grad_()
    std = student.std[0, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (mean, std))


def test_the_two_kls_are_the_ends_of_amari_and_renyi() -> None:
    student, target = pair()
    forward, reverse = divergences.forward(student, target), divergences.reverse(student, target)
    torch.testing.assert_close(divergences.amari(student, target, alpha=0.0), forward)
    torch.testing.assert_close(divergences.amari(student, target, alpha=1.0), reverse)
    torch.testing.assert_close(divergences.renyi(student, target, order=1.0), reverse)


def test_the_bounds_hold_however_far_apart_the_two_are() -> None:
    student, target = pair()
    far = Gaussian(1e3 * student.mean, student.std)
    assert float(divergences.amari(far, target).max()) <= 4 + 1e-9
    assert float(divergences.amari(far, target, alpha=0.2).max()) <= 1 / 0.16 + 1e-9
    assert float(divergences.js_mc(far, target).max()) <= math.log(2) + 1e-9
    for name in TRUE:
        value = divergences.bounded(DIVERGENCES[name])(far, target)
        assert 0.0 <= float(value.min()) <= float(value.max()) <= 1.0


def test_a_bounded_divergence_begins_like_the_one_it_bounds() -> None:
    near = Gaussian(torch.full((1, 2), 1e-2), torch.ones(2))
    unit = Gaussian(torch.zeros(1, 2), torch.ones(2))
    bounded = divergences.bounded(divergences.reverse)(near, unit)
    assert float(bounded) == pytest.approx(0.5e-4, rel=1e-3)


def test_a_likelihood_has_no_least_value_to_be_bounded_from() -> None:
    with pytest.raises(ValueError, match="nll may be negative"):
        divergences.bounded(partial(divergences.nll))


def test_a_clipped_divergence_has_no_gradient_beyond_its_clip() -> None:
    mean = torch.tensor([[1.0], [3.0]], requires_grad=True)
    unit = Gaussian(torch.zeros(2, 1), torch.ones(1))
    values = divergences.clipped(divergences.reverse, at=2.0)(Gaussian(mean, torch.ones(1)), unit)
    assert values.tolist() == [0.5, 2.0]
    (gradient,) = torch.autograd.grad(values.sum(), mean)
    assert gradient.flatten().tolist() == [1.0, 0.0]


def test_samples_are_compared_on_common_random_numbers() -> None:
    """Two students that differ little are told apart by little noise when it is the same."""
    student, target = pair()
    closer = Gaussian(student.mean + 1e-3 * (target.mean - student.mean), student.std)
    noise = normal(16, 5, 4, 3, seed=9)
    less = divergences.js_mc(student, target, noise=noise)
    less = less - divergences.js_mc(closer, target, noise=noise)
    assert float(less.abs().max()) < 2e-3
    torch.manual_seed(0)
    fresh = divergences.js_mc(student, target) - divergences.js_mc(closer, target)
    assert float(fresh.abs().mean()) > 5 * float(less.abs().mean())


def gradient_of(name: str, gap: float = 0.4, samples: int = 400_000) -> tuple[float, float]:
    """Of an estimator in a student's mean and std N(gap, 0.8²), to the teacher N(0, 1)."""
    mean = torch.tensor([gap], dtype=torch.float64, requires_grad=True)
    std = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    student = Gaussian(mean, std)
    teacher = Gaussian(*(torch.tensor([x], dtype=torch.float64) for x in (0.0, 1.0)))
    actions = student.detach().sample(normal(samples, 1, seed=0))
    estimator = divergences.ESTIMATORS[name]
    value = estimator(student.log_prob(actions), teacher.log_prob(actions)).mean()
    by_mean, by_std = torch.autograd.grad(value, (mean, std))
    return float(by_mean), float(by_std)


def test_k1_as_a_loss_teaches_nothing() -> None:
    assert gradient_of("k1") == pytest.approx((0.0, 0.0), abs=5e-3)


def test_k2_as_a_loss_is_the_reverse_kl() -> None:
    # gap / 1, and -1/0.8 + 0.8/1
    assert gradient_of("k2") == pytest.approx((0.4, -0.45), abs=0.01)


def test_k3_as_a_loss_is_the_forward_kl() -> None:
    # gap / 0.64, and 1/0.8 - (1 + 0.4²)/0.8³
    assert gradient_of("k3") == pytest.approx((0.4 / 0.64, 1.25 - 1.16 / 0.512), rel=0.04)


def test_k1_and_k3_measure_the_reverse_kl() -> None:
    student = Gaussian(torch.tensor([0.4]).double(), torch.tensor([0.8]).double())
    teacher = Gaussian(torch.zeros(1).double(), torch.ones(1).double())
    actions = student.sample(normal(400_000, 1, seed=0))
    probabilities = student.log_prob(actions), teacher.log_prob(actions)
    expected = float(gaussian.kl(student, teacher))
    for name in ("k1", "k3"):
        value = float(divergences.ESTIMATORS[name](*probabilities).mean())
        assert value == pytest.approx(expected, rel=0.02)


def learned(name: str) -> float:
    """Std of a student that knows only the state of a teacher -x - w, with w hidden.

    w is N(0, 0.95²) and the teacher's std is 0.3.
    """
    state, hidden = normal(2048, 1, seed=1), 0.95 * normal(2048, 1, seed=2)
    teacher = Gaussian(-state - hidden, torch.tensor([0.3], dtype=torch.float64))
    gain = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    log_std = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([gain, log_std], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        error = DIVERGENCES[name](Gaussian(gain * state, log_std.exp()), teacher).mean()
        error.backward()
        optimizer.step()
    assert float(gain.detach()) == pytest.approx(-1.0, abs=0.1)
    return float(log_std.detach().exp())


def test_forward_kl_pays_with_its_std_for_what_only_the_teacher_knows() -> None:
    """σ² = σ_T² + Var(μ_T | state), within a tenth."""
    assert learned("forward") == pytest.approx(math.hypot(0.3, 0.95), rel=0.1)


def test_reverse_kl_hides_what_only_the_teacher_knows() -> None:
    assert learned("reverse") == pytest.approx(0.3, rel=0.1)


def test_the_likelihood_of_labels_takes_only_what_the_student_cannot_know() -> None:
    assert learned("nll") == pytest.approx(0.95, rel=0.1)
