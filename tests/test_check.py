"""The independent check: its physics by hand, its judgement by hand, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from tests import stub_policy
from tutelage.assets import ROBOTS
from tutelage.sim2real import check_episode, metrics, scene, terrain
from tutelage.sim2real import scenario as scenarios
from tutelage.sim2real.check import CheckResult, check
from tutelage.sim2real.check_episode import Motors, World
from tutelage.sim2real.metrics import EpisodeResult, wilson
from tutelage.sim2real.runtime import Policy
from tutelage.sim2real.scenario import Episode, Ground, Physics, Push, Segment, Thresholds
from tutelage.sim2real.trace import Floats, Trace

GO2, TOY = ROBOTS["go2"](), ROBOTS["toy"]()
GO2_CONTRACT, TOY_CONTRACT = stub_policy.contract(GO2, ""), stub_policy.contract(TOY, "")
PHYSICS = Physics()
STILL = Episode(
    name="still", group="flat", duration=1.0, segments=(Segment(at=0.0, command=(0.0, 0.0, 0.0)),)
)
DT = 0.02
COURSE = replace(
    scenarios.load("quadruped"),
    episodes=tuple(replace(e, duration=4.0) for e in scenarios.load("quadruped").episodes),
)
"""The quadruped's course, every episode cut short, as tests must be."""


@pytest.fixture(scope="module")
def stander(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stub_policy.write(tmp_path_factory.mktemp("stander") / "policy.onnx", GO2)


@pytest.fixture(scope="module")
def standing(stander: Path) -> CheckResult:
    """A robot that stands still whatever it is asked to do."""
    names = ["step forward", "step turn-left", "stand", "push 90"]
    gates = [("success", 0.9, 1.0), ("falls", 0.0, 0.02)]
    return check(stander, COURSE, episodes=names, gates=gates, workers=2)


def toy_world(episode: Episode) -> World:
    built = scene.build(TOY_CONTRACT, TOY.path, episode, PHYSICS)
    return World(TOY_CONTRACT, built, episode, PHYSICS)


def a_trace(velocity: Floats, command: Floats, fall: str = "") -> Trace:
    """A toy's trace with the given (T, 3) velocities and commands, nothing else happening."""
    n = len(velocity)
    return Trace(
        time=DT * np.arange(n, dtype=np.float64), command=command, velocity=velocity,
        joint_pos=np.zeros((n, 2)), joint_vel=np.zeros((n, 2)), torque=np.zeros((n, 2)),
        target=np.zeros((n, 2)), power=np.full(n, 12.0), contact=np.ones((n, 2), dtype=bool),
        height=np.full(n, 0.08), tilt=np.zeros(n), push=np.zeros(n, dtype=bool),
        qpos=np.zeros((n, 9)), fall=fall, mass=1.2,
    )  # fmt: skip


def judged(speed: float, asked: float, fall: str = "") -> EpisodeResult:
    """One second of walking at `speed` [m/s] where `asked` was wanted."""
    rows = np.tile([speed, 0.0, 0.0], (50, 1)), np.tile([asked, 0.0, 0.0], (50, 1))
    return metrics.episode_result(a_trace(*rows, fall), STILL, TOY_CONTRACT, Thresholds(), False)


def test_a_motor_follows_its_gains_and_keeps_to_its_limits() -> None:
    one = np.ones(1)
    motor = Motors(
        kp=20 * one, kd=0.5 * one, effort=10 * one, speed=20 * one, rest=0 * one, strength=0.9,
        knee=0.5,
    )  # fmt: skip

    def torque(target: float, vel: float) -> float:
        return float(motor.torque(target * one, 0 * one, vel * one)[0])

    assert torque(0.1, 2.0) == pytest.approx(0.9 * (20 * 0.1 - 0.5 * 2.0))
    assert torque(9.0, 5.0) == pytest.approx(0.9 * 10.0)  # below the knee: all of it
    assert torque(9.0, 15.0) == pytest.approx(0.9 * 5.0)  # half way down the slope
    assert torque(9.0, 25.0) == 0.0  # beyond top speed only braking is left
    assert torque(-9.0, 15.0) == pytest.approx(-0.9 * 10.0)


def test_a_command_reaches_the_motors_after_its_delay() -> None:
    world = toy_world(replace(STILL, action_delay=0.006))  # three steps of 2 ms
    target = world.motors.rest + 0.1
    for step in range(5):
        qpos, qvel = world.data.qpos[world.scene.qpos], world.data.qvel[world.scene.dof]
        acting = target if step >= 3 else world.motors.rest
        expected = world.motors.torque(acting, qpos.copy(), qvel.copy())
        world.advance(target)
        np.testing.assert_array_equal(world.torque, expected)


def test_a_reading_is_as_old_as_the_delay_says() -> None:
    world = toy_world(replace(STILL, sensor_delay=0.01, noise=0.0))  # five steps
    past = []
    for _ in range(12):
        past.append(world.data.qpos[world.scene.qpos].copy())
        world.advance(world.motors.rest + 0.2)
    reading = world.readings(np.zeros(3))["joint_pos"]
    np.testing.assert_array_equal(reading, past[12 - 5])


def test_a_push_delivers_its_impulse_in_its_direction() -> None:
    push = Push(at=0.0, speed=0.5, angle=90.0, lasts=0.1)
    world = toy_world(replace(STILL, pushes=(push,)))
    yaw = world._heading()
    world.data.qpos[2] = 5.0  # in the air, where nothing else pushes
    for tick in range(8):
        world.step(world.motors.rest, tick * DT)
    mujoco.mj_subtreeVel(world.scene.model, world.data)
    momentum = world.data.subtree_linvel[world.scene.base] * world.scene.mass
    size = 0.5 * 1.2  # [N·s]
    expected = size * np.array([-np.sin(yaw), np.cos(yaw)])  # leftward of the heading
    np.testing.assert_allclose(momentum[:2], expected, atol=1e-3 * size)


def test_payload_and_friction_are_those_of_the_episode() -> None:
    loaded = toy_world(replace(STILL, payload=0.5, friction=0.37))
    assert loaded.scene.mass == pytest.approx(1.2 + 0.5)
    for _ in range(50):
        loaded.advance(loaded.motors.rest)
    sliding = loaded.data.contact.dim == 3  # the toy's tail has no friction, whatever the ground
    np.testing.assert_allclose(loaded.data.contact.friction[sliding, 0], 0.37)
    assert sliding.any()


def test_the_step_divides_the_control_period() -> None:
    built = scene.build(TOY_CONTRACT, TOY.path, STILL, replace(PHYSICS, timestep=0.003))
    assert built.substeps == 7
    assert built.model.opt.timestep == pytest.approx(0.02 / 7)


@pytest.mark.parametrize("kind", terrain.KINDS)
def test_the_ground_is_where_its_height_says(kind: str) -> None:
    episode = replace(STILL, ground=Ground(kind=kind, size=0.12))
    built = scene.build(TOY_CONTRACT, TOY.path, episode, PHYSICS)
    data = mujoco.MjData(built.model)
    data.qpos[0] = -8.0  # the robot out of the rays' way
    mujoco.mj_forward(built.model, data)
    hit = np.zeros(1, np.int32)
    for x in (0.0, 0.7, 1.6, 2.2, 3.0, 5.0):
        for y in (0.0, 1.0):
            x, y = round(x / 0.2) * 0.2 + 1e-4, y + 1e-4
            top = np.array([x, y, 9.0])
            down = np.array([0.0, 0.0, -1.0])
            distance = mujoco.mj_ray(built.model, data, top, down, None, 1, -1, hit)
            assert 9.0 - distance == pytest.approx(built.height(x, y), abs=2e-3), (kind, x, y)


def test_an_unknown_ground_names_the_choices() -> None:
    with pytest.raises(ValueError, match="no ground 'lava'; there are flat, rough"):
        toy_world(replace(STILL, ground=Ground(kind="lava")))


def test_wilsons_interval_has_the_published_numbers() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10)[1] == 1.0


def test_errors_do_not_count_while_a_step_settles() -> None:
    episode = replace(STILL, segments=(*STILL.segments, Segment(at=1.0, command=(1.0, 0.0, 0.0))))
    trace = a_trace(np.zeros((100, 3)), np.zeros((100, 3)))
    counted = metrics.counted(trace, episode, settle=0.5)
    assert counted.sum() == 50
    assert not counted[:25].any()
    assert counted[25:50].all()
    assert not counted[50:75].any()


def test_an_episode_succeeds_when_the_robot_tracks_and_survives() -> None:
    assert judged(0.9, 1.0).success
    assert judged(0.9, 1.0).velocity_error == pytest.approx(0.1)
    assert not judged(0.9, 1.0, fall="tilted").success
    assert not judged(0.6, 1.0).success  # 0.4 m/s off, 0.35 allowed
    assert not judged(0.0, 0.3).success  # 0.3 m/s off is within 0.35, but it stands still


def test_cost_of_transport_is_energy_over_weight_and_distance() -> None:
    # 12 W at 0.9 m/s with 1.2 kg
    assert judged(0.9, 1.0).cost_of_transport == pytest.approx(12.0 / (1.2 * 9.81 * 0.9))
    assert judged(0.0, 1.0).cost_of_transport is None


def test_recovery_is_the_time_until_the_error_stays_small() -> None:
    velocity = np.zeros((100, 3))
    velocity[25:55, 0] = 0.8  # pushed at 0.5 s for 0.1 s, calm again from 1.1 s on
    episode = replace(STILL, pushes=(Push(at=0.5, speed=0.5, angle=0.0, lasts=0.1),))
    result = metrics.episode_result(
        a_trace(velocity, np.zeros((100, 3))), episode, TOY_CONTRACT, Thresholds(), False
    )
    assert result.recovery == pytest.approx(0.5)


def test_a_robot_that_stands_still_fails_without_falling(standing: CheckResult) -> None:
    assert standing.status == "done"
    assert {e.name: e.success for e in standing.episodes} == {
        "step forward": False, "step turn-left": False, "stand": True, "push 90": False,
    }  # fmt: skip
    assert all(episode.survived for episode in standing.episodes)
    assert standing.metrics["falls"] == 0.0
    assert standing.metrics["success"] == 0.25
    assert standing.metrics["velocity_error_moving"] > 0.4


def test_a_failed_gate_fails_the_check_and_is_named(standing: CheckResult) -> None:
    assert standing.verdict == "fail"
    assert standing.failing == ("success",)
    assert not standing.passed


def test_processes_give_the_same_numbers_as_one(stander: Path, standing: CheckResult) -> None:
    again = check(stander, COURSE, episodes=["stand", "push 90"], workers=1)
    assert again.episodes == standing.episodes[2:]
    assert again.verdict == "none"


def test_a_robot_that_collapses_has_fallen(tmp_path: Path) -> None:
    weight = np.zeros((stub_policy.size(GO2), 12))
    weight[5, 1::3] = -6.0  # gravity's z is -1: every thigh is driven 1.5 rad forward
    path = stub_policy.write(tmp_path / "policy.onnx", GO2, weight)
    result = check(path, "quadruped", episodes=["stand"], workers=1)
    (episode,) = result.episodes
    assert not episode.survived
    assert not episode.success
    assert result.metrics["falls"] == 1.0
    assert episode.seconds < 10.0


@pytest.mark.filterwarnings("ignore")
def test_physics_that_diverges_is_a_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where MuJoCo would leave its log
    world = toy_world(STILL)
    assert world.fall(False) == ""
    world.data.qvel[0] = np.inf
    world.advance(world.motors.rest)
    assert world.fall(False) == "physics diverged"


def test_permuting_the_targets_joints_leaves_the_actions_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(0.0, 0.02, (stub_policy.size(GO2), 12))
    path = stub_policy.write(tmp_path / "policy.onnx", GO2, weight)
    turned = tmp_path / "turned.xml"
    tree = ET.parse(GO2.path)
    base = next(body for body in tree.iter("body") if body.get("name") == GO2.base)
    legs = base.findall("body")
    for leg in legs:
        base.remove(leg)
    for place in rng.permutation(len(legs)):
        base.append(legs[place])
    tree.write(turned)
    targets, orders = [], []
    for model in (GO2.path, turned):
        built = scene.build(GO2_CONTRACT, model, STILL, PHYSICS)
        policy = Policy(path, joint_order=built.joint_names)
        trace = check_episode.run(policy, GO2_CONTRACT, built, STILL, PHYSICS)
        targets.append(trace.target)
        orders.append(built.joint_names)
    assert orders[0] != orders[1]
    assert np.ptp(targets[0], axis=0).min() > 1e-3
    np.testing.assert_allclose(targets[0], targets[1], atol=1e-6)


def test_a_model_without_one_of_the_joints_is_refused_by_name(
    tmp_path: Path, stander: Path
) -> None:
    other = tmp_path / "other.xml"
    other.write_text(GO2.path.read_text().replace('"FL_calf_joint"', '"left_knee"'))
    with pytest.raises(ValueError, match=r"other\.xml has no joint 'FL_calf_joint'"):
        check(stander, "quadruped", mjcf=other, episodes=["stand"], workers=1)


def test_a_corrupt_policy_gives_no_numbers(tmp_path: Path, stander: Path) -> None:
    damaged = bytearray(stander.read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    path = tmp_path / "damaged.onnx"
    path.write_bytes(bytes(damaged))
    result = check(path, "quadruped:smoke", workers=1, out=tmp_path / "report")
    assert result.status == "failed"
    assert result.reason
    assert not result.metrics
    assert not result.episodes
    assert not result.passed
    assert "Could not be run" in (tmp_path / "report" / "report.html").read_text()


def test_what_is_not_there_is_named_before_anything_runs(tmp_path: Path, stander: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no policy at .*nothing\.onnx"):
        check(tmp_path / "nothing.onnx", "quadruped")
    with pytest.raises(ValueError, match="no metric 'sucess' to gate on"):
        check(stander, "quadruped", gates=[("sucess", 0.0, 1.0)])
    with pytest.raises(ValueError, match="no episode 'stroll'"):
        check(stander, "quadruped", episodes=["stroll"])


def test_commands_out_of_range_are_clipped_and_reported(tmp_path: Path) -> None:
    path = stub_policy.write(tmp_path / "policy.onnx", GO2)
    asked = replace(STILL, segments=(Segment(at=0.0, command=(2.0, 0.0, 0.0)),))
    plan = replace(scenarios.load("quadruped"), episodes=(asked,))
    result = check(path, plan, workers=1)
    assert result.episodes[0].clipped
    assert any("clipped" in warning for warning in result.warnings)
    assert result.traces["still"].command[0].tolist() == [1.0, 0.0, 0.0]


def test_the_check_loads_neither_torch_nor_the_environments() -> None:
    script = (
        "import sys, tutelage.sim2real.check, tutelage.sim2real.report\n"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith('tutelage.envs')]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
