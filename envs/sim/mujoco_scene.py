"""A Scene as a MuJoCo model, and where the Robot's names ended up in it.

Shared by the MuJoCo C and MuJoCo Warp backends. The robot's MJCF holds bodies, joints and geometry;
motors, ground, objects and sensors are added here from the Scene, so that what is simulated is
what the Robot says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
import torch
from torch import Tensor

from tutelage.assets.robot import Robot
from tutelage.envs.sim.protocol import Scene
from tutelage.envs.terrain import Ground

_SENSOR = mujoco.mjtSensor
_OBJECT = mujoco.mjtObj


def build(scene: Scene, max_delay: int) -> tuple[mujoco.MjModel, Ground]:
    """Compile a scene; `max_delay` is the longest action delay in physics steps."""
    robot = scene.robot
    spec = mujoco.MjSpec.from_file(str(robot.path))
    _options(spec, scene.dt)
    ground = scene.terrain.generate()
    _add_ground(spec, ground, flat=not scene.terrain.kinds)
    for item in scene.objects:
        _add_object(spec, item.name, item.mjcf, item.pose)
    _add_motors(spec, robot, max_delay)
    _add_sensors(spec, robot)
    for geom in spec.geoms:
        if geom.conaffinity and geom.parent.name != "world":
            geom.priority = 1  # the robot's friction rules its contacts, whatever the ground's is
    return spec.compile(), ground


def _options(spec: mujoco.MjSpec, dt: float) -> None:
    option = spec.option
    option.timestep = dt
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.iterations = 10
    option.ls_iterations = 20
    # A state that is not finite is to be seen and reset by the environment, not silently replaced.
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value


def _add_ground(spec: mujoco.MjSpec, ground: Ground, *, flat: bool) -> None:
    world = spec.worldbody
    if flat:
        world.add_geom(
            name="ground", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], contype=1,
            conaffinity=0,
        )
        return
    heights = ground.heights
    low, high = float(heights.min()), float(heights.max())
    span = max(high - low, 1e-3)
    half = [(heights.shape[0] - 1) * ground.cell / 2, (heights.shape[1] - 1) * ground.cell / 2]
    spec.add_hfield(
        name="terrain", nrow=heights.shape[1], ncol=heights.shape[0], size=[*half, span, 1.0],
        userdata=((heights.T - low) / span).astype(np.float64).ravel(),
    )
    centre = [ground.origin[0] + half[0], ground.origin[1] + half[1], low]
    world.add_geom(
        name="ground", type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="terrain", pos=centre,
        contype=1, conaffinity=0,
    )


def _add_object(spec: mujoco.MjSpec, name: str, mjcf: str, pose: tuple[float, ...]) -> None:
    child = mujoco.MjSpec.from_file(mjcf if Path(mjcf).is_absolute() else str(Path(mjcf)))
    frame = spec.worldbody.add_frame(pos=list(pose[:3]), quat=list(pose[3:]))
    spec.attach(child, prefix=f"{name}/", frame=frame)


def _add_motors(spec: mujoco.MjSpec, robot: Robot, max_delay: int) -> None:
    for joint in robot.joints:
        hinge = spec.joint(joint.name)
        if hinge is None:
            names = [found.name for found in spec.joints]
            raise ValueError(f"robot '{robot.name}': no joint '{joint.name}' in its MJCF: {names}")
        hinge.armature = joint.armature
        hinge.frictionloss = joint.friction
        motor = spec.add_actuator(
            name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcelimited=True, forcerange=[-joint.effort, joint.effort], nsample=max_delay,
        )
        motor.set_to_position(kp=joint.kp, kv=joint.kd)


def _add_sensors(spec: mujoco.MjSpec, robot: Robot) -> None:
    bodies = {body.name for body in spec.bodies}
    for name in (*robot.feet, *robot.links, robot.base):
        if name not in bodies:
            raise ValueError(f"robot '{robot.name}': no body '{name}' in its MJCF: {bodies}")
    for foot in robot.feet:
        for kind, prefix in (
            (_SENSOR.mjSENS_FRAMEPOS, "pos"),
            (_SENSOR.mjSENS_FRAMELINVEL, "vel"),
        ):
            spec.add_sensor(
                name=f"{prefix}/{foot}", type=kind, objtype=_OBJECT.mjOBJ_XBODY, objname=foot
            )
    for body in dict.fromkeys((*robot.feet, *robot.links)):
        # intprm: data bits (1 << force), reduction (3: net force), number of slots; the net force
        # comes in the world frame, acting on the second of the two bodies named.
        spec.add_sensor(
            name=f"force/{body}", type=_SENSOR.mjSENS_CONTACT,
            reftype=_OBJECT.mjOBJ_BODY, refname=body,
            intprm=[1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value, 3, 1],
        )


@dataclass(frozen=True, slots=True)
class Root:
    """Pose and velocity of the base, as MuJoCo keeps them."""

    position: Tensor
    rotation: Tensor
    linear: Tensor
    """(B, 3) world frame [m/s]"""
    angular: Tensor
    """(B, 3) base frame [rad/s]"""


class Layout:
    """Addresses of the Robot's names in a compiled model, in the Robot's order."""

    def __init__(self, model: mujoco.MjModel, robot: Robot) -> None:
        joints = [model.joint(name) for name in robot.joint_names]
        self.joint_qpos = torch.tensor([int(joint.qposadr[0]) for joint in joints])
        self.joint_qvel = torch.tensor([int(joint.dofadr[0]) for joint in joints])
        self.base = int(model.body(robot.base).id)
        self.fixed = robot.fixed
        if not robot.fixed:
            root = int(model.body_jntadr[self.base])
            if root < 0 or model.jnt_type[root] != mujoco.mjtJoint.mjJNT_FREE:
                raise ValueError(
                    f"robot '{robot.name}': its base '{robot.base}' has no free joint; say "
                    f"`fixed=True` if it is bolted to the world"
                )
            self.root_qpos = int(model.jnt_qposadr[root])
            self.root_qvel = int(model.jnt_dofadr[root])
        self.foot_pos = _addresses(model, "pos", robot.feet)
        self.foot_vel = _addresses(model, "vel", robot.feet)
        self.foot_force = _addresses(model, "force", robot.feet)
        self.link_force = _addresses(model, "force", robot.links)
        owned = [body for body in range(model.nbody) if model.body_rootid[body] == self.base]
        self.geoms = np.flatnonzero(
            np.isin(model.geom_bodyid, owned) & (model.geom_conaffinity != 0)
        )
        self.history_values = _history_values(model)
        self._objects = _free_objects(model, self.base)
        self._rest = torch.tensor([1.0, 0.0, 0.0, 0.0])

    def root(self, qpos: Tensor, qvel: Tensor, num_envs: int) -> Root:
        if self.fixed:
            zero = torch.zeros(num_envs, 3)
            return Root(zero, self._rest.expand(num_envs, 4), zero, zero)
        p, v = self.root_qpos, self.root_qvel
        return Root(
            qpos[:, p : p + 3], qpos[:, p + 3 : p + 7], qvel[:, v : v + 3], qvel[:, v + 3 : v + 6]
        )

    def objects(self, qpos: Tensor, qvel: Tensor, num_envs: int) -> tuple[Tensor, Tensor]:
        """Poses (B, O, 7) and velocities (B, O, 6) of the objects beside the robot."""
        poses = [qpos[:, p : p + 7] for p, _ in self._objects]
        velocities = [qvel[:, v : v + 6] for _, v in self._objects]
        if not poses:
            return qpos.new_zeros(num_envs, 0, 7), qvel.new_zeros(num_envs, 0, 6)
        return torch.stack(poses, 1), torch.stack(velocities, 1)


def _addresses(model: mujoco.MjModel, kind: str, bodies: tuple[str, ...]) -> Tensor:
    """(3 n,) places of the named bodies' three-vectors in the sensor data."""
    found = [int(model.sensor(f"{kind}/{body}").adr[0]) for body in bodies]
    return torch.tensor([start + i for start in found for i in range(3)], dtype=torch.long)


def _history_values(model: mujoco.MjModel) -> np.ndarray:
    """Places of the delayed controls in the history rows, actuator-major, found by writing them."""
    if not model.nhistory:
        return np.zeros(0, dtype=np.int64)
    data = mujoco.MjData(model)
    mujoco.mj_resetData(model, data)
    before, places = np.array(data.history), []
    for actuator in range(model.nu):
        samples = int(model.actuator_history[actuator, 0])
        mujoco.mj_initCtrlHistory(model, data, actuator, None, np.full(samples, 123.0))
        changed = np.flatnonzero(np.array(data.history) != before)
        before = np.array(data.history)
        places.append(changed)
    return np.concatenate(places)


def _free_objects(model: mujoco.MjModel, base: int) -> list[tuple[int, int]]:
    """Addresses in qpos and qvel of the free joints that are not the robot's."""
    return [
        (int(model.jnt_qposadr[j]), int(model.jnt_dofadr[j]))
        for j in range(model.njnt)
        if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE and model.jnt_bodyid[j] != base
    ]
