"""Each randomisable Field changes physics as it should, in the masked environment only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conformance import (
    UPRIGHT,
    Backend,
    G,
    arms,
    assert_equal,
    close,
    cube,
    each,
    everywhere,
    physical,
    place,
    rest,
    rows,
    simulate,
    weightless,
    with_physics,
)
from tutelage.assets.robot import Robot
from tutelage.envs.sim.protocol import Field, Simulator

Story = Callable[[Simulator], None]


def compare(
    backend: Backend, robot: Robot, field: Field, values: tuple[float, ...], story: Story
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Environment 1 after the story, as it was and with the field set; the others must not differ.

    The field is set twice, first to something else: what counts is the last value, not the sum.
    """
    ends = []
    for change in (False, True):
        sim = simulate(backend, robot)
        if change:
            sim.randomise(field, rows(sim, 1), each(sim, *[0.5 * value for value in values]))
            sim.randomise(field, rows(sim, 1), each(sim, *values))
        story(sim)
        ends.append(physical(sim.state))
        others = ~rows(sim, 1)
    if backend.exact:
        assert_equal(ends[0], ends[1], others)
    plain, changed = ({name: value[1] for name, value in end.items()} for end in ends)
    return plain, changed


def run(steps: int, *targets: float, gravity: bool = True) -> Story:
    """Joints at rest at first, then commanded for some physics steps."""

    def story(sim: Simulator) -> None:
        if not gravity:
            weightless(sim)
        place(sim, (0, 0, 0.1))
        sim.step(each(sim, *targets) if targets else rest(sim), steps)

    return story


@with_physics
def test_friction_slows_a_sliding_cube_by_mu_g(backend: Backend, tmp_path: Path) -> None:
    def slide(sim: Simulator) -> None:
        place(sim, (0, 0, 0.1), UPRIGHT, (1.0, 0, 0, 0, 0, 0))
        sim.step(rest(sim), 40)

    plain, changed = compare(backend, cube(tmp_path), Field.FRICTION, (0.2,), slide)
    # At 1.0 it stops after 0.1 s; at 0.2 it has 1 - 0.2 * 9.81 * 0.2 s left.
    close(plain["lin_vel_b"][:1], [0.0], tol=0.02)
    close(changed["lin_vel_b"][:1], [1 - 0.2 * G * 0.2], tol=0.03)


@everywhere
def test_added_mass_takes_more_force_to_move(backend: Backend, tmp_path: Path) -> None:
    def pull(sim: Simulator) -> None:
        weightless(sim)
        place(sim, (0, 0, 5))
        sim.wrench(rows(sim), each(sim, 4, 0, 0), each(sim, 0, 0, 0))
        sim.step(rest(sim), 100)

    plain, changed = compare(backend, cube(tmp_path), Field.MASS, (2.0,), pull)
    close(plain["lin_vel_b"], [1, 0, 0], tol=1e-3)
    close(changed["lin_vel_b"], [0.5, 0, 0], tol=1e-3)


@everywhere
def test_added_mass_weighs_on_the_feet(backend: Backend, tmp_path: Path) -> None:
    robot = cube(tmp_path, feet=("base",))
    _, changed = compare(backend, robot, Field.MASS, (2.0,), run(200))
    close(changed["foot_force_w"], [[0, 0, 4 * G]], tol=0.1)


@with_physics
def test_added_mass_brings_its_share_of_inertia(backend: Backend, tmp_path: Path) -> None:
    def turn(sim: Simulator) -> None:
        weightless(sim)
        place(sim, (0, 0, 5))
        sim.wrench(rows(sim), each(sim, 0, 0, 0), each(sim, 0, 0, 0.02))
        sim.step(rest(sim), 100)

    _, changed = compare(backend, cube(tmp_path), Field.MASS, (1.9,), turn)
    # The base's 0.015 doubles with its mass, the wheel's 0.005 stays: 0.02 * 0.5 s / 0.035.
    close(changed["ang_vel_b"], [0, 0, 0.01 / 0.035], tol=2e-3)


@with_physics
def test_a_centre_of_mass_beyond_the_edge_tips_the_cube_over_it(
    backend: Backend, tmp_path: Path
) -> None:
    plain, changed = compare(backend, cube(tmp_path), Field.COM, (0.15, 0.0, 0.0), run(60))
    close(plain["gravity_b"], [0, 0, -1], tol=1e-3)
    assert changed["gravity_b"][0] > 0.1  # nose down: gravity points forward


@with_physics
def test_half_the_position_gain_sags_twice_as_far(backend: Backend, tmp_path: Path) -> None:
    sag = [0.1 * G * 0.2 / 10, 0.2 * G * 0.2 / 10]
    story = run(1500, -2 * sag[0], -2 * sag[1])
    plain, changed = compare(backend, arms(tmp_path), Field.KP, (0.5, 0.5), story)
    close(changed["joint_pos"], [0, 0], tol=2e-3)
    assert (plain["joint_pos"] < -0.01).all()


@with_physics
def test_a_gain_is_set_for_each_joint(backend: Backend, tmp_path: Path) -> None:
    story = run(1500, -0.1 * G * 0.2 / 10, -0.2 * G * 0.2 / 5)
    _, changed = compare(backend, arms(tmp_path), Field.KP, (1.0, 0.5), story)
    close(changed["joint_pos"], [0, 0], tol=2e-3)


@with_physics
def test_a_higher_velocity_gain_approaches_more_slowly(backend: Backend, tmp_path: Path) -> None:
    story = run(40, 0.2, 0.2, gravity=False)
    plain, changed = compare(backend, arms(tmp_path), Field.KD, (4.0, 4.0), story)
    assert (changed["joint_pos"] < 0.7 * plain["joint_pos"]).all()
    assert (changed["joint_pos"] > 0.01).all()


@everywhere
def test_strength_scales_the_torque_and_its_limit(backend: Backend, tmp_path: Path) -> None:
    # kp = 10 N·m/rad, effort 3 N·m: 0.1 rad asks for 1 N·m, 1 rad for more than the limit.
    story = run(1, 0.1, 1.0, gravity=False)
    plain, changed = compare(backend, arms(tmp_path), Field.STRENGTH, (0.5, 0.5), story)
    close(plain["joint_torque"], [1.0, 3.0], tol=1e-4)
    close(changed["joint_torque"], [0.5, 1.5], tol=1e-4)


@with_physics
def test_gains_and_strength_multiply(backend: Backend, tmp_path: Path) -> None:
    def story(sim: Simulator) -> None:
        sim.randomise(Field.KP, rows(sim), each(sim, 0.8, 0.8))
        run(1, 0.1, 0.1, gravity=False)(sim)

    plain, changed = compare(backend, arms(tmp_path), Field.STRENGTH, (0.5, 0.5), story)
    close(plain["joint_torque"], [0.8, 0.8], tol=1e-4)
    close(changed["joint_torque"], [0.4, 0.4], tol=1e-4)


@with_physics
def test_armature_slows_the_start(backend: Backend, tmp_path: Path) -> None:
    story = run(1, 1.0, 1.0, gravity=False)
    plain, changed = compare(backend, arms(tmp_path), Field.ARMATURE, (3.0, 3.0), story)
    # 3 N·m for 5 ms on 0.02 kg·m² + m (0.2 m)² = 0.024 and 0.028; with 0.06: 0.064 and 0.068. A
    # backend that integrates kd implicitly adds up to kd * 5 ms = 0.005 to each.
    for speed, inertias in ((plain, (0.024, 0.028)), (changed, (0.064, 0.068))):
        for value, inertia in zip(speed["joint_vel"].tolist(), inertias, strict=True):
            assert 3 * 0.005 / (inertia + 0.006) < value < 1.01 * 3 * 0.005 / inertia


@with_physics
def test_damping_stops_a_joint(backend: Backend, tmp_path: Path) -> None:
    def swing(sim: Simulator) -> None:
        weightless(sim)
        sim.randomise(Field.KP, rows(sim), each(sim, 0.0, 0.0))
        sim.randomise(Field.KD, rows(sim), each(sim, 0.0, 0.0))
        pose, speed = each(sim, 0, 0, 0, *UPRIGHT), each(sim, 2.0, 2.0)
        sim.reset(rows(sim), pose, each(sim, *[0.0] * 6), rest(sim), speed)
        sim.step(rest(sim), 20)

    plain, changed = compare(backend, arms(tmp_path), Field.DAMPING, (0.1, 0.1), swing)
    close(plain["joint_vel"], [2, 2], tol=1e-3)
    # After 0.1 s: 2 exp(-0.1 * 0.1 / I), within what one step of Euler can be off.
    close(changed["joint_vel"], [2 * 0.6592, 2 * 0.6997], tol=0.05)


@everywhere
def test_gravity_of_the_moon_falls_as_on_the_moon(backend: Backend, tmp_path: Path) -> None:
    def fall(sim: Simulator) -> None:
        place(sim, (0, 0, 20))
        sim.step(rest(sim), 100)

    plain, changed = compare(backend, cube(tmp_path), Field.GRAVITY, (0, 0, -1.62), fall)
    close(plain["lin_vel_b"], [0, 0, -G / 2], tol=1e-3)
    close(changed["lin_vel_b"], [0, 0, -0.81], tol=1e-3)


@everywhere
def test_a_delayed_environment_still_waits_while_others_move(
    backend: Backend, tmp_path: Path
) -> None:
    story = run(4, 0.1, 0.1, gravity=False)
    plain, changed = compare(backend, arms(tmp_path), Field.ACTION_DELAY, (6.0,), story)
    assert (plain["joint_pos"] > 0).all()
    close(changed["joint_pos"], [0, 0], tol=1e-6)


@everywhere
def test_fields_stay_when_an_environment_is_reset(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    sim.randomise(Field.GRAVITY, rows(sim, 1), each(sim, 0, 0, 0))
    place(sim, (0, 0, 5))
    sim.step(rest(sim), 20)
    place(sim, (0, 0, 5))
    sim.step(rest(sim), 20)
    close(sim.state.lin_vel_b[:, 2], [-G * 0.1, 0, -G * 0.1], tol=1e-3)


@everywhere
def test_a_field_changed_in_mid_air_acts_from_the_next_step(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, cube(tmp_path))
    place(sim, (0, 0, 20))
    sim.step(rest(sim), 20)
    sim.randomise(Field.GRAVITY, rows(sim, 2), each(sim, 0, 0, 0))
    sim.step(rest(sim), 20)
    close(sim.state.lin_vel_b[:, 2], [-G * 0.2, -G * 0.2, -G * 0.1], tol=1e-3)


@everywhere
def test_every_field_of_the_protocol_is_served(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, arms(tmp_path))
    missing = {str(field) for field in Field} - sim.supports
    assert not missing, f"{backend.name} does not serve {missing}; a task that asks is refused"


@everywhere
def test_a_delay_that_cannot_be_kept_is_refused_with_its_value(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, arms(tmp_path))
    with pytest.raises(ValueError, match=r"1000.*8"):
        sim.randomise(Field.ACTION_DELAY, rows(sim), torch.full((3, 1), 1000.0))
