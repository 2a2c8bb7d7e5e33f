"""Losses and advantages, by numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tutelage.algos import objectives


def column(*numbers: float) -> Tensor:
    """(T, 1, 1)"""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1)


def advantages(dones: Tensor, mask: Tensor | None = None) -> list[float]:
    """Three steps of reward 1 and value 2, after which the value is 4; gamma = lam = 1/2.

    Where the episode goes on, delta = 1 + 2/2 - 2 = 0, in the last step 1 + 4/2 - 2 = 1, and at
    a done 1 - 2 = -1. Each advantage is its delta and a quarter of the next one.
    """
    values, last = column(2, 2, 2), torch.full((1, 1), 4.0)
    result = objectives.advantages(
        column(1, 1, 1), values, last, dones, gamma=0.5, lam=0.5, mask=mask
    )
    return result.flatten().tolist()


def test_advantages_carry_the_last_value_back() -> None:
    assert advantages(column(0, 0, 0)) == [1 / 16, 1 / 4, 1.0]


def test_a_done_cuts_the_bootstrap() -> None:
    assert advantages(column(0, 1, 0)) == [-1 / 4, -1.0, 1.0]
    assert advantages(column(0, 0, 1)) == [-1 / 16, -1 / 4, -1.0]


def test_a_masked_transition_has_no_advantage_and_hands_none_back() -> None:
    mask = column(1, 0, 1).bool()
    assert advantages(column(0, 1, 0), mask) == [0.0, 0.0, 1.0]


def test_a_mean_is_over_what_the_mask_keeps() -> None:
    x = torch.tensor([1.0, math.nan, 5.0])
    mask = torch.tensor([True, False, True])
    assert float(objectives.mean(x, mask)) == 3.0
    assert float(objectives.mean(x, torch.zeros(3, dtype=torch.bool))) == 0.0


def test_standardising_looks_only_at_what_the_mask_keeps() -> None:
    x = torch.tensor([1.0, 100.0, 3.0])
    mask = torch.tensor([True, False, True])
    # mean 2, standard deviation sqrt(2) with one degree of freedom lost
    expected = torch.tensor([-(0.5**0.5), 0.0, 0.5**0.5])
    torch.testing.assert_close(objectives.standardise(x, mask), expected)


def test_a_full_mask_changes_no_bit_of_the_mean_s_gradient() -> None:
    x = torch.randn(100, requires_grad=True)
    (plain,) = torch.autograd.grad(objectives.mean(x), x)
    (masked,) = torch.autograd.grad(objectives.mean(x, torch.ones(100, dtype=torch.bool)), x)
    assert plain.equal(masked)


def test_the_surrogate_takes_the_worse_of_clipped_and_plain() -> None:
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    # -min(1.5, 1.2), -min(-1.5, -1.2), -min(0.5, 0.8), -min(-0.5, -0.8)
    expected = (-1.2 + 1.5 - 0.5 + 0.8) / 4
    loss = objectives.surrogate(ratio.log(), torch.zeros(4), advantage, clip=0.2)
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    mask = torch.tensor([True, False, False, True])
    masked = objectives.surrogate(ratio.log(), torch.zeros(4), advantage, clip=0.2, mask=mask)
    assert float(masked) == pytest.approx((-1.2 + 0.8) / 2, abs=1e-6)


def test_a_surrogate_that_overflows_where_masked_has_a_finite_gradient() -> None:
    log_prob = torch.tensor([0.0, 1000.0], requires_grad=True)
    mask = torch.tensor([True, False])
    objectives.surrogate(log_prob, torch.zeros(2), torch.ones(2), clip=0.2, mask=mask).backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [-1.0, 0.0]


def test_the_value_error_is_pessimistic_about_moves_beyond_the_clip() -> None:
    values, old, returns = torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]])
    assert float(objectives.value_error(values, returns, old, clip=None)) == 0.0
    # the clipped value is 0.2, 0.8 away from the return
    assert float(objectives.value_error(values, returns, old, clip=0.2)) == pytest.approx(0.64)


def test_the_mirror_error_moves_only_the_policy_of_the_mirrored_input() -> None:
    a = torch.tensor([[1.0, 2.0], [9.0, 9.0]], requires_grad=True)
    b = torch.tensor([[0.0, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = objectives.mirror_error(a, b, torch.tensor([True, False]))
    assert float(loss.detach()) == 2.5
    loss.backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert b.grad is None


def test_imitation_errors_are_means_over_actions() -> None:
    means, labels = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 3.0]])
    std = torch.tensor([[1.0, 3.0]])
    assert objectives.squared(means, labels).tolist() == [5.0]
    assert objectives.huber(means, labels).tolist() == [1.5]  # (0.5 + 2.5) / 2
    expected = (0.5 + 0.5 + math.log(3) + math.log(2 * math.pi)) / 2
    likelihood = objectives.negative_log_likelihood(means, labels, std)
    assert likelihood.tolist() == [pytest.approx(expected, abs=1e-6)]
