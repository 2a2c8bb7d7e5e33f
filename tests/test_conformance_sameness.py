"""What must be the same, bit for bit where a backend promises it: resets, seeds, snapshots."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conformance import (
    Backend,
    assert_equal,
    assert_same,
    close,
    cube,
    each,
    everywhere,
    physical,
    place,
    rows,
    simulate,
    wander,
    with_physics,
)
from tutelage.assets.toy import toy
from tutelage.envs.sim.protocol import Field


@everywhere
def test_a_reset_touches_only_the_masked_environments(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path), 4)
    place(sim, (0, 0, 0.3))
    wander(sim, 10)
    others, before, saved = ~rows(sim, 1), physical(sim.state), sim.snapshot()
    wander(sim, 10, seed=1)
    undisturbed = physical(sim.state)
    sim.restore(saved)
    place(sim, (0, 0, 3), mask=~others)
    assert_equal(physical(sim.state), before, others)
    close(sim.state.root_pos_w[1], [0, 0, 3], tol=1e-6)
    wander(sim, 10, seed=1)
    if backend.exact:
        assert_equal(physical(sim.state), undisturbed, others)


@everywhere
def test_the_same_actions_give_the_same_trajectory_bit_for_bit(
    backend: Backend, tmp_path: Path
) -> None:
    if not backend.exact:
        pytest.skip(f"{backend.name} does not promise the same bits")
    ends = []
    for _ in range(2):
        sim = simulate(backend, toy(), 3)
        place(sim, (0, 0, 0.1))
        wander(sim, 25)
        ends.append(physical(sim.state))
    assert_equal(ends[0], ends[1])


@everywhere
def test_the_future_of_a_snapshot_is_the_same_here_and_in_a_new_simulator(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, toy(), 3)
    place(sim, (0, 0, 0.1))
    sim.randomise(Field.KP, rows(sim, 1), each(sim, 0.8, 1.1))
    sim.randomise(Field.ACTION_DELAY, rows(sim, 0, 2), each(sim, 3.0))
    sim.wrench(rows(sim, 2), each(sim, 1, 0, 0), each(sim, 0, 0, 0))
    wander(sim, 10)
    saved, before = sim.snapshot(), physical(sim.state)
    wander(sim, 20, seed=1)
    after = physical(sim.state)
    for again in (sim, simulate(backend, toy(), 3)):
        again.restore(saved)
        assert_same(backend, physical(again.state), before)
        wander(again, 20, seed=1)
        assert_same(backend, physical(again.state), after)


@everywhere
def test_a_restore_undoes_what_was_randomised_since(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, toy(), 3)
    place(sim, (0, 0, 0.1))
    saved = sim.snapshot()
    wander(sim, 20)
    after = physical(sim.state)
    sim.randomise(Field.FRICTION, rows(sim), each(sim, 0.1))
    sim.randomise(Field.KP, rows(sim), each(sim, 0.5, 0.5))
    sim.randomise(Field.GRAVITY, rows(sim), each(sim, 0.0, 0.0, -5.0))
    sim.restore(saved)
    wander(sim, 20)
    assert_same(backend, physical(sim.state), after)
    sim.randomise(Field.KD, rows(sim), each(sim, 1.0, 1.0))  # must not bring the lost KP back
    sim.restore(saved)
    sim.randomise(Field.KD, rows(sim), each(sim, 1.0, 1.0))
    wander(sim, 20)
    assert_same(backend, physical(sim.state), after)


@everywhere
def test_a_snapshot_does_not_change_when_the_simulator_moves_on(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, cube(tmp_path))
    place(sim, (0, 0, 3))
    saved = sim.snapshot()
    copies = {name: value.clone() for name, value in saved.items()}
    wander(sim, 3)
    for name, value in saved.items():
        assert torch.equal(value, copies[name]), name


@everywhere
def test_a_thousand_random_actions_leave_the_state_finite(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, toy(), 2)
    place(sim, (0, 0, 0.1))
    wander(sim, 1000)
    assert not sim.state.faulty.any()
    for name, value in physical(sim.state).items():
        assert value.isfinite().all(), name


@with_physics
def test_a_broken_environment_is_reported_and_harms_no_other(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings to the working folder
    ends = []
    for broken in (False, True):
        sim = simulate(backend, toy(), 3)
        place(sim, (0, 0, 0.1))
        wander(sim, 5)
        if broken:
            bad = each(sim, float("nan"), 0.0)
            pose = each(sim, 0, 0, 0.1, 1, 0, 0, 0)
            sim.reset(rows(sim, 1), pose, each(sim, *[0.0] * 6), bad, torch.zeros_like(bad))
        wander(sim, 5, seed=1)
        ends.append(physical(sim.state))
        others = ~rows(sim, 1)
    joints = ends[1]["joint_pos"][1]
    assert ends[1]["faulty"].tolist()[1] or not joints.isfinite().all()
    assert_equal(ends[0], ends[1], others)
    place(sim, (0, 0, 0.1), mask=~others)
    wander(sim, 5)
    assert not sim.state.faulty.any()
    assert sim.state.joint_pos.isfinite().all()
