"""What each step counts, by numbers worked out by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from tutelage.algos import weights
from tutelage.algos.gaussian import Gaussian

NAN = math.nan


def column(*numbers: float) -> Tensor:
    """(T, 1)"""
    return torch.tensor(numbers).unsqueeze(-1)


def scope(temperature: float) -> weights.Outcome:
    """Two groups; the last rollout of the second is not over."""
    return weights.outcome(
        torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, NAN]),
        student_nll=torch.tensor([0.0, math.log(3), 9.0, 9.0, 9.0, 9.0]),
        teacher_nll=torch.tensor([9.0, 9.0, math.log(4), 0.0, 7.0, 7.0]),
        group=torch.tensor([0, 0, 0, 0, 1, 1]),
        groups=3,
        temperature=temperature,
    )


def test_outcomes_send_successes_to_oneself_and_failures_to_the_teacher() -> None:
    """Weights 1 : 3 among the successes, 1 : 4 among the failures, mean 1 in each group."""
    own, teacher = scope(temperature=1.0)
    torch.testing.assert_close(own, torch.tensor([0.5, 1.5, 0.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(teacher, torch.tensor([0.0, 0.0, 0.4, 1.6, 1.0, 0.0]))


def test_outcomes_count_alike_at_a_high_temperature() -> None:
    own, teacher = scope(temperature=1e6)
    torch.testing.assert_close(own, torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(teacher, torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 0.0]))


def test_an_outcome_of_a_single_kind_or_far_from_likely_is_finite() -> None:
    nll, group = torch.tensor([1e3, 1e3 + 1]), torch.zeros(2, dtype=torch.long)
    own, teacher = weights.outcome(torch.ones(2), nll, nll, group, groups=1, temperature=1.0)
    assert teacher.tolist() == [0.0, 0.0]
    assert float(own.sum()) == pytest.approx(2.0)


def test_imitation_rests_on_what_did_not_succeed() -> None:
    assert weights.unsuccessful(torch.tensor([1.0, 0.0, NAN])).tolist() == [0.0, 1.0, 1.0]


def test_a_ratio_has_a_floor() -> None:
    ratio = torch.tensor([0.1, 0.9, 3.0])
    floored = weights.ratio_floor(ratio.log(), clip=0.2)
    torch.testing.assert_close(floored, torch.tensor([0.8, 0.9, 3.0]))


def test_means_are_over_segments_and_a_done_begins_one() -> None:
    drift, segment = column(1, 3, 5, 7, 9), column(0, 0, 1, 1, 1).long()
    dones = column(0, 0, 0, 1, 0).bool()
    means = weights.segment_means(drift, segment, dones)
    assert means.flatten().tolist() == [2.0, 2.0, 6.0, 6.0, 9.0]


def test_a_drift_lowers_the_weight_and_recovery_brings_it_back() -> None:
    """Segments of drift 2, 8 and 1: 1, a quarter, and no more than 1.2."""
    drift, segment = column(2, 2, 8, 8, 1, 1), column(0, 0, 1, 1, 2, 2).long()
    dones = torch.zeros_like(segment, dtype=torch.bool)
    weight, first = weights.stepwise(drift, segment, dones, torch.zeros(1))
    expected = torch.tensor([1.0, 1.0, 0.25, 0.25, 1.2, 1.2])
    torch.testing.assert_close(weight.flatten(), expected, atol=1e-5, rtol=0)
    assert float(first) == 2.0


def test_the_stepwise_weight_is_the_product_of_the_papers_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    d = torch.rand(6, generator=generator) + 0.1
    expected = [1.0]
    for before, after in itertools.pairwise(d.tolist()):
        expected.append(expected[-1] * (before + 1e-6) / (after + 1e-6))
    dones = torch.zeros(6, 1, dtype=torch.bool)
    weight, _ = weights.stepwise(
        d.unsqueeze(-1), torch.arange(6).unsqueeze(-1), dones, torch.zeros(1)
    )
    capped = torch.tensor(expected).clamp(max=1.2)
    torch.testing.assert_close(weight.flatten(), capped)


def test_stepwise_weights_do_not_depend_on_where_a_window_ends() -> None:
    """Cut between segments; the episode that a done begins has its own first drift."""
    drift = column(2, 2, 4, 4, 1, 1, 6, 6, 8, 8)
    segment = column(0, 0, 1, 1, 2, 2, 0, 0, 1, 1).long()
    dones = column(0, 0, 0, 0, 0, 1, 0, 0, 0, 0).bool()
    whole, _ = weights.stepwise(drift, segment, dones, torch.zeros(1))
    first = torch.zeros(1)
    parts = []
    for window in (slice(0, 4), slice(4, 10)):
        part, first = weights.stepwise(drift[window], segment[window], dones[window], first)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    assert float(first) == 6.0
    assert float(whole[-1]) == pytest.approx(6 / 8, abs=1e-5)


def test_a_drift_that_does_not_count_is_not_drifted() -> None:
    """A spoiled step leaves its segment to the others; a whole spoiled segment weighs nothing."""
    drift, segment = column(2, NAN, NAN, 4, 9, 9), column(0, 0, 1, 1, 2, 2).long()
    mask = column(1, 0, 0, 1, 0, 0).bool()
    dones = torch.zeros_like(mask)
    weight, first = weights.stepwise(drift, segment, dones, torch.zeros(1), mask=mask)
    expected = torch.tensor([1.0, 1.0, 0.5, 0.5, 0.0, 0.0])
    torch.testing.assert_close(weight.flatten(), expected, atol=1e-5, rtol=0)
    assert float(first) == 2.0
    _, kept = weights.stepwise(drift[1:2], segment[1:2], dones[1:2], first, mask=mask[1:2])
    assert float(kept) == 2.0


def test_a_single_segment_weighs_ones() -> None:
    drift = torch.rand(5, 3)
    nothing = torch.zeros(5, 3, dtype=torch.long)
    weight, _ = weights.stepwise(drift, nothing, nothing.bool(), torch.full((3,), NAN))
    torch.testing.assert_close(weight, weights.uniform(drift))


def test_uncertainty_or_divergence_suffices_to_be_chosen() -> None:
    uncertainty = torch.tensor([0.0, 0.0, 1.0, 0.5])
    divergence = torch.tensor([0.0, 1.0, 0.0, 0.4])
    # scores 0, 1, 1, 0.7
    half = weights.uncertain(uncertainty, divergence, share=0.5)
    assert half.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert weights.uncertain(uncertainty, divergence, share=1.0).tolist() == [1.0] * 4
    # a std that is the same everywhere leaves the choice to the divergence
    flat = weights.uncertain(torch.ones(4), divergence, share=0.25)
    assert flat.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_what_is_masked_is_neither_chosen_nor_counted() -> None:
    mask = torch.tensor([[True, True], [False, True]])
    score = torch.tensor([[1.0, 2.0], [1e9, 3.0]])
    chosen = weights.uncertain(score, torch.zeros(2, 2), share=2 / 3, mask=mask)
    assert chosen.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    whole = weights.uncertain(score, torch.zeros(2, 2), share=1.0, mask=mask)
    assert whole.equal(mask.float())
    assert float(weights.uncertain(score, score, share=0.5, mask=mask & False).sum()) == 0.0
    with pytest.raises(ValueError, match="share is 0"):
        weights.uncertain(score, score, share=0.0)


def test_a_student_comprehends_the_teacher_that_acts_as_it_does() -> None:
    """One at the student's mean, one a std away in every action, of three or of six."""
    for actions in (3, 6):
        student = Gaussian(torch.ones(2, 4, actions), torch.full((actions,), 0.5))
        means = torch.stack([student.mean, student.mean + 0.5])
        c = weights.comprehension(Gaussian(means, torch.ones(actions)), student)
        assert c.shape == (2, 2, 4)
        torch.testing.assert_close(c[0], torch.ones(2, 4))
        torch.testing.assert_close(c[1], torch.full((2, 4), math.exp(-0.5)))
        assert c.mean(1).argmax(0).tolist() == [0] * 4


def test_a_teachers_steps_count_by_how_well_they_are_comprehended() -> None:
    weight = weights.comprehended(torch.tensor([0.0, 0.1, 0.9]))
    torch.testing.assert_close(weight, torch.tensor([0.0, 0.5, 0.9]))


def test_a_margin_lifts_successes_by_what_is_lacking() -> None:
    """Group 0: means 1 and 2 where a gap of 0.5 is asked for. Group 1 has it, 2 one kind."""
    advantage = torch.tensor([0.0, 2.0, 2.0, 5.0, 1.0, 3.0, 9.0])
    success = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, NAN])
    group = torch.tensor([0, 0, 0, 1, 1, 2, 0])
    lift = weights.margin(advantage, success, group, groups=4, least=0.5)
    assert lift.tolist() == [1.5, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    again = weights.margin(advantage + lift, success, group, groups=4, least=0.5)
    assert again.tolist() == [0.0] * 7


def test_a_combination_has_mean_one_over_what_counts() -> None:
    mask = torch.tensor([True, True, False])
    product = weights.combine(
        torch.tensor([1.0, 2.0, 5.0]), torch.tensor([3.0, 3.0, NAN]), mask=mask
    )
    torch.testing.assert_close(product, torch.tensor([2 / 3, 4 / 3, 0.0]))
    ones = weights.uniform(torch.rand(4))
    torch.testing.assert_close(weights.combine(ones, 3 * ones), ones)


def test_no_weight_carries_a_gradient() -> None:
    x = torch.rand(4, 2, requires_grad=True)
    flat, group = x.flatten(), torch.zeros(8, dtype=torch.long)
    success = torch.tensor([1.0, 0.0]).repeat(4)
    zeros = torch.zeros(4, 2, dtype=torch.long)
    student = Gaussian(x, torch.ones(2))
    made = [
        weights.uniform(x),
        *weights.outcome(success, flat, flat, group, groups=1, temperature=1.0),
        weights.stepwise(x, zeros, zeros.bool(), torch.zeros(2))[0],
        weights.uncertain(x, x, share=0.5),
        weights.comprehension(student, student),
        weights.margin(flat, success, group, groups=1, least=1.0),
        weights.ratio_floor(x, clip=0.2),
        weights.combine(x, x),
    ]
    assert not any(weight.requires_grad for weight in made)
