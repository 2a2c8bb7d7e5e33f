"""One episode of the check: a policy, a motor model, latencies and what was measured.

The policy is asked once in a control period and sees only sensor readings. Between, an explicit
motor model turns its joint targets into torques in every physics step, as a drive does: gains,
torque limit, a torque that fades towards the motor's top speed, and a strength that may be off.
Latency is a queue in physics steps, on the joint targets and on the readings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from tutelage.sim2real import terrain
from tutelage.sim2real.contract import Contract
from tutelage.sim2real.scenario import Episode, Physics
from tutelage.sim2real.scene import Scene
from tutelage.sim2real.trace import Bools, Floats, Trace

TILT = np.deg2rad(60.0)
"""Tilt of the base beyond which it has fallen [rad]"""
LOW = 0.4
"""Share of the standing height below which the base has fallen"""
POSE_NOISE = 0.05
"""Half-width of the uniform draw around the default pose at the start [rad]"""
READINGS = ("joint_pos", "joint_vel", "angular_velocity", "gravity")
"""What the sensors measure."""
DIVERGED = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)
"""What MuJoCo counts when a number is not finite or huge; it then starts from its own pose."""
TOUCH = 1.0
"""Force from which a foot counts as on the ground [N]"""


class Runner(Protocol):
    """What drives the robot: `runtime.Policy` does."""

    def reset(self) -> None: ...

    def step(self, readings: Mapping[str, Floats]) -> Floats:
        """Joint targets [rad] for the readings, both in the scene's joint order."""
        ...


@dataclass(frozen=True, kw_only=True)
class Motors:
    """The drives of J joints, in the scene's order. Each (J,)."""

    kp: Floats
    kd: Floats
    effort: Floats
    speed: Floats
    rest: Floats
    """Default pose [rad]"""
    strength: float
    knee: float

    def torque(self, target: Floats, pos: Floats, vel: Floats) -> Floats:
        """Torque delivered for a target [rad] at a joint's position and velocity. (J,) [N·m]

        In the direction of motion the limit is full up to `knee` of the top speed and falls
        linearly to zero at top speed (the voltage limit of a brushless drive); braking torque is
        limited by `effort` alone.
        """
        wanted = self.kp * (target - pos) - self.kd * vel
        share = vel / self.speed
        upper = self.effort * np.minimum(np.maximum((1 - share) / (1 - self.knee), 0), 1)
        lower = -self.effort * np.minimum(np.maximum((1 + share) / (1 - self.knee), 0), 1)
        return self.strength * np.minimum(np.maximum(wanted, lower), upper)


def motors(contract: Contract, scene: Scene, episode: Episode, physics: Physics) -> Motors:
    """The contract's motors in the scene's joint order, as strong as the episode says."""
    by_name = {joint.name: joint for joint in contract.joints}
    joints = [by_name[name] for name in scene.joint_names]
    return Motors(
        kp=np.array([j.kp for j in joints]),
        kd=np.array([j.kd for j in joints]),
        effort=np.array([j.effort for j in joints]),
        speed=np.array([j.speed for j in joints]),
        rest=np.array([j.default_pos for j in joints]),
        strength=episode.strength,
        knee=physics.knee,
    )


class World:
    """One robot in one scene, stepped by joint targets."""

    def __init__(
        self, contract: Contract, scene: Scene, episode: Episode, physics: Physics
    ) -> None:
        self.contract, self.scene, self.episode = contract, scene, episode
        self.motors = motors(contract, scene, episode, physics)
        self.data = mujoco.MjData(scene.model)
        dt = scene.model.opt.timestep
        self._action_lag = round(episode.action_delay / dt)
        self._sensor_lag = round(episode.sensor_delay / dt)
        terms = contract.observations
        self._noise = {term.source: term.noise * episode.noise for term in terms}
        self._bias = {term.source: term.bias * episode.noise for term in terms}
        self.reset()

    def reset(self) -> None:
        """Stand in the default pose on the ground, the same way each time."""
        data, scene = self.data, self.scene
        mujoco.mj_resetData(scene.model, data)
        self._rng = np.random.default_rng(self.episode.seed)
        # Drawn in contract order, so that the start does not depend on the file's joint order.
        draw = np.empty(len(scene.qpos))
        draw[scene.order] = self._rng.uniform(-POSE_NOISE, POSE_NOISE, len(draw))
        data.qpos[scene.qpos] = self.motors.rest + draw
        yaw = self._rng.uniform(-np.pi, np.pi)
        if scene.floating:
            yaw = 0.0 if self.episode.ground.kind in terrain.DIRECTED else yaw
            at = scene.root_qpos
            data.qpos[at : at + 3] = 0, 0, self.contract.height + scene.height(0.0, 0.0)
            data.qpos[at + 3 : at + 7] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
        mujoco.mj_forward(scene.model, data)
        self.torque = np.zeros(len(scene.qpos))
        self.power = 0.0
        self._faced = self._heading()
        self._offsets = {name: self._draw(name, self._bias) for name in READINGS}
        self._targets = deque([self.motors.rest] * (self._action_lag + 1), self._action_lag + 1)
        now = (data.qpos.copy(), data.qvel.copy())
        self._past = deque([now] * (self._sensor_lag + 1), self._sensor_lag + 1)

    def readings(self, command: Floats) -> dict[str, Floats]:
        """What the robot's sensors say now: late and noisy, joints in the scene's order."""
        scene = self.scene
        qpos, qvel = self._past[0]
        clean = {"joint_pos": qpos[scene.qpos], "joint_vel": qvel[scene.dof]}
        if scene.floating:
            root, dof = scene.root_qpos, scene.root_dof
            # A free joint's angular velocity is in the body's own frame, as a gyroscope's is.
            clean["angular_velocity"] = qvel[dof + 3 : dof + 6]
            clean["gravity"] = -_up(qpos[root + 3 : root + 7])
        else:
            clean["angular_velocity"] = np.zeros(3)
            clean["gravity"] = np.array([0.0, 0.0, -1.0])
        noisy = {
            name: value + self._offsets[name] + self._draw(name, self._noise)
            for name, value in clean.items()
        }
        return {**noisy, "command": command}

    def _draw(self, name: str, half_width: Mapping[str, float]) -> Floats:
        """Uniform numbers for a reading, (3,) or (J,)."""
        joints = name.startswith("joint_")
        count = len(self.scene.order) if joints else 3
        draw = self._rng.uniform(-1.0, 1.0, count) * half_width.get(name, 0.0)
        if joints:  # drawn in contract order, whatever the file's order is
            draw[self.scene.order] = draw.copy()
        return draw

    def step(self, target: Floats, time: float) -> None:
        """One control period towards `target` (J,) [rad]; `time` [s] since the start."""
        self._push(time)
        powers = [self.advance(target) for _ in range(self.scene.substeps)]
        self.power = sum(powers) / len(powers)

    def advance(self, target: Floats) -> float:
        """One physics step towards `target`; positive mechanical power of the motors [W]."""
        scene, data = self.scene, self.data
        self._targets.append(target)
        velocity = data.qvel[scene.dof]
        self.torque = self.motors.torque(self._targets[0], data.qpos[scene.qpos], velocity)
        data.qfrc_applied[scene.dof] = self.torque
        mujoco.mj_step(scene.model, data)
        self._past.append((data.qpos.copy(), data.qvel.copy()))
        return float(np.maximum(self.torque * velocity, 0).sum())

    def _push(self, time: float) -> None:
        """Apply the push that acts at `time`, or none."""
        force = self.data.xfrc_applied[self.scene.base]
        if not force.any():  # its direction stays, even if the robot turns under it
            self._faced = self._heading()
        force[:] = 0
        for push in self.episode.pushes:
            if push.at <= time < push.at + push.lasts - 1e-9:
                size = push.speed * self.scene.mass / push.lasts
                angle = self._faced + np.deg2rad(push.angle)
                force[:2] = size * np.cos(angle), size * np.sin(angle)

    def pushed(self) -> bool:
        return bool(self.data.xfrc_applied[self.scene.base].any())

    def _heading(self) -> float:
        rotation = self.data.xmat[self.scene.base]
        return float(np.arctan2(rotation[3], rotation[0]))

    def velocity(self) -> Floats:
        """Forward, leftward velocity and yaw rate of the base in its heading frame. (3,)"""
        if not self.scene.floating:
            return np.zeros(3)
        dof, heading = self.scene.root_dof, self._heading()
        vx, vy = self.data.qvel[dof : dof + 2]
        cos, sin = np.cos(heading), np.sin(heading)
        turn = self.data.xmat[self.scene.base].reshape(3, 3) @ self.data.qvel[dof + 3 : dof + 6]
        return np.array([cos * vx + sin * vy, cos * vy - sin * vx, turn[2]])

    def pose(self) -> tuple[float, float]:
        """Height of the base above the ground [m] and its tilt [rad]."""
        if not self.scene.floating:
            return self.contract.height, 0.0
        x, y, z = self.data.xpos[self.scene.base]
        tilt = np.arccos(np.clip(self.data.xmat[self.scene.base][8], -1, 1))
        return float(z - self.scene.height(x, y)), float(tilt)

    def touching(self) -> tuple[Bools, bool]:
        """Which feet (F,) carry a force, and whether the base touches anything."""
        data, scene = self.data, self.scene
        contacts = data.contact
        live = contacts.efc_address >= 0
        bodies = scene.model.geom_bodyid[contacts.geom[live]]
        normal = data.efc_force[contacts.efc_address[live]]
        feet = (bodies[:, :, None] == scene.feet).any(axis=1) & (normal > TOUCH)[:, None]
        return feet.any(axis=0), bool((bodies == scene.base).any())

    def fall(self, base_touches: bool) -> str:
        """Why the robot is down, or ''."""
        if any(self.data.warning[kind].number for kind in DIVERGED):
            return "physics diverged"
        if not self.scene.floating:
            return ""
        height, tilt = self.pose()
        if base_touches:
            return "the base touched the ground"
        if tilt > TILT:
            return "the base tilted beyond 60 degrees"
        if height < LOW * self.contract.height:
            return f"the base sank below {LOW:.0%} of its height"
        return ""


def run(
    policy: Runner, contract: Contract, scene: Scene, episode: Episode, physics: Physics
) -> Trace:
    """Play one episode and write down what happened, until its end or a fall."""
    world = World(contract, scene, episode, physics)
    policy.reset()
    rows: list[dict[str, object]] = []
    fall = ""
    names = [command.name for command in contract.commands]
    for tick in range(round(episode.duration / contract.control_dt)):
        time = tick * contract.control_dt
        command = episode.command(time)
        target = policy.step(world.readings(entries(command, names)))
        world.step(np.asarray(target, dtype=np.float64), time)
        contact, base = world.touching()
        rows.append(_row(world, time, command, target, contact))
        if fall := world.fall(base):
            break
    return Trace(
        **{key: np.array([row[key] for row in rows]) for key in rows[0]},
        fall=fall,
        mass=scene.mass,
    )


def entries(command: tuple[float, ...], names: list[str]) -> Floats:
    """The contract's command entries, from (vx, vy, wz)."""
    by_name: dict[str, float] = dict(zip(("vx", "vy", "wz"), command, strict=True))
    return np.array([by_name.get(name, 0.0) for name in names])


def _row(
    world: World, time: float, command: tuple[float, ...], target: Floats, contact: Bools
) -> dict[str, object]:
    scene, data = world.scene, world.data
    height, tilt = world.pose()
    return {
        "time": time,
        "command": command,
        "velocity": world.velocity(),
        "joint_pos": data.qpos[scene.qpos][scene.order],
        "joint_vel": data.qvel[scene.dof][scene.order],
        "torque": world.torque[scene.order],
        "target": np.asarray(target)[scene.order],
        "power": world.power,
        "contact": contact,
        "height": height,
        "tilt": tilt,
        "push": world.pushed(),
        "qpos": data.qpos.copy(),
    }


def _up(quat: Floats) -> Floats:
    """The vertical in the frame of a body with rotation `quat` (w, x, y, z). (3,)"""
    w, x, y, z = quat / np.linalg.norm(quat)
    return np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
