"""What the student is to become: routed, mixed, extrapolated and corrected teachers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tutelage.algos import gaussian, targets
from tutelage.algos.gaussian import Gaussian


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def one(mean: float, std: float) -> Gaussian:
    """One state, one action."""
    return Gaussian(tensor(mean).view(1, 1), tensor(std).view(1, 1))


def many(seed: int, *shape: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, dtype=torch.float64, generator=generator)
    return Gaussian(mean, 0.2 + torch.rand(*shape, dtype=torch.float64, generator=generator))


def assert_same(p: Gaussian, q: Gaussian) -> None:
    torch.testing.assert_close(p.mean, q.mean.expand_as(p.mean))
    torch.testing.assert_close(p.std, q.std.expand_as(p.std))


UNLIMITED = targets.Limits(
    precision=tensor(math.inf), clip=tensor(math.inf), saturation=tensor(math.inf)
)


def test_every_environment_gets_the_teacher_it_is_assigned() -> None:
    """Teacher k says 100 k + 10 t + b at step t in environment b."""
    k, t, b = torch.arange(3.0), torch.arange(2.0), torch.arange(4.0)
    mean = (100 * k[:, None, None] + 10 * t[:, None] + b).unsqueeze(-1)
    teachers = Gaussian(mean, (1 + k).view(3, 1, 1, 1))
    routed = targets.route(teachers, torch.tensor([2, 0, 1, 0]))
    assert routed.mean.squeeze(-1).tolist() == [[200, 1, 102, 3], [210, 11, 112, 13]]
    assert routed.std[0].flatten().tolist() == [3, 1, 2, 1]
    by_step = targets.route(teachers, torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]]))
    assert by_step.mean.squeeze(-1).tolist() == [[0, 1, 2, 3], [110, 111, 112, 113]]


def test_to_route_to_one_teacher_is_that_teacher() -> None:
    teacher = many(0, 1, 6, 5, 3)
    routed = targets.route(teacher, torch.zeros(5, dtype=torch.long))
    assert routed.mean.equal(teacher.mean[0])
    assert routed.std.equal(teacher.std[0])


def test_a_consensus_lies_between_its_teachers_and_does_not_narrow_with_their_number() -> None:
    teachers = Gaussian(tensor(0.0, 1.0).view(2, 1, 1), tensor(0.5, 0.5).view(2, 1, 1))
    both = targets.product(teachers, tensor(0.25, 0.75))
    assert_same(both, one(0.75, 0.5))
    assert_same(targets.product(teachers, tensor(0.0, 1.0)), one(1.0, 0.5))


@pytest.mark.parametrize("weights", [(-0.5, 1.5), (0.5, 0.6)])
def test_a_consensus_is_refused_weights_that_are_none(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not negative and sum to 1"):
        targets.product(many(0, 2, 4, 3), tensor(*weights))


def test_to_temper_widens_what_is_too_narrow() -> None:
    tempered = targets.temper(
        Gaussian(torch.zeros(3), torch.tensor([0.0, 0.3, 1.0])), temperature=0.5, least=0.05
    )
    torch.testing.assert_close(tempered.std, torch.tensor([0.05, 0.15, 0.5]))


def test_a_correction_is_added_to_a_prior_that_does_not_learn() -> None:
    prior = Gaussian(torch.ones(2, 3, requires_grad=True), torch.ones(3))
    change = torch.full((2, 3), 0.5, requires_grad=True)
    corrected = targets.residual(prior, Gaussian(change, torch.full((3,), 0.1)), gate=0.5)
    assert corrected.mean.tolist() == [[1.25] * 3] * 2
    assert corrected.std.tolist() == pytest.approx([0.1] * 3)
    corrected.mean.sum().backward()
    assert prior.mean.grad is None
    assert change.grad is not None
    assert change.grad.tolist() == [[0.5] * 3] * 2
    nothing = Gaussian(torch.zeros(2, 3), prior.std)
    assert_same(targets.residual(prior, nothing), prior)


def test_at_one_the_extrapolation_is_the_teacher_and_at_zero_the_reference() -> None:
    teacher, reference = many(0, 7, 4, 3), many(1, 7, 4, 3)
    within = targets.limits(teacher, reference, clip=1.01, low=-0.1, high=0.1)
    assert_same(targets.extrapolate(teacher, reference, 1.0, within=within), teacher)
    assert_same(targets.extrapolate(teacher, reference, 0.0, within=within), reference)


def test_with_equal_std_the_mean_goes_on_in_a_straight_line() -> None:
    target = targets.extrapolate(one(1.0, 0.3), one(0.5, 0.3), 3.0, within=UNLIMITED)
    assert_same(target, one(2.0, 0.3))


def test_the_extrapolation_is_the_optimum_of_the_objective_it_comes_from() -> None:
    """E[λ ln π_T/π_ref − KL(π ‖ π_ref)], where it is stationary."""
    teacher, reference, lam = one(1.0, 0.6), one(0.3, 0.8), 1.6
    target = targets.extrapolate(teacher, reference, lam, within=UNLIMITED)
    mean, std = target.mean.requires_grad_(), target.std.requires_grad_()
    pi = Gaussian(mean, std)
    gain = gaussian.kl(pi, reference) - gaussian.kl(pi, teacher)  # E ln π_T/π_ref
    objective = lam * gain - gaussian.kl(pi, reference)
    for gradient in torch.autograd.grad(objective.sum(), (mean, std)):
        assert float(gradient.abs().max()) < 1e-9


def test_a_wider_teacher_ends_the_extrapolation_where_precision_ends() -> None:
    """1/(1 − 0.8²) = 2.78; a narrower one never does, and the narrowest limit counts."""
    wide, narrow = one(0.0, 1.0), one(0.0, 0.8)
    limit = 1 / 0.36
    assert float(targets.precision_limit(wide, narrow)) == pytest.approx(limit)
    assert float(targets.precision_limit(narrow, wide)) == math.inf
    both = Gaussian(torch.zeros(1, 2).double(), tensor(1.0, 0.8))
    assert float(targets.precision_limit(both, narrow)) == pytest.approx(limit)
    inside = gaussian.geometric(narrow, wide, 0.999 * limit)
    assert float(inside.std) > 20
    assert bool(gaussian.geometric(narrow, wide, 1.001 * limit).std.isnan())


def test_the_clip_limit_has_its_closed_form_where_both_are_as_wide() -> None:
    """1 + √(ln c)/‖Δμ/σ‖, with Δμ/σ = (3, 4)/2; there D₂ is ln c exactly."""
    teacher = Gaussian(tensor(3.0, 4.0).unsqueeze(0), tensor(2.0, 2.0))
    reference = Gaussian(torch.zeros_like(teacher.mean), teacher.std)
    limit = targets.clip_limit(teacher, reference, 5.0)
    assert float(limit) == pytest.approx(1 + math.sqrt(math.log(5)) / 2.5, rel=1e-7)
    target = targets.extrapolate(teacher, reference, limit, within=UNLIMITED)
    assert float(gaussian.renyi(teacher, target, 2.0)) == pytest.approx(math.log(5), rel=1e-6)


def test_at_the_clip_limit_the_mean_squared_importance_weight_is_the_clip() -> None:
    teacher, reference = many(0, 50, 4), many(1, 50, 4)
    limit = targets.clip_limit(teacher, reference, 5.0)
    target = gaussian.geometric(reference, teacher, limit)
    divergence = gaussian.renyi(teacher, target, 2.0)
    torch.testing.assert_close(divergence, torch.full_like(limit, math.log(5)), atol=1e-4, rtol=0)


def test_a_teacher_that_is_the_reference_never_meets_the_clip() -> None:
    same = many(0, 3, 4)
    assert bool(targets.clip_limit(same, same, 5.0).isinf().all())
    far = Gaussian(same.mean + 1e6, same.std)
    assert float(targets.clip_limit(far, same, 5.0).max()) < 1.001
    with pytest.raises(ValueError, match="clip is 1"):
        targets.limits(same, same, clip=1.0)


def saturation(teacher: Gaussian, reference: Gaussian) -> float:
    return float(targets.limits(teacher, reference, low=-1.0, high=2.0).saturation)


def test_the_first_mean_at_the_end_of_its_range_ends_the_extrapolation() -> None:
    """Equal std: 0.5 → 1 reaches 2 at λ = 3; 0 → −0.5 reaches −1 at λ = 2."""
    assert saturation(one(1.0, 0.3), one(0.5, 0.3)) == pytest.approx(3.0)
    assert saturation(one(-0.5, 0.3), one(0.0, 0.3)) == pytest.approx(2.0)
    teacher = Gaussian(tensor(1.0, -0.5).unsqueeze(0), tensor(0.3, 0.3))
    reference = Gaussian(tensor(0.5, 0.0).unsqueeze(0), tensor(0.3, 0.3))
    assert saturation(teacher, reference) == pytest.approx(2.0)
    assert saturation(one(0.5, 0.3), one(0.5, 0.6)) == math.inf
    for reference in (one(0.5, 0.3), one(2.4, 0.1)):
        assert saturation(one(2.5, 0.3), reference) == 1.0


def test_the_saturation_limit_holds_for_any_widths() -> None:
    teacher, reference = many(2, 200, 1), many(3, 200, 1)
    within = targets.limits(teacher, reference, low=-1.5, high=1.5)
    limit = within.saturation
    inside = (teacher.mean.abs() < 1.5).squeeze(-1)
    reached = inside & (limit < 0.99 * within.precision) & limit.isfinite()
    assert int(reached.sum()) > 50
    means = gaussian.geometric(reference, teacher, limit).mean.squeeze(-1)
    torch.testing.assert_close(means[reached].abs(), torch.full_like(means[reached], 1.5))
    # where it is never reached, going very far does not either
    endless = inside & limit.isinf() & within.precision.isinf()
    assert int(endless.sum()) > 10
    far = gaussian.geometric(reference, teacher, 1e6).mean.squeeze(-1)
    assert bool((far[endless].abs() <= 1.5).all())


@pytest.mark.parametrize(
    ("teacher", "name"),
    [(one(0.5, 1.0), "precision"), (one(4.0, 0.8), "clip"), (one(0.9, 0.8), "saturation")],
)
def test_too_much_is_refused_by_the_name_of_its_limit(teacher: Gaussian, name: str) -> None:
    reference = one(0.4, 0.8)
    within = targets.limits(teacher, reference, clip=1e4, low=-9.0, high=1.5)
    if name == "precision":
        within = targets.limits(teacher, reference, clip=1e200)
    elif name == "clip":
        within = targets.limits(teacher, reference, clip=2.0)
    limit = float(getattr(within, name))
    assert 1.0 < limit < 10.0
    targets.extrapolate(teacher, reference, 1 + 0.999 * (limit - 1), within=within)
    with pytest.raises(ValueError, match=f"its {name} limit is {limit:.4g}"):
        targets.extrapolate(teacher, reference, 1 + 1.001 * (limit - 1), within=within)


def test_to_extrapolate_away_from_the_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lam is -0\.1; at least 0"):
        targets.extrapolate(one(0.0, 1.0), one(1.0, 1.0), -0.1, within=UNLIMITED)


def test_a_restrained_extrapolation_is_never_refused_and_goes_as_far_as_it_may() -> None:
    teacher, reference = many(4, 300, 3), many(5, 300, 3)
    within = targets.limits(teacher, reference, low=-2.0, high=2.0)
    lam = targets.restrain(2.5, within)
    target = targets.extrapolate(teacher, reference, lam, within=within)
    assert bool(target.std.isfinite().all())
    assert 1.0 <= float(lam.min()) < float(lam.max()) <= 2.5
    free = within.precision.minimum(within.clip).minimum(within.saturation) > 10
    assert bool((lam[free] == 2.5).all())
    assert bool((targets.restrain(0.7, within) == 0.7).all())
    wide = targets.Limits(precision=tensor(3.0), clip=tensor(9.0), saturation=tensor(9.0))
    assert targets.restrain(5.0, wide).tolist() == pytest.approx([1 + 0.9 * 2])


def test_single_precision_is_not_refused_what_it_was_restrained_to() -> None:
    teacher, reference = (
        Gaussian(g.mean.float(), g.std.float()) for g in (many(4, 300, 3), many(5, 300, 3))
    )
    within = targets.limits(teacher, reference, low=-2.0, high=2.0)
    lam = targets.restrain(9.0, within)
    target = targets.extrapolate(teacher, reference, lam, within=within)
    assert target.mean.dtype == torch.float32
    assert bool(target.std.isfinite().all())


@pytest.mark.parametrize(("teacher", "reference"), [(0.9, 0.5), (0.999, 0.6), (0.7, 0.1)])
def test_a_binary_choice_leaves_the_clip_exactly_at_its_limit(
    teacher: float, reference: float
) -> None:
    p, b = tensor(teacher), tensor(reference)
    lam = targets.bernoulli_limit(p, b, clip=5.0)
    q = torch.sigmoid((1 - lam) * torch.logit(b) + lam * torch.logit(p))
    assert float(lam) > 1.0
    assert float((1 - q) - (1 - p) / 5) == pytest.approx(0.0, abs=1e-9)
