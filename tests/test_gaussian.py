"""Closed forms of Gaussians, against integrals on a grid and numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tutelage.algos import gaussian
from tutelage.algos.gaussian import Gaussian

GRID = torch.linspace(-30, 30, 60001, dtype=torch.float64).unsqueeze(-1)
"""(G, 1), 0.001 apart"""


def of(mean: list[float], std: list[float]) -> Gaussian:
    return Gaussian(*(torch.tensor(x, dtype=torch.float64) for x in (mean, std)))


def integral(values: Tensor) -> float:
    return float(values.sum()) * 0.001


def densities(p: Gaussian, q: Gaussian) -> tuple[Tensor, Tensor]:
    return p.log_prob(GRID), q.log_prob(GRID)


NARROW, WIDE = of([0.3], [0.7]), of([-0.5], [1.2])


def test_a_density_and_its_entropy_are_those_of_the_standard_normal() -> None:
    unit = of([0.0, 0.0], [1.0, 1.0])
    assert float(unit.log_prob(torch.zeros(2))) == pytest.approx(-math.log(2 * math.pi))
    assert float(unit.entropy()) == pytest.approx(1 + math.log(2 * math.pi))


def test_a_std_that_states_share_counts_at_every_state() -> None:
    shared = Gaussian(torch.zeros(5, 3), torch.full((3,), 2.0))
    spread = Gaussian(torch.zeros(5, 3), torch.full((5, 3), 2.0))
    noise = torch.randn(4, 5, 3)
    assert shared.entropy().equal(spread.entropy())
    assert shared.marginals().entropy().equal(spread.marginals().entropy())
    other = Gaussian(torch.ones(5, 3), torch.ones(5, 3))
    both = [gaussian.jensen_shannon(p, other, noise) for p in (shared, spread)]
    torch.testing.assert_close(*both)


def test_kl_is_half_the_squared_gap_and_grows_with_the_wrong_width() -> None:
    assert float(gaussian.kl(of([1.0], [1.0]), of([0.0], [1.0]))) == 0.5
    # ln 2 + 1/8 - 1/2, and -ln 2 + 2 - 1/2
    narrow, wide = of([0.0], [1.0]), of([0.0], [2.0])
    assert float(gaussian.kl(narrow, wide)) == pytest.approx(math.log(2) - 0.375)
    assert float(gaussian.kl(wide, narrow)) == pytest.approx(1.5 - math.log(2))


def test_kl_is_the_integral_that_defines_it() -> None:
    log_p, log_q = densities(NARROW, WIDE)
    expected = integral(log_p.exp() * (log_p - log_q))
    assert float(gaussian.kl(NARROW, WIDE)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", [0.2, 0.5, 0.8, 1.3])
def test_renyi_is_the_integral_that_defines_it(order: float) -> None:
    log_p, log_q = densities(NARROW, WIDE)
    overlap = integral((order * log_p + (1 - order) * log_q).exp())
    expected = math.log(overlap) / (order - 1)
    assert float(gaussian.renyi(NARROW, WIDE, order)) == pytest.approx(expected, abs=1e-9)


def test_renyi_grows_with_its_order_and_passes_through_the_kl() -> None:
    orders = (0.1, 0.5, 0.999, 1.0, 1.001, 1.4)
    values = [float(gaussian.renyi(NARROW, WIDE, order)) for order in orders]
    assert values == sorted(values)
    assert values[3] == float(gaussian.kl(NARROW, WIDE))
    assert values[4] - values[2] < 2e-3


def test_renyi_of_the_opposite_direction_is_the_other_order() -> None:
    there, back = gaussian.renyi(NARROW, WIDE, 0.3), gaussian.renyi(WIDE, NARROW, 0.7)
    assert float(there) == pytest.approx(0.3 / 0.7 * float(back))


def test_renyi_is_infinite_where_the_other_is_too_narrow_and_leaves_gradients_finite() -> None:
    # 9/8 σ_q² − 1/8 σ_p² must be positive, so σ_p < 3 σ_q; at 3 it is zero to the bit
    mean = torch.zeros(3, 1, requires_grad=True)
    p = Gaussian(mean, torch.tensor([[2.9], [3.0], [3.1]]))
    values = gaussian.renyi(p, Gaussian(torch.ones(3, 1), torch.ones(3, 1)), 1.125)
    assert values[0].isfinite()
    assert values[1:].tolist() == [math.inf] * 2
    (gradient,) = torch.autograd.grad(values.sum(), mean)
    assert bool(gradient.isfinite().all())
    assert float(gradient[0]) != 0


def test_a_renyi_order_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"order is -0\.5"):
        gaussian.renyi(NARROW, WIDE, -0.5)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_amari_is_the_integral_that_defines_it_and_keeps_its_bound(alpha: float) -> None:
    log_p, log_q = densities(NARROW, WIDE)
    overlap = integral((alpha * log_p + (1 - alpha) * log_q).exp())
    bound = 1 / (alpha * (1 - alpha))
    assert float(gaussian.amari(NARROW, WIDE, alpha)) == pytest.approx((1 - overlap) * bound)
    far = of([1e3], [0.7])
    assert float(gaussian.amari(far, WIDE, alpha)) == pytest.approx(bound)


def test_amari_ends_in_the_two_kls() -> None:
    ends = [float(gaussian.amari(NARROW, WIDE, alpha)) for alpha in (0.0, 0.001, 0.999, 1.0)]
    assert ends[0] == float(gaussian.kl(WIDE, NARROW))
    assert ends[1] == pytest.approx(ends[0], rel=0.01)
    assert ends[2] == pytest.approx(ends[3], rel=0.01)
    assert ends[3] == float(gaussian.kl(NARROW, WIDE))


@pytest.mark.parametrize("weight", [0.2, 0.5])
def test_jensen_shannon_agrees_with_its_integral_and_keeps_its_bound(weight: float) -> None:
    log_p, log_q = densities(NARROW, WIDE)
    log_m = torch.logaddexp(math.log(1 - weight) + log_p, math.log(weight) + log_q)
    expected = (1 - weight) * integral(log_p.exp() * (log_p - log_m))
    expected += weight * integral(log_q.exp() * (log_q - log_m))
    noise = torch.randn(20000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = float(gaussian.jensen_shannon(NARROW, WIDE, noise, weight))
    assert value == pytest.approx(expected, rel=0.03)
    bound = -weight * math.log(weight) - (1 - weight) * math.log(1 - weight)
    far = float(gaussian.jensen_shannon(of([1e3], [1.0]), WIDE, noise[:1], weight))
    assert far == pytest.approx(bound)


def test_jensen_shannon_is_exactly_zero_of_two_that_are_equal_whatever_the_noise() -> None:
    noise = torch.randn(3, 1, dtype=torch.float64)
    assert float(gaussian.jensen_shannon(WIDE, WIDE, noise)) == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(ValueError, match="weight is 1"):
        gaussian.jensen_shannon(WIDE, WIDE, noise, weight=1.0)


def test_jensen_shannon_lets_the_gradient_through_its_samples() -> None:
    """Against finite differences with the same noise."""
    noise = torch.randn(64, 1, dtype=torch.float64)

    def value(mean: Tensor, std: Tensor) -> Tensor:
        return gaussian.jensen_shannon(Gaussian(mean, std), WIDE, noise)

    mean = NARROW.mean.clone().requires_grad_()
    std = NARROW.std.clone().requires_grad_()
    assert torch.autograd.gradcheck(value, (mean, std))


def test_the_geometric_jensen_shannon_of_unit_gaussians_is_an_eighth_of_the_squared_gap() -> None:
    """So it is not bounded by ln 2, whatever its name."""
    unit, away = of([0.0], [1.0]), of([4.0], [1.0])
    assert float(gaussian.geometric_jensen_shannon(unit, away)) == 2.0
    assert float(gaussian.geometric_jensen_shannon(unit, away, 0.0)) == 0.0


def test_wasserstein_is_finite_for_a_teacher_without_a_std() -> None:
    away = of([3.0, 0.0], [0.0, 0.0])
    assert float(gaussian.wasserstein2(of([0.0, 0.0], [1.0, 2.0]), away)) == 9.0 + 1.0 + 4.0


def test_what_adds_up_over_actions_is_the_sum_of_the_marginals() -> None:
    p, q = of([0.3, 1.0], [0.7, 0.2]), of([-0.5, 0.9], [1.2, 0.3])
    single = p.marginals(), q.marginals()
    for divergence in (gaussian.kl, gaussian.geometric_jensen_shannon, gaussian.wasserstein2):
        torch.testing.assert_close(divergence(*single).sum(-1), divergence(p, q))
    torch.testing.assert_close(gaussian.renyi(*single, 0.5).sum(-1), gaussian.renyi(p, q, 0.5))


def test_gradients_in_the_mean_are_the_gap_over_the_variance_of_the_second() -> None:
    mean = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    student, teacher = Gaussian(mean, NARROW.std), WIDE
    (forward,) = torch.autograd.grad(gaussian.kl(teacher, student), mean)
    (reverse,) = torch.autograd.grad(gaussian.kl(student, teacher), mean)
    assert float(forward) == pytest.approx(0.8 / 0.49)
    assert float(reverse) == pytest.approx(0.8 / 1.44)


def test_a_product_adds_precisions_and_is_the_normalised_product() -> None:
    experts = of([[0.0], [3.0]], [[1.0], [0.5]])  # type: ignore[list-item]
    both = gaussian.product(experts, torch.tensor([1.0, 1.0], dtype=torch.float64))
    # precisions 1 and 4
    assert float(both.mean) == pytest.approx(12 / 5)
    assert float(both.std) == pytest.approx(5**-0.5)
    one = gaussian.product(experts, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert float(one.mean) == 3.0
    assert float(one.std) == 0.5


def test_weights_of_a_product_may_differ_from_step_to_step() -> None:
    experts = Gaussian(torch.tensor([0.0, 1.0]).view(2, 1, 1).expand(2, 4, 3), torch.ones(3))
    weights = torch.stack([torch.linspace(0, 1, 4), torch.linspace(1, 0, 4)])
    means = gaussian.product(experts, weights).mean
    torch.testing.assert_close(means, torch.linspace(1, 0, 4).unsqueeze(-1).expand(4, 3))


def test_the_projections_of_many_teachers_on_one_are_stationary_in_their_kl() -> None:
    """Disagreement widens the forward one and not the reverse one."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(500, 2, dtype=torch.float64, generator=generator)
    experts = Gaussian(means, torch.full((2,), 0.2, dtype=torch.float64))
    wide = gaussian.moment_match(experts)
    narrow = gaussian.product(experts, torch.full((500,), 1 / 500, dtype=torch.float64))
    expected = (0.04 + means.var(0, unbiased=False)).sqrt()
    torch.testing.assert_close(wide.std, expected)
    torch.testing.assert_close(narrow.std, experts.std)
    for projection, forward in ((wide, True), (narrow, False)):
        mean, std = projection.mean.requires_grad_(), projection.std.requires_grad_()
        one = Gaussian(mean, std)
        value = gaussian.kl(experts, one) if forward else gaussian.kl(one, experts)
        for gradient in torch.autograd.grad(value.mean(), (mean, std)):
            assert float(gradient.abs().max()) < 1e-9
