"""Commands: how far they range, how long they hold, and what standing means."""

from __future__ import annotations

from typing import Any

import torch

from tutelage.envs.terms.commands import VelocityCommand

MANY = 4096
CPU = torch.device("cpu")


def command(num_envs: int = MANY, seed: int = 0, **changes: Any) -> VelocityCommand:
    made = VelocityCommand(num_envs, CPU, torch.Generator().manual_seed(seed), **changes)
    made.reset(torch.ones(num_envs, dtype=torch.bool))
    return made


def test_draws_fill_the_range_and_never_leave_it() -> None:
    value = command(high=(1.0, 0.5, 2.0), standing=0.0).value
    for column, high in enumerate((1.0, 0.5, 2.0)):
        assert value[:, column].abs().max() <= high
        assert value[:, column].max() > 0.99 * high
        assert value[:, column].min() < -0.99 * high
        # the mean of uniform draws is 0, with a standard error of high / sqrt(3 * 4096)
        assert value[:, column].mean().abs() < 4 * high / (3 * MANY) ** 0.5


def test_the_range_is_told_for_the_contract() -> None:
    made = command(high=(1.0, 0.5, 2.0))
    assert (made.names, made.units) == (("vx", "vy", "wz"), ("m/s", "m/s", "rad/s"))
    assert (made.low, made.high) == ((-1.0, -0.5, -2.0), (1.0, 0.5, 2.0))
    assert made.size == made.value.shape[1] == 3


def test_a_share_of_the_draws_asks_to_stand() -> None:
    value = command(standing=0.25, stand_below=0.0).value
    standing = (value == 0).all(-1).float().mean()
    assert abs(standing - 0.25) < 4 * (0.25 * 0.75 / MANY) ** 0.5


def test_what_is_too_small_to_be_worth_a_step_is_standing() -> None:
    value = command(high=(0.2, 0.0, 0.0), standing=0.0, stand_below=0.1).value
    speed = value.norm(dim=-1)
    assert ((speed == 0) | (speed > 0.1)).all()
    assert abs((speed == 0).float().mean() - 0.5) < 0.04  # half of -0.2..0.2 is below 0.1


def test_a_command_holds_for_its_time_and_then_changes() -> None:
    made = command(hold=(0.1, 0.1), standing=0.0)
    first = made.value
    for _ in range(4):
        made.step(0.02)
        assert torch.equal(made.value, first)
    made.step(0.02)  # 5 * 0.02 s, whatever the sum of floats says
    assert not (made.value == first).any()


def test_hold_times_are_drawn_within_their_range() -> None:
    made = command(hold=(0.1, 0.2), standing=0.0)
    first, held = made.value, torch.zeros(MANY)
    for _ in range(10):
        made.step(0.02)
        held += (made.value == first).all(-1)
    assert held.min() == 4
    assert held.max() == 9


def test_only_the_masked_environments_are_asked_for_something_else() -> None:
    made = command(4, standing=0.0)
    before = made.value
    made.reset(torch.tensor([False, True, False, True]))
    assert (made.value == before).all(-1).tolist() == [True, False, True, False]


def test_the_range_widens_with_the_share() -> None:
    made = command(high=(1.0, 0.6, 1.0), standing=0.0)
    made.widen(torch.tensor(0.5))
    before = made.value
    assert torch.equal(made.value, before)  # what is in force stays
    made.reset(torch.ones(MANY, dtype=torch.bool))
    high = made.value.abs().amax(0)
    assert (high <= torch.tensor([0.5, 0.3, 0.5])).all()
    assert (high > 0.99 * torch.tensor([0.5, 0.3, 0.5])).all()
    assert made.high == (1.0, 0.6, 1.0)


def test_a_snapshot_brings_back_command_time_and_share() -> None:
    made = command(8, hold=(0.1, 0.1), standing=0.0)
    made.widen(torch.tensor(0.5))
    made.step(0.06)
    saved = {name: value.clone() for name, value in made.snapshot().items()}
    other = command(8, seed=5, hold=(9.0, 9.0))
    other.restore(saved)
    assert torch.equal(other.value, made.value)
    other.step(0.04)
    assert not (other.value == made.value).any()
    assert other.value[:, 0].abs().max() <= 0.5
