"""Whole episodes in the kernel, held to the torch rules and to draws made in plain Python."""

from __future__ import annotations

from dataclasses import replace
from math import cos, log, pi, sin, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.envs.quadrotor_sets import RAPTOR
from tutelage.envs.quadrotors import Quadrotors
from tutelage.envs.sim import rotor_model, rotor_rules
from tutelage.envs.sim.rotor_model import Air, Craft
from tutelage.envs.sim.rotor_rules import Limits, Reward, Rules, Start
from tutelage.envs.sim.rotors import Flights, Rotors

DOUBLE = torch.float64
COUNT = 40  # a tile and a part of one


def philox(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x32-10 as published, in Python's whole numbers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k[0], second & 0xFFFFFFFF,
             first >> 32 ^ c[3] ^ k[1], first & 0xFFFFFFFF]  # fmt: skip
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return tuple(c)


def first_state(env: int, episode: int, seed: int, box: float, std: float) -> list[float]:
    """State (17) and force (3) with which RAPTOR's rules begin an episode."""
    key = (seed & 0xFFFFFFFF, seed >> 32)
    u = [[(word >> 8) / 2**24 for word in philox((env, episode, block, 0), key)]
         for block in range(6)]  # fmt: skip
    thrown = 0.0 if u[0][0] < 0.1 else 1.0

    def spread(x: float) -> float:
        return thrown * (2 * x - 1)

    level, half, turn = 2 * u[1][1] - 1, thrown * u[1][2] / 2, 2 * pi * u[1][0]
    out = sqrt(1 - level**2) * sin(half)
    radius = sqrt(-2 * log(1 - u[4][2]))
    third = sqrt(-2 * log(1 - u[5][0])) * cos(2 * pi * u[5][1])
    return [
        *(box * spread(x) for x in u[0][1:]),
        cos(half), out * cos(turn), out * sin(turn), level * sin(half),
        *(spread(x) for x in (*u[2], *u[3][:2])),
        *(0.5 * x for x in (*u[3][2:], *u[4][:2])),
        std * radius * cos(2 * pi * u[4][3]), std * radius * sin(2 * pi * u[4][3]), std * third,
    ]  # fmt: skip


def quads(count: int = COUNT) -> Quadrotors:
    return RAPTOR.sample(count, 2)


def actions(count: int, number: int) -> Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(number)) * 2 - 1


def test_the_counting_generator_is_philox() -> None:
    """Known answers of Random123 1.09 (kat_vectors), for the twin that the kernel is held to."""
    assert philox((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    pi_digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    answer = (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    assert philox(pi_digits, (0xA4093822, 0x299F31D0)) == answer


def test_episodes_start_from_the_draws_that_their_counter_names() -> None:
    seed, group = 5 * 2**32 + 17, quads()
    flights = Flights(group, seed=seed, dtype=DOUBLE)
    for episode in (1, 2):
        found = torch.cat((flights.state, flights.air[:, :3]), dim=-1)
        expected = [
            first_state(env, episode, seed, 0.5, float(group.force_std[env]))
            for env in range(COUNT)
        ]
        torch.testing.assert_close(found, torch.tensor(expected, dtype=DOUBLE))
        flights.reset()


def test_starts_follow_their_law() -> None:
    x = Flights(RAPTOR.sample(20_000, 0), seed=1).state.to(DOUBLE)
    at_rest = (x[:, :3] == 0).all(-1)
    assert at_rest.double().mean().item() == pytest.approx(0.1, abs=0.007)
    thrown = x[~at_rest]
    assert thrown[:, :3].abs().max() <= 0.5
    assert thrown[:, 7:13].std(0).tolist() == pytest.approx([1 / sqrt(3)] * 6, abs=0.01)
    angle = 2 * torch.acos(thrown[:, 3].clamp(max=1.0))
    assert angle.mean().item() == pytest.approx(0.5, abs=0.01)
    axis = torch.nn.functional.normalize(thrown[:, 4:7], dim=-1)
    assert axis.square().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.01)
    assert x[:, 13:].mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.005)


def test_the_first_last_action_would_have_held_the_rotors() -> None:
    obs = Flights(quads(), dtype=DOUBLE).reset()
    torch.testing.assert_close(obs[:, 18:22], obs[:, 22:26])


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "parallel"])
def test_a_control_step_is_the_torch_rules_one_after_another(parallel: bool) -> None:
    group, rules = quads(), Rules(horizon=30)
    flights = Flights(group, rules=rules, dtype=DOUBLE, parallel=parallel)
    target = torch.randn(COUNT, 6, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) * 0.1
    flights.aim(target)
    craft, reach = Craft.of(group, DOUBLE), torch.from_numpy(group.reach)
    obs, ends = flights.reset().clone(), 0
    for number in range(60):
        x, last, steps = flights.state, obs[:, 18:22], flights.steps.clone()
        air, action = Air(*flights.air.split(3, dim=-1)), actions(COUNT, number).to(DOUBLE)
        outcome = flights.step(action)
        x = rotor_model.step(x, action, craft, air)
        fallen = rotor_rules.fallen(x, reach, target, rules.limits)
        pay = rotor_rules.reward(x, action, last, target, rules.reward)
        torch.testing.assert_close(outcome.reward, torch.where(fallen, -100.0, pay))
        assert torch.equal(outcome.fallen, fallen)
        assert torch.equal(outcome.late, ~fallen & (steps == 29))
        over = outcome.fallen | outcome.late
        assert torch.equal(flights.steps, torch.where(over, 0, steps + 1).int())
        shown = torch.where(over[:, None], flights.state, x)
        held = torch.where(over[:, None], outcome.obs[:, 22:26], action)
        torch.testing.assert_close(outcome.obs, rotor_model.observe(shown, held, target))
        obs, ends = outcome.obs.clone(), ends + int(over.sum())
    assert ends > COUNT


def test_single_precision_pays_the_same_to_six_digits() -> None:
    group, pay = quads(), []
    for dtype in (torch.float32, DOUBLE):
        flights = Flights(group, dtype=dtype, again=False)
        pay.append(flights.step(actions(COUNT, 0).to(dtype)).reward.double())
    torch.testing.assert_close(pay[0], pay[1], atol=2e-6, rtol=0)


def level_flight(rules: Rules) -> Flights:
    """One quadrotor at the origin, at rest, without disturbance, that never starts again."""
    return Flights(quads(1), rules=rules, dtype=DOUBLE, again=False)


def test_pay_is_what_it_says_on_numbers_by_hand() -> None:
    start = Start(guidance=1.0, force=0.0)
    flights = level_flight(Rules(start=start, reward=Reward(position=2.0), dt=1e-9))
    x = flights.state
    x[0, :3] = torch.tensor([0.3, 0.0, 0.4])
    x[0, 3:7] = torch.tensor([0.0, 0.0, 0.6, 0.8])
    flights.put(torch.ones(1, dtype=torch.bool), x)
    last = 2 * x[0, 13:] - 1
    outcome = flights.step((last + torch.tensor([0.1, -0.1, 0.1, -0.1]))[None].clamp(-1, 1))
    change = ((last + torch.tensor([0.1, -0.1, 0.1, -0.1])).clamp(-1, 1) - last).norm().item()
    expected = 1.5 - 2 * 0.5 - 0.2 * np.arccos(1 - 0.8) - change
    assert outcome.reward.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("row", "inside", "outside"), [(0, 0.99, 1.01), (8, 1.99, 2.01)])
def test_an_episode_ends_beyond_a_limit_and_not_before(
    row: int, inside: float, outside: float
) -> None:
    reach = float(quads(1).reach[0])
    rules = Rules(start=Start(guidance=1.0, force=0.0), limits=Limits(reaches=1 / reach), dt=1e-9)
    for value, fallen in ((inside, False), (-inside, False), (outside, True), (-outside, True)):
        flights = level_flight(rules)
        x = flights.state
        x[0, row] = value
        flights.put(torch.ones(1, dtype=torch.bool), x)
        assert flights.step(torch.zeros(1, 4, dtype=DOUBLE)).fallen.tolist() == [fallen]


def test_a_number_that_is_none_ends_its_episode_and_no_other() -> None:
    flights = Flights(quads(), dtype=torch.float32)
    action = torch.zeros(COUNT, 4)
    action[7, 2] = float("nan")
    outcome = flights.step(action)
    assert outcome.fallen.nonzero().flatten().tolist() == [7]
    assert outcome.reward[7] == -100.0
    assert outcome.obs.isfinite().all()
    assert flights.state.isfinite().all()


def test_reset_touches_only_the_masked() -> None:
    flights = Flights(quads(), dtype=DOUBLE)
    flights.step(actions(COUNT, 0).to(DOUBLE))
    before, mask = flights.state, torch.arange(COUNT) % 3 == 0
    flights.reset(mask)
    assert torch.equal(flights.state[~mask], before[~mask])
    assert (flights.state[mask] != before[mask]).any(-1).all()
    assert (flights.steps == (~mask).int()).all()


def test_put_blow_and_refit_touch_only_the_masked() -> None:
    group, mask = quads(), torch.arange(COUNT) == 35
    rotors, changed = Rotors(group, dtype=DOUBLE), Rotors(group, dtype=DOUBLE)
    changed.refit(mask, replace(group, mass=group.mass * 2))
    air = torch.zeros(COUNT, 9, dtype=DOUBLE)
    air[:, 0] = 1.0
    changed.blow(mask, air)
    for flown in (rotors, changed):
        flown.step(torch.ones(COUNT, 4, dtype=DOUBLE))
    difference = (rotors.state != changed.state).any(-1)
    assert difference.nonzero().flatten().tolist() == [35]
    gained = changed.state[35, 7].item()
    assert gained == pytest.approx(0.01 / (2 * float(group.mass[35])))


def fly(flights: Flights, steps: range) -> Tensor:
    """Observations of each step. (T, N, 26)"""
    return torch.stack([flights.step(actions(COUNT, t)).obs.clone() for t in steps])


def test_the_same_seed_flies_the_same_whatever_the_threads_and_the_neighbours() -> None:
    first = fly(Flights(quads(), seed=3), range(80))
    assert torch.equal(first, fly(Flights(quads(), seed=3), range(80)))
    assert torch.equal(first, fly(Flights(quads(), seed=3, parallel=True), range(80)))
    assert not torch.equal(first, fly(Flights(quads(), seed=4), range(80)))
    few = Flights(quads()[:5], seed=3)
    alone = torch.stack([few.step(actions(COUNT, t)[:5]).obs.clone() for t in range(80)])
    assert torch.equal(first[:, :5], alone)


def test_a_snapshot_brings_back_the_future_bit_for_bit() -> None:
    flights = Flights(quads(), seed=3)
    fly(flights, range(40))
    kept = flights.snapshot()
    future = fly(flights, range(40, 120))
    other = Flights(quads(), seed=3)
    other.restore(kept)
    assert torch.equal(fly(other, range(40, 120)), future)


def test_wrong_input_is_refused_by_name() -> None:
    flights = Flights(quads())
    with pytest.raises(ValueError, match=r"actions are \(3, 4\), not \(40, 4\)"):
        flights.step(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"dtype is torch\.float16"):
        Rotors(quads(), dtype=torch.float16)
    with pytest.raises(ValueError, match="seed is -1"):
        Flights(quads(), seed=-1)
    with pytest.raises(ValueError, match="the snapshot holds"):
        flights.restore({"state": torch.zeros(1)})
