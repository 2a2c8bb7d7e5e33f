"""The facts that every Simulator must get right, each computable by hand."""

from __future__ import annotations

from math import atan, cos, pi, sin
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conformance import (
    DT,
    ROLL_90,
    YAW_90,
    Backend,
    G,
    arms,
    backends,
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
from tutelage.envs.rotations import rotate
from tutelage.envs.sim.protocol import Field, HeightScan, RigidObject, Scene, Simulator
from tutelage.envs.terrain import Terrain, height_at

SAG = [0.1 * G * 0.2 / 10.0, 0.2 * G * 0.2 / 10.0]
"""How far below their command the horizontal arms settle: m g l / kp [rad]"""


def velocity_w(sim: Simulator) -> Tensor:
    return rotate(sim.state.root_quat_w, sim.state.lin_vel_b)


@pytest.mark.parametrize("name", backends())
def test_a_backend_is_tested_here(name: str) -> None:
    backend = backends()[name]
    if isinstance(backend, str):
        pytest.skip(f"backend {name} is not tested here: {backend}")
    assert backend.name == name


# ---------------------------------------------------------------- statics and frames


@everywhere
def test_a_falling_cube_loses_g_t(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    place(sim, (0, 0, 20))
    sim.step(rest(sim), 100)
    close(velocity_w(sim), [[0, 0, -G * 0.5]] * 3, tol=1e-3)
    # Semi-implicit Euler: g dt² n (n + 1) / 2, 1 % more than g t² / 2.
    close(sim.state.root_pos_w[:, 2], [20 - G * DT**2 * 100 * 101 / 2] * 3, tol=2e-2)


@everywhere
def test_a_cube_at_rest_carries_m_g_and_reports_contact(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path, feet=("base",)))
    place(sim, (0, 0, 0.1))
    sim.step(rest(sim), 200)
    close(sim.state.foot_force_w[:, 0], [[0, 0, 2 * G]] * 3, tol=0.05)
    assert sim.state.foot_contact.all()
    close(sim.state.root_pos_w, [[0, 0, 0.1]] * 3, tol=3e-3)


@with_physics
def test_a_cube_in_the_air_touches_nothing(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path, feet=("base",)))
    place(sim, (0, 0, 2))
    sim.step(rest(sim), 4)
    assert not sim.state.foot_contact.any()
    assert not sim.state.foot_force_w.any()
    assert not sim.state.link_force.any()


@with_physics
def test_the_force_on_a_link_is_the_size_of_its_contact_force(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, cube(tmp_path))
    place(sim, (0, 0, 0.1))
    sim.step(rest(sim), 200)
    close(sim.state.link_force, [[2 * G]] * 3, tol=0.05)


@everywhere
def test_a_90_degree_roll_gives_gravity_along_minus_y(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    place(sim, (0, 0, 5), ROLL_90)
    close(sim.state.gravity_b, [[0, -1, 0]] * 3, tol=1e-6)
    close(sim.state.root_quat_w, [list(ROLL_90)] * 3, tol=1e-6)


@everywhere
def test_velocities_come_in_the_base_frame(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    place(sim, (0, 0, 5), YAW_90, velocity=(1, 2, 3, 0.1, 0.2, 0.3))
    close(sim.state.lin_vel_b, [[2, -1, 3]] * 3, tol=1e-5)
    close(sim.state.ang_vel_b, [[0.2, -0.1, 0.3]] * 3, tol=1e-5)


# ---------------------------------------------------------------- joints


@everywhere
def test_a_commanded_joint_settles_at_its_command(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, arms(tmp_path))
    place(sim, (0, 0, 0))
    sim.step(each(sim, pi / 2, pi / 2), 800)
    close(sim.state.joint_pos, [[pi / 2, pi / 2]] * 3, tol=1e-3)
    close(sim.state.joint_vel, [[0, 0]] * 3, tol=1e-3)


@with_physics
def test_a_horizontal_arm_sags_by_its_weight_over_its_gain(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, arms(tmp_path))
    place(sim, (0, 0, 0))
    sim.step(each(sim, -SAG[0], -SAG[1]), 800)
    close(sim.state.joint_pos, [[0, 0]] * 3, tol=1e-3)
    close(sim.state.joint_torque, [[-0.1962, -0.3924]] * 3, tol=1e-3)


@everywhere
def test_joints_and_feet_come_in_the_robot_s_order_whatever_the_xml_s(
    backend: Backend, tmp_path: Path
) -> None:
    found = []
    for order in (("left", "right"), ("right", "left")):
        sim = simulate(backend, arms(tmp_path, order))
        place(sim, (0, 0, 0))
        sim.step(each(sim, 0.3, -0.4), 7)
        found.append(physical(sim.state))
        assert (sim.state.joint_pos[:, 0] > 0.03).all()
        assert (sim.state.joint_pos[:, 1] < -0.03).all()
    for name in ("joint_pos", "joint_vel", "joint_torque", "foot_pos_w", "foot_vel_w"):
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-5, rtol=0)


@with_physics
def test_feet_are_where_the_robot_has_them(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, arms(tmp_path, ("right", "left")))
    place(sim, (0, 0, 0))
    close(sim.state.foot_pos_w[0], [[0, 0.3, 1], [0, -0.3, 1]], tol=1e-5)


@everywhere
def test_a_torque_never_exceeds_the_motor_s_effort(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, arms(tmp_path))
    place(sim, (0, 0, 0))
    sim.step(each(sim, 1.0, -1.0), 1)  # kp = 10 N·m/rad asks for 10 N·m
    close(sim.state.joint_torque, [[3, -3]] * 3, tol=1e-5)


@everywhere
def test_a_delay_of_k_arrives_exactly_k_physics_steps_late(
    backend: Backend, tmp_path: Path
) -> None:
    delays = [0, 1, 3, 8]
    sim = simulate(backend, arms(tmp_path), 4)
    weightless(sim)
    sim.randomise(Field.ACTION_DELAY, rows(sim), torch.tensor(delays).float()[:, None])
    place(sim, (0, 0, 0))
    arrived = []
    for step in range(12):
        # The sign of the command changes in every step: its age is told by the torque's sign.
        sim.step(each(sim, *([1.0 if step % 2 == 0 else -1.0] * 2)), 1)
        arrived.append(sim.state.joint_torque[:, 0].clone())
    for env, delay in enumerate(delays):
        torques = [float(torque[env]) for torque in arrived]
        assert torques[:delay] == pytest.approx([0.0] * delay, abs=1e-6)
        assert torques[delay] == pytest.approx(3.0)
        assert torques[delay + 1] < 0


@everywhere
def test_a_delay_counts_physics_steps_within_a_control_step(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, arms(tmp_path), 2)
    weightless(sim)
    sim.randomise(Field.ACTION_DELAY, rows(sim), torch.tensor([[3.0], [4.0]]))
    place(sim, (0, 0, 0))
    sim.step(each(sim, 1.0, 1.0), 4)
    close(sim.state.joint_torque[:, 0], [3, 0], tol=1e-5)


@everywhere
def test_a_reset_forgets_commands_on_their_way(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, arms(tmp_path), 2)
    weightless(sim)
    sim.randomise(Field.ACTION_DELAY, rows(sim), each(sim, 5.0))
    place(sim, (0, 0, 0))
    sim.step(each(sim, 1.0, 1.0), 3)
    place(sim, (0, 0, 0), mask=rows(sim, 1))
    sim.step(rest(sim), 3)
    assert sim.state.joint_torque[0].abs().min() > 1
    close(sim.state.joint_torque[1], [0, 0], tol=1e-6)


# ---------------------------------------------------------------- pushes and wrenches


@everywhere
def test_a_push_adds_exactly_its_velocity(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    weightless(sim)
    place(sim, (0, 0, 5), YAW_90, velocity=(0.5, 0, 0, 0, 0, 0))
    sim.push(rows(sim, 1), each(sim, 1, 2, 3, 0, 0, 0.4))
    sim.step(rest(sim), 1)
    close(velocity_w(sim), [[0.5, 0, 0], [1.5, 2, 3], [0.5, 0, 0]], tol=1e-4)
    close(sim.state.ang_vel_b, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, 0.0]], tol=1e-4)


@everywhere
def test_a_force_accelerates_by_f_over_m_until_it_is_changed(
    backend: Backend, tmp_path: Path
) -> None:
    sim = simulate(backend, cube(tmp_path))
    weightless(sim)
    place(sim, (0, 0, 5), YAW_90)
    sim.wrench(rows(sim, 1, 2), each(sim, 4, 0, 0), each(sim, 0, 0, 0))
    sim.step(rest(sim), 50)
    sim.step(rest(sim), 50)
    close(velocity_w(sim), [[0, 0, 0], [1, 0, 0], [1, 0, 0]], tol=1e-4)
    sim.wrench(rows(sim, 1), each(sim, 0, 0, 0), each(sim, 0, 0, 0))
    sim.step(rest(sim), 100)
    close(velocity_w(sim), [[0, 0, 0], [1, 0, 0], [2, 0, 0]], tol=1e-4)


@with_physics
def test_a_torque_turns_by_its_size_over_the_inertia(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    weightless(sim)
    place(sim, (0, 0, 5))
    sim.wrench(rows(sim), each(sim, 0, 0, 0), each(sim, 0, 0, 0.02))
    sim.step(rest(sim), 100)
    close(sim.state.ang_vel_b, [[0, 0, 0.5]] * 3, tol=1e-3)


@everywhere
def test_a_reset_ends_a_wrench(backend: Backend, tmp_path: Path) -> None:
    sim = simulate(backend, cube(tmp_path))
    weightless(sim)
    place(sim, (0, 0, 5))
    sim.wrench(rows(sim), each(sim, 4, 0, 0), each(sim, 0, 0, 0))
    place(sim, (0, 0, 5), mask=rows(sim, 2))
    sim.step(rest(sim), 100)
    close(velocity_w(sim)[:, 0], [1, 1, 0], tol=1e-4)


# ---------------------------------------------------------------- ground


def on_a_slope(backend: Backend, folder: Path, *, ball: bool) -> tuple[Simulator, float]:
    """A cube or a ball on the side of a hill that falls by 0.45 in 1 along x; the slope's angle."""
    terrain = Terrain(kinds=("slope_down",), rows=2, columns=1, border=4.0)
    robot = cube(folder, feet=("base",), ball=ball)
    sim = backend.make(Scene(robot=robot, terrain=terrain, dt=DT), 2)
    sim.randomise(Field.FRICTION, rows(sim), each(sim, 0.0 if ball else 1.2))
    slope, half = atan(0.45), 0.1
    x, y = float(sim.origins[1, 0, 0]) + 1.6, float(sim.origins[1, 0, 1])
    ground = float(height_at(terrain.generate(), torch.tensor([x, y])))
    pose = (x + half * sin(slope), y, ground + half * cos(slope))
    place(sim, pose, (cos(slope / 2), 0, sin(slope / 2), 0))
    return sim, slope


@with_physics
def test_without_friction_the_force_on_a_slope_is_m_g_cos_along_the_normal(
    backend: Backend, tmp_path: Path
) -> None:
    sim, slope = on_a_slope(backend, tmp_path, ball=True)
    sim.step(rest(sim), 60)
    size = 2 * G * cos(slope)
    force = [size * sin(slope), 0.0, size * cos(slope)]
    close(sim.state.foot_force_w[:, 0], [force] * 2, tol=0.4)
    sliding = velocity_w(sim)[:, 0]
    close(sliding, [G * sin(slope) * cos(slope) * 60 * DT] * 2, tol=0.05)


@with_physics
def test_with_friction_the_force_on_a_slope_holds_the_weight(
    backend: Backend, tmp_path: Path
) -> None:
    sim, _ = on_a_slope(backend, tmp_path, ball=False)
    sim.step(rest(sim), 200)
    close(sim.state.foot_force_w[:, 0], [[0, 0, 2 * G]] * 2, tol=0.8)


@everywhere
def test_a_scan_reads_the_height_above_the_ground_that_is_there(
    backend: Backend, tmp_path: Path
) -> None:
    terrain = Terrain(kinds=("stairs_down",), rows=2, columns=1, border=2.0)
    scene = Scene(
        robot=cube(tmp_path), terrain=terrain, dt=DT, sensors={"scan": HeightScan(size=(4.0, 0.0))}
    )
    sim = backend.make(scene, 2)
    x, y, z = (float(value) for value in sim.origins[1, 0])
    place(sim, (x, y, z + 0.5), YAW_90)
    found = sim.sense("scan")
    # Forty-one points 0.1 m apart along the heading. The stairs begin 1 m from the middle, drop by
    # 0.16 m over one cell and again 0.3 m further on.
    assert found.shape == (2, 41)
    close(found[:, [0, 6, 8, 20, 32, 34, 40]], [[0.98, 0.66, 0.5, 0.5, 0.5, 0.66, 0.98]] * 2)
    with pytest.raises(KeyError, match=r"'eye'.*scan"):
        sim.sense("eye")


@with_physics
def test_objects_start_at_their_poses_and_fall_beside_the_robot(
    backend: Backend, tmp_path: Path
) -> None:
    ball = tmp_path / "ball.xml"
    ball.write_text(
        "<mujoco><worldbody><body name='ball'><freejoint/><geom size='0.1' mass='1'/></body>"
        "</worldbody></mujoco>"
    )
    objects = tuple(
        RigidObject(name=name, mjcf=str(ball), pose=(x, 0, 5, 1, 0, 0, 0))
        for name, x in (("b", 2.0), ("a", 3.0))
    )
    sim = backend.make(Scene(robot=cube(tmp_path), objects=objects, dt=DT), 2)
    place(sim, (0, 0, 5))
    close(sim.state.object_pose_w[1], [[2, 0, 5, 1, 0, 0, 0], [3, 0, 5, 1, 0, 0, 0]], tol=1e-6)
    sim.step(rest(sim), 20)
    close(sim.state.object_vel_w[0, :, 2], [-G * 0.1] * 2, tol=1e-3)
    place(sim, (0, 0, 5), mask=rows(sim, 0))
    close(sim.state.object_pose_w[:, 0, 2], [5, 5 - G * DT**2 * 20 * 21 / 2], tol=1e-3)
