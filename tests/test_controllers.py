"""Schedules and feedback, by numbers worked out by hand and small worlds to be controlled."""

from __future__ import annotations

import io
import math

import pytest
import torch

from tutelage.algos import controllers
from tutelage.algos.behaviour import Linear
from tutelage.algos.controllers import (
    BanditBins,
    BetaPolicy,
    Controller,
    Cosine,
    ExplainedVarianceGate,
    Exponential,
    KLBudget,
    Schedule,
    Scheduled,
    Stages,
)


def through_a_file(state: dict[str, object]) -> dict[str, object]:
    """As a checkpoint is written and read."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, object] = torch.load(file, weights_only=True)
    return loaded


def test_an_exponential_keeps_its_factor_and_its_floor() -> None:
    values = [Exponential(1.0, 0.5, least=0.2)(k) for k in range(4)]
    assert values == [1.0, 0.5, 0.25, 0.2]


def test_a_cosine_is_halfway_in_the_middle_and_stays_at_its_end() -> None:
    values = [Cosine(1.0, 0.0, 4)(k) for k in (0, 1, 2, 4, 9)]
    assert values == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.0, 0.0])


def test_stages_follow_one_another() -> None:
    forcing = Stages(((0, 1.0), (10, 0.0)))
    assert [forcing(k) for k in (0, 9, 10, 99)] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("stages", [(), ((1, 0.0),), ((0, 1.0), (5, 0.0), (5, 1.0))])
def test_stages_that_leave_an_iteration_open_are_refused(
    stages: tuple[tuple[int, float], ...],
) -> None:
    with pytest.raises(ValueError, match="stages begin at"):
        Stages(stages)


def test_every_schedule_is_a_controller_that_remembers_nothing() -> None:
    made: dict[str, Schedule] = {
        "linear": Linear(1.0, 0.0, 4),
        "exponential": Exponential(1.0, 0.5),
        "cosine": Cosine(1.0, 0.0, 4),
        "stages": Stages(((0, 1.0),)),
    }
    assert made.keys() == controllers.SCHEDULES.keys()
    for schedule in made.values():
        controller: Controller = Scheduled(schedule)
        assert controller(2, {}) == schedule(2)
        assert controller.state_dict() == {}


def test_a_gate_opens_after_a_streak_and_does_not_close() -> None:
    gate = ExplainedVarianceGate(least=0.6, streak=3, over=4)
    explained = [0.7, 0.5, 0.6, 0.8, 0.9, 0.0, 0.0, 0.0, 0.0]
    values = [gate(k, {"explained_variance": x}) for k, x in enumerate(explained)]
    assert values == [0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_gate_goes_on_in_the_middle_of_its_streak_and_of_its_ramp() -> None:
    good = {"explained_variance": 1.0}
    for stop in (1, 4):
        gate, resumed = (ExplainedVarianceGate(streak=3, over=4) for _ in range(2))
        for k in range(stop):
            gate(k, good)
        resumed.load_state_dict(through_a_file(gate.state_dict()))
        assert [gate(k, good) for k in range(stop, 9)] == [resumed(k, good) for k in range(stop, 9)]


def test_a_metric_that_is_missing_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"KLBudget reads the metric 'kl'; there are \['loss'\]"):
        KLBudget(1.0, target=0.1, raises=True)(0, {"loss": 1.0})


@pytest.mark.parametrize("raises", [True, False])
def test_a_budget_finds_the_value_at_which_the_kl_is_its_target(raises: bool) -> None:
    """KL = 0.2 v² or 0.2/v², so that v = 1/2 or 2 at a target of 0.05."""
    budget = KLBudget(1.0, target=0.05, raises=raises)
    value = budget.value
    for k in range(40):
        value = budget(k, {"kl": 0.2 * value**2 if raises else 0.2 / value**2})
    assert value == pytest.approx(0.5 if raises else 2.0, rel=1e-3)


def test_a_budget_keeps_its_bounds_and_its_largest_step() -> None:
    budget = KLBudget(1.0, target=0.1, raises=True, step=2.0, low=0.3, high=1.5)
    assert budget(0, {"kl": 1e9}) == pytest.approx(0.5)
    assert budget(1, {"kl": 1e9}) == pytest.approx(0.3)
    assert [budget(k, {"kl": 0.0}) for k in range(2, 6)] == pytest.approx([0.6, 1.2, 1.5, 1.5])
    resumed = KLBudget(1.0, target=0.1, raises=True)
    resumed.load_state_dict(through_a_file(budget.state_dict()))
    assert resumed.value == budget.value
    with pytest.raises(ValueError, match="value is 5"):
        KLBudget(5.0, target=0.1, raises=True, high=2.0)
    with pytest.raises(ValueError, match="target is 0"):
        KLBudget(1.0, target=0, raises=True)


def test_bins_that_are_mastered_or_hopeless_are_drawn_least() -> None:
    """One mastered, one hopeless, one at a half: p ∝ 0.1, 0.1, 1.1."""
    bandit = BanditBins(3, explore=0.1, memory=0.0)
    assert bandit.probabilities().tolist() == pytest.approx([1 / 3] * 3)
    bins = torch.tensor([0, 1, 2, 2, 2])
    bandit.observe(bins, torch.tensor([1.0, 0.0, 1.0, 0.0, math.nan]))
    assert bandit.success.tolist() == [1.0, 0.0, 0.5]
    assert bandit.probabilities().tolist() == pytest.approx([1 / 13, 1 / 13, 11 / 13])
    torch.manual_seed(0)
    shares = bandit.draw(20_000).bincount(minlength=3) / 20_000
    torch.testing.assert_close(shares, bandit.probabilities(), atol=0.01, rtol=0)


def test_a_bin_remembers_by_its_own_episodes() -> None:
    bandit = BanditBins(2, memory=0.9)
    bandit.observe(torch.zeros(2, dtype=torch.long), torch.ones(2))
    # 0.9² of a half, the rest success; the other bin was not seen
    assert bandit.success.tolist() == pytest.approx([0.81 * 0.5 + 0.19, 0.5])
    resumed = BanditBins(2)
    resumed.load_state_dict(through_a_file(bandit.state_dict()))
    assert resumed.success.equal(bandit.success)
    with pytest.raises(ValueError, match="2 bins were saved; there are 3 here"):
        BanditBins(3).load_state_dict(bandit.state_dict())


def test_a_beta_policy_finds_shares_at_which_the_student_learns_fast() -> None:
    """The probes' loss falls by 1 − 4 (e − 0.2)² in an update at share e."""
    torch.manual_seed(0)
    policy = BetaPolicy(("loss",), hold=1, horizon=1, learning_rate=0.03)

    def expected() -> float:
        beta = policy.distribution(torch.tensor([math.log(2)]))
        return float((1 - 4 * ((beta.mean - 0.2) ** 2 + beta.variance)).detach())

    before, probe = expected(), 0.0
    for k in range(150):
        share = policy(k, {"probe_loss": probe, "loss": 1.0})
        probe -= 1 - 4 * (share - 0.2) ** 2
    assert before < 0.6
    assert expected() > 0.9


def test_a_beta_policy_is_paid_for_success_and_holds_what_it_drew() -> None:
    torch.manual_seed(0)
    policy = BetaPolicy(("loss",), hold=3, horizon=5)
    shares = [policy(k, {"probe_loss": 1.0, "loss": 1.0}) for k in range(7)]
    assert shares[0] == shares[1] == shares[2] != shares[3] == shares[5] != shares[6]
    assert policy.state_dict()["baseline"] == 0.0  # the first decision: no progress, no success
    policy(7, {"probe_loss": 1.0, "loss": 1.0})
    policy(8, {"probe_loss": 0.0, "probe_success": 1.0, "loss": 1.0})
    # the second: the loss fell by 1 in its fifth update, and success came
    assert policy.state_dict()["baseline"] == pytest.approx(0.1 * (0.9**4 + 1.0))


def test_a_beta_policy_goes_on_as_if_it_had_not_stopped() -> None:
    def run(policy: BetaPolicy, first: int, last: int) -> list[float]:
        return [
            policy(k, {"probe_loss": math.sin(k), "loss": float(k)}) for k in range(first, last)
        ]

    torch.manual_seed(0)
    policy = BetaPolicy(("loss",), hold=2, horizon=3)
    run(policy, 0, 9)
    saved, random = through_a_file(policy.state_dict()), torch.get_rng_state()
    straight = run(policy, 9, 30)
    resumed = BetaPolicy(("loss",), hold=2, horizon=3)
    resumed.load_state_dict(saved)
    torch.set_rng_state(random)
    assert run(resumed, 9, 30) == straight
