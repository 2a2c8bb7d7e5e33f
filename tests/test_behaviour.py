"""Who acts, and for how long."""

from __future__ import annotations

import pytest
import torch

from tutelage.algos.behaviour import Linear, Mixture


def mixture(share: float, segment: int | None = None, num_envs: int = 1000) -> Mixture:
    torch.manual_seed(0)
    return Mixture(num_envs, Linear(share, share, 1), segment, "cpu")


def test_linear_is_worked_out_by_hand() -> None:
    schedule = Linear(1.0, 0.2, 4)
    assert [round(schedule(k), 6) for k in (0, 1, 2, 4, 9)] == [1.0, 0.8, 0.6, 0.2, 0.2]
    assert Linear(1.0, 0.2, 0)(0) == 0.2


def test_the_share_of_the_teacher_is_the_schedule_s() -> None:
    drawn = mixture(0.3).choose(0, rollout_begins=True)
    assert 0.25 < float(drawn.float().mean()) < 0.35


def test_the_choice_stands_for_a_rollout() -> None:
    who = mixture(0.5)
    drawn = [who.choose(0, rollout_begins=step % 4 == 0).clone() for step in range(8)]
    assert all(d.equal(drawn[0]) for d in drawn[:4])
    assert all(d.equal(drawn[4]) for d in drawn[4:])
    assert not drawn[0].equal(drawn[4])


def test_a_segment_goes_on_over_the_end_of_a_rollout() -> None:
    who = mixture(0.5, segment=3)
    drawn = [who.choose(0, rollout_begins=step % 4 == 0).clone() for step in range(6)]
    assert drawn[0].equal(drawn[2])
    assert drawn[3].equal(drawn[5])
    assert not drawn[2].equal(drawn[3])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_is_drawn_where_there_is_no_choice(share: float) -> None:
    who = mixture(share)
    before = torch.get_rng_state()
    assert bool((who.choose(0, rollout_begins=True) == bool(share)).all())
    assert torch.get_rng_state().equal(before)


def test_a_resumed_mixture_goes_on_in_the_middle_of_a_segment() -> None:
    who = mixture(0.5, segment=3)
    first = who.choose(0, rollout_begins=True)
    twin = mixture(0.5, segment=3)
    twin.restore(who.snapshot())
    assert twin.choose(0, rollout_begins=True).equal(first)


def test_with_other_environments_a_new_segment_begins() -> None:
    who = mixture(0.5, segment=3)
    who.choose(0, rollout_begins=True)
    other = mixture(0.0, segment=3, num_envs=9)
    other.restore(who.snapshot())
    assert other.choose(0, rollout_begins=False).shape == (9,)
    assert not bool(other.teacher_acts.any())
