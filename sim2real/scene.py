"""The MuJoCo model a policy is judged in, made from an MJCF file and the policy's contract.

Joints are found by name, so the file's own order does not matter; the file's actuators, sensors,
keyframes and floor are dropped, since motors are modelled in `check_episode` and the ground in
`terrain`. Rotor inertia and dry friction come from the contract.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import mujoco
import numpy as np
from numpy.typing import NDArray

from tutelage.sim2real import terrain
from tutelage.sim2real.contract import Contract
from tutelage.sim2real.scenario import Episode, Physics

Ints: TypeAlias = NDArray[np.int64]

INTEGRATORS = {
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "rk4": mujoco.mjtIntegrator.mjINT_RK4,
}
CONES = {
    "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC,
    "pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL,
}
BUFFER = (640, 480)
"""Largest picture that can be rendered [pixels]"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A compiled model and where the robot's parts are in it. J joints, F feet."""

    model: mujoco.MjModel
    joint_names: tuple[str, ...]
    """The contract's joints, in the order in which the MJCF file has them"""
    order: Ints
    """(J,) place in `joint_names` of each of the contract's joints, in contract order"""
    qpos: Ints
    """(J,) addresses of the joints' positions, in the order of `joint_names`"""
    dof: Ints
    """(J,) addresses of the joints' velocities, in the order of `joint_names`"""
    base: int
    """Body of the base"""
    floating: bool
    """Whether the base has a free joint; it is then at `root_qpos` and `root_dof`"""
    root_qpos: int
    root_dof: int
    feet: Ints
    """(F,) bodies of the feet"""
    height: terrain.Height
    """Height of the ground"""
    substeps: int
    """Physics steps in a control step"""
    mass: float
    """Of the whole robot, payload included [kg]"""


def build(contract: Contract, mjcf: Path, episode: Episode, physics: Physics) -> Scene:
    """The robot of `mjcf` on the episode's ground, with its payload and friction."""
    spec = mujoco.MjSpec.from_file(str(mjcf))
    _check_names(spec, contract, mjcf)
    _strip(spec)
    steps = substeps(contract, physics)
    spec.option.timestep = contract.control_dt / steps
    spec.option.integrator = _choice(INTEGRATORS, physics.integrator, "integrator")
    spec.option.cone = _choice(CONES, physics.cone, "cone")
    spec.option.solver = mujoco.mjtSolver.mjSOL_NEWTON
    spec.option.iterations = int(physics.iterations)
    for geom in spec.geoms:
        geom.friction[0] = episode.friction
    for joint in contract.joints:
        spec.joint(joint.name).armature = joint.armature
        spec.joint(joint.name).frictionloss = joint.friction
    _dress(spec, contract.base)
    height = terrain.add_ground(spec, episode.ground, episode.friction, episode.seed)
    model = spec.compile()
    base = model.body(contract.base).id
    _load(model, base, episode.payload)
    return _scene(model, contract, height, base, steps)


def substeps(contract: Contract, physics: Physics) -> int:
    """Physics steps in a control period: as few as the longest allowed step permits."""
    return max(1, math.ceil(contract.control_dt / physics.timestep - 1e-9))


def _choice(options: dict[str, mujoco.mjtIntegrator] | dict[str, mujoco.mjtCone], name: str,
            what: str) -> mujoco.mjtIntegrator | mujoco.mjtCone:
    if name not in options:
        raise ValueError(f"no {what} '{name}'; there are {', '.join(options)}")
    return options[name]


def _check_names(spec: mujoco.MjSpec, contract: Contract, mjcf: Path) -> None:
    """Raise for what the contract names and the file lacks."""
    joints = {joint.name for joint in spec.joints}
    bodies = {body.name for body in spec.bodies}
    for name in (joint.name for joint in contract.joints):
        if name not in joints:
            raise ValueError(f"{mjcf.name} has no joint '{name}'; it has {sorted(joints)}")
    for name in (contract.base, *contract.feet):
        if name not in bodies:
            raise ValueError(f"{mjcf.name} has no body '{name}'; it has {sorted(bodies)}")


def _strip(spec: mujoco.MjSpec) -> None:
    """Take out what would act beside the contract: actuators, sensors, keyframes, the floor."""
    for group in (spec.actuators, spec.sensors, spec.keys, spec.worldbody.geoms):
        for element in list(group):
            spec.delete(element)


def _dress(spec: mujoco.MjSpec, base: str) -> None:
    """Light, sky and a chequered floor, for the video."""
    checker, sky = mujoco.mjtBuiltin.mjBUILTIN_CHECKER, mujoco.mjtBuiltin.mjBUILTIN_GRADIENT
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=sky, width=256, height=1536,
        rgb1=[0.86, 0.90, 0.95], rgb2=[0.98, 0.98, 0.99],
    )
    spec.add_texture(
        name="ground", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=checker, width=256, height=256,
        rgb1=[0.77, 0.80, 0.84], rgb2=[0.70, 0.73, 0.78],
    )
    material = spec.add_material(name="ground", texrepeat=[1, 1], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "ground"
    spec.body(base).add_light(
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM, pos=[-1.0, 0.7, 3.0], dir=[0.33, -0.23, -1.0],
        diffuse=[0.6, 0.6, 0.6], castshadow=True, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
    )
    spec.visual.headlight.ambient = [0.4, 0.4, 0.4]
    spec.visual.headlight.diffuse = [0.3, 0.3, 0.3]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    # What a CPU can draw at 25 pictures a second; smoothing edges would double the time.
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 1024, 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = BUFFER


def _load(model: mujoco.MjModel, base: int, payload: float) -> None:
    """Add `payload` [kg] to the base at its centre of mass; inertia scales with the mass."""
    if payload:
        model.body_inertia[base] *= 1 + payload / model.body_mass[base]
        model.body_mass[base] += payload
        mujoco.mj_setConst(model, mujoco.MjData(model))


def _scene(
    model: mujoco.MjModel, contract: Contract, height: terrain.Height, base: int, steps: int
) -> Scene:
    ids = sorted(model.joint(joint.name).id for joint in contract.joints)
    names = tuple(model.joint(i).name for i in ids)
    first = int(model.body_jntadr[base])
    floating = first >= 0 and model.jnt_type[first] == mujoco.mjtJoint.mjJNT_FREE
    return Scene(
        model=model,
        joint_names=names,
        order=np.array([names.index(joint.name) for joint in contract.joints]),
        qpos=np.array([model.jnt_qposadr[i] for i in ids]),
        dof=np.array([model.jnt_dofadr[i] for i in ids]),
        base=base,
        floating=bool(floating),
        root_qpos=int(model.jnt_qposadr[first]) if floating else 0,
        root_dof=int(model.jnt_dofadr[first]) if floating else 0,
        feet=np.array([model.body(name).id for name in contract.feet], dtype=np.int64),
        height=height,
        substeps=steps,
        mass=float(model.body_subtreemass[base]),
    )
