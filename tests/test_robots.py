"""The registry of robots: what each says of itself is what its model holds, and it stands."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import mujoco
import numpy as np
import pytest

from tutelage.assets import ROBOTS, Robot, load_outside_robots, robot

NAMES = tuple(ROBOTS)

SAG = {
    # Metres that a robot may sink into its rest pose under its own weight. Statics, Go2: a foot
    # carries 15.019 · 9.81 / 4 = 37 N at 0.137 m from the knee, 5.0 N·m, which at 40 N·m/rad is
    # 0.13 rad and 0.137 · 0.13 = 17 mm; thigh, the splay of the hips and the 9 mm by which the
    # rear legs are shorter in this pose make up the rest.
    "go2": 0.045,
    "g1": 0.01,
    "toy": 0.001,
}


def bare(subject: Robot) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(subject.path))


def simulated(subject: Robot) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The robot in its rest pose on a plane, driven by motors made from its own numbers."""
    spec = mujoco.MjSpec.from_file(str(subject.path))
    spec.option.timestep = 0.005
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.worldbody.add_geom(
        name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], contype=1, conaffinity=0
    )
    for joint in subject.joints:
        motor = spec.add_actuator(
            name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcelimited=True, forcerange=[-joint.effort, joint.effort],
        )  # fmt: skip
        motor.set_to_position(kp=joint.kp, kv=joint.kd)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[2] = subject.height
    for joint in subject.joints:
        data.joint(joint.name).qpos[0] = joint.rest
        data.actuator(joint.name).ctrl[0] = joint.rest
    mujoco.mj_forward(model, data)
    return model, data


def touching(model: mujoco.MjModel, data: mujoco.MjData) -> set[str]:
    """Names of the bodies in contact with the ground."""
    bodies = {model.geom_bodyid[geom] for pair in data.contact.geom for geom in pair}
    return {model.body(body).name for body in bodies} - {"world"}


def tilt(data: mujoco.MjData, base: str) -> float:
    """Angle between the base's z axis and the vertical [rad]."""
    return math.acos(min(1.0, float(data.body(base).xmat[8])))


@pytest.mark.parametrize("name", NAMES)
def test_a_robot_is_known_by_its_own_name(name: str) -> None:
    assert robot(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_robot_is_in_its_model(name: str) -> None:
    subject = robot(name)
    model = bare(subject)
    hinges = [model.joint(i) for i in range(model.njnt)]
    hinges = [joint for joint in hinges if joint.type[0] == mujoco.mjtJoint.mjJNT_HINGE]
    bodies = {model.body(i).name for i in range(model.nbody)}
    assert {joint.name for joint in hinges} == set(subject.joint_names)
    assert {subject.base, *subject.feet, *subject.links} <= bodies
    assert not set(subject.feet) & set(subject.links)
    assert model.site("imu").bodyid[0] == model.body(subject.base).id
    assert np.allclose(model.site("imu").pos, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_ranges_and_rotor_inertias_of_robot_and_model_agree(name: str) -> None:
    subject = robot(name)
    model = bare(subject)
    for joint in subject.joints:
        found = model.joint(joint.name)
        assert found.range.tolist() == pytest.approx([joint.lower, joint.upper], abs=1e-6)
        assert model.dof_armature[found.dofadr[0]] == pytest.approx(joint.armature, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_masses_sum_to_the_published_total(name: str) -> None:
    """To a gram: both sides are sums of the same published figures, rounded."""
    subject = robot(name)
    assert bare(subject).body_mass.sum() == pytest.approx(subject.mass, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_holds_bodies_only_and_touches_nothing_but_the_world(name: str) -> None:
    model = bare(robot(name))
    assert (model.nu, model.nsensor, model.nkey, model.nlight) == (0, 0, 0, 0)
    assert not model.geom_contype.any()
    assert not (model.geom_bodyid == 0).any()
    assert 0 < model.geom_conaffinity.sum() <= 18  # few shapes: physics speed is training speed


@pytest.mark.parametrize("name", NAMES)
def test_feet_have_a_shape_that_touches_with_their_own_friction(name: str) -> None:
    subject = robot(name)
    model = bare(subject)
    for foot in subject.feet:
        soles = (model.geom_bodyid == model.body(foot).id) & (model.geom_conaffinity == 1)
        assert soles.any()
        assert (model.geom_priority[soles] == 1).all()
        assert (model.geom_condim[soles] == 3).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_height_just_clears_the_ground(name: str) -> None:
    subject = robot(name)
    model, data = simulated(subject)
    assert all(distance > -1e-5 for distance in data.contact.dist)
    data.qpos[2] -= 0.001
    mujoco.mj_forward(model, data)
    assert touching(model, data) & set(subject.feet)


@pytest.mark.parametrize("name", NAMES)
def test_the_rest_pose_stands_still_for_two_seconds(name: str) -> None:
    subject = robot(name)
    model, data = simulated(subject)
    start = data.qpos.copy()
    for _ in range(400):
        mujoco.mj_step(model, data)
    drift = max(abs(float(data.joint(joint.name).qpos[0]) - joint.rest) for joint in subject.joints)
    assert -1e-3 < start[2] - data.qpos[2] < SAG.get(name, 0.02)
    assert np.linalg.norm(data.qpos[:2] - start[:2]) < 0.03
    assert tilt(data, subject.base) < math.radians(3.0)
    assert drift < 0.2
    assert np.abs(data.qvel).max() < 0.1
    assert set(subject.feet) <= touching(model, data) <= {*subject.feet, "tail"}


def test_the_g1_still_stands_after_ten_seconds_and_a_nudge() -> None:
    """Standing on ankles too soft for its weight would look still for a while and then fall."""
    subject = robot("g1")
    model, data = simulated(subject)
    for step in range(2000):
        data.body("torso_link").xfrc_applied[0] = 20.0 if 400 <= step < 420 else 0.0  # 2 N·s
        mujoco.mj_step(model, data)
    assert tilt(data, subject.base) < math.radians(5.0)
    assert touching(model, data) == set(subject.feet)


def mirrored(subject: Robot, values: dict[str, float]) -> dict[str, float]:
    """Joint values of the robot as a mirror shows it."""
    mirror = subject.mirror
    assert mirror is not None
    return {
        name: sign * values[source]
        for name, source, sign in zip(subject.joint_names, mirror.joints, mirror.signs, strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_mirror_of_the_mirror_is_the_robot_and_rest_is_its_own_mirror(name: str) -> None:
    subject = robot(name)
    values = {joint: float(i + 1) for i, joint in enumerate(subject.joint_names)}
    assert mirrored(subject, mirrored(subject, values)) == values
    rest = {joint.name: joint.rest for joint in subject.joints}
    assert mirrored(subject, rest) == pytest.approx(rest)
    mirror = subject.mirror
    assert mirror is not None
    other = dict(zip(subject.feet, mirror.feet, strict=True))
    assert [other[other[foot]] for foot in subject.feet] == list(subject.feet)


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_pose_puts_the_feet_where_the_mirror_shows_them(name: str) -> None:
    subject = robot(name)
    model = bare(subject)
    draw = np.random.default_rng(0)
    values = {
        joint.name: float(np.clip(joint.rest + draw.normal(0.0, 0.3), joint.lower, joint.upper))
        for joint in subject.joints
    }
    places = []
    for pose in (values, mirrored(subject, values)):
        data = mujoco.MjData(model)
        for joint, value in pose.items():
            data.joint(joint).qpos[0] = value
        mujoco.mj_kinematics(model, data)
        places.append({foot: data.body(foot).xpos.copy() for foot in subject.feet})
    assert subject.mirror is not None
    for foot, source in zip(subject.feet, subject.mirror.feet, strict=True):
        shown = places[0][source] * [1.0, -1.0, 1.0]
        assert places[1][foot] == pytest.approx(shown, abs=1e-4)


def test_reflected_rotor_inertias_are_those_computed_by_hand() -> None:
    go2 = {joint.name: joint for joint in robot("go2").joints}
    assert go2["FL_hip_joint"].armature == 0.00448  # 1.11842e-4 · 6.33²
    assert go2["FL_calf_joint"].armature == 0.01647  # 1.11842e-4 · (6.33 · 45.43 / 23.7)²
    g1 = {joint.name: joint for joint in robot("g1").joints}
    # 0.139e-4 · (3.5556 · 4.5)² + 0.017e-4 · 4.5² + 0.169e-4 = 3.5584e-3 + 3.44e-5 + 1.69e-5
    assert g1["left_elbow_joint"].armature == 0.00361
    # 0.489e-4 · (4.5 · 5)² + 0.109e-4 · 5² + 0.738e-4 = 2.4756e-2 + 2.725e-4 + 7.38e-5
    assert g1["left_knee_joint"].armature == 0.025102


def test_the_go2_comes_leg_by_leg_and_trots() -> None:
    go2 = robot("go2")
    assert go2.joint_names[:3] == ("FL_hip_joint", "FL_thigh_joint", "FL_calf_joint")
    assert go2.feet == ("FL_foot", "FR_foot", "RL_foot", "RR_foot")
    assert go2.gait is not None
    assert go2.gait.offsets == (0.0, 0.5, 0.5, 0.0)  # diagonal feet together


def test_the_g1_has_29_joints_in_motor_order() -> None:
    names = robot("g1").joint_names
    assert len(names) == 29
    assert (names[0], names[6], names[12]) == (
        "left_hip_pitch_joint", "right_hip_pitch_joint", "waist_yaw_joint",
    )  # fmt: skip
    assert (names[15], names[22], names[28]) == (
        "left_shoulder_pitch_joint", "right_shoulder_pitch_joint", "right_wrist_yaw_joint",
    )  # fmt: skip


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_the_toy_crawls_forwards_and_backwards(direction: float) -> None:
    """Slow back-stroke, quick return, the paddles half a cycle apart: it can meet a command."""
    model, data = simulated(robot("toy"))
    for step in range(600):
        for paddle, offset in (("left_arm_joint", 0.0), ("right_arm_joint", 0.5)):
            phase = (step * 0.005 * 2.0 + offset) % 1.0
            stroke = -1 + 2 * phase / 0.75 if phase < 0.75 else 1 - 2 * (phase - 0.75) / 0.25
            data.actuator(paddle).ctrl[0] = direction * 0.5 * stroke
        mujoco.mj_step(model, data)
    assert 0.3 < direction * data.qpos[0] < 1.0  # 3 s at 0.1 m/s or more
    assert tilt(data, "base") < math.radians(10.0)


def test_an_unknown_robot_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"no robot 'goo2' \(did you mean 'go2'\?\).*g1.*go2.*toy"):
        robot("goo2")


def test_a_broken_outside_robot_is_logged_and_the_others_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    info = tmp_path / "outside_robots-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-robots\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tutelage.robots]\nbroken = outside_broken:make\nwhole = outside_whole:make\n"
        "toy = outside_whole:make\n"
    )
    (tmp_path / "outside_broken.py").write_text("raise RuntimeError('no such motor')\n")
    (tmp_path / "outside_whole.py").write_text(
        "from dataclasses import replace\nfrom tutelage.assets.toy import toy\n\n"
        "def make():\n    return replace(toy(), name='whole')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(ROBOTS)
    try:
        with caplog.at_level(logging.ERROR):
            load_outside_robots()
        assert robot("whole").name == "whole"
        assert robot("toy").name == "toy"  # a name that is taken keeps its first owner
        assert "broken" not in ROBOTS
        assert "RuntimeError: no such motor" in caplog.text
    finally:
        ROBOTS.clear()
        ROBOTS.update(before)
