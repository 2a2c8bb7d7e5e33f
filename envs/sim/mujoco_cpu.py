"""The Simulator on `mujoco.batch`: MuJoCo C on the CPU, the backend that runs anywhere.

MuJoCo's own thread pool steps all environments in one call for each control step. The batch is
persistent and stops at `mjSTAGE_VEL`, so that positions, velocities and their sensors describe the
state after the step at no extra cost; forces are those of the last physics step. State rows are
bound once and read by torch without a copy, then rounded to float32.

Randomised quantities are per-environment model fields; one `mj_setConst` for the environments
whose fields changed runs before the next step or reset.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
import torch
from mujoco import batch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.envs.rays import scan
from tutelage.envs.rotations import gravity_b, rotate_inverse, yaw
from tutelage.envs.sim.mujoco_scene import Layout, build
from tutelage.envs.sim.protocol import Field, HeightScan, Scene, Snapshot
from tutelage.envs.state import State

_WARNING = mujoco.mjtWarning
_BAD = [int(w) for w in (_WARNING.mjWARN_BADQPOS, _WARNING.mjWARN_BADQVEL, _WARNING.mjWARN_BADQACC)]
_CONTACT_FORCE = 0.1
"""A foot that carries less than this is not in contact [N]"""


class MujocoCpu:
    """`num_envs` copies of a scene on `threads` threads (0: one for each core)."""

    def __init__(
        self, scene: Scene, num_envs: int, *, max_delay: int = 8, threads: int = 0
    ) -> None:
        self.scene = scene
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        _log_to_console_only()
        self.model, self.ground = build(scene, max_delay)
        self._max_delay = max_delay
        self._layout = Layout(self.model, scene.robot)
        self._batch = batch.Batch(self.model, num_envs, nthread=threads, persistent=True)
        b = self._batch
        self._qpos, self._qvel, self._ctrl = b.bind("qpos"), b.bind("qvel"), b.bind("ctrl")
        self._sensors, self._force = b.bind("sensordata"), b.bind("actuator_force")
        for output in (self._sensors, self._force):
            output.flags.writeable = True  # torch warns of arrays it may not write; `restore` does
        self._history = b.bind("history") if self.model.nhistory else None
        self._stale = np.zeros(num_envs, dtype=bool)
        self._faulty = np.zeros(num_envs, dtype=bool)
        self._errors = 0
        self._state: State | None = None
        self._scan_points = {
            name: sensor.points() for name, sensor in scene.sensors.items()
        }
        self._factors: dict[Field, NDArray[np.float64]] = {}
        b.forward()

    # ---------------------------------------------------------------- facts

    @property
    def supports(self) -> frozenset[str]:
        fields = set(Field) if self._max_delay else set(Field) - {Field.ACTION_DELAY}
        return frozenset({str(field) for field in fields} | {HeightScan.__name__})

    @property
    def origins(self) -> Tensor:
        return torch.as_tensor(self.ground.spawns, dtype=torch.float32)

    @property
    def metrics(self) -> Mapping[str, Tensor]:
        return {"simulation_errors": torch.tensor(float(self._errors))}

    @property
    def state(self) -> State:
        if self._state is None:
            self._state = self._read()
        return self._state

    def _read(self) -> State:
        layout, feet, links = self._layout, len(self.scene.robot.feet), len(self.scene.robot.links)
        qpos = torch.from_numpy(self._qpos).float()
        qvel = torch.from_numpy(self._qvel).float()
        sensors = torch.from_numpy(self._sensors).float()
        root = layout.root(qpos, qvel, self.num_envs)
        foot_force = sensors[:, layout.foot_force].view(self.num_envs, feet, 3)
        link_force = sensors[:, layout.link_force].view(self.num_envs, links, 3)
        object_pose, object_vel = layout.objects(qpos, qvel, self.num_envs)
        return State(
            root_pos_w=root.position,
            root_quat_w=root.rotation,
            lin_vel_b=rotate_inverse(root.rotation, root.linear),
            ang_vel_b=root.angular,
            gravity_b=gravity_b(root.rotation),
            joint_pos=qpos[:, layout.joint_qpos],
            joint_vel=qvel[:, layout.joint_qvel],
            joint_torque=torch.from_numpy(self._force).float(),
            foot_pos_w=sensors[:, layout.foot_pos].view(self.num_envs, feet, 3),
            foot_vel_w=sensors[:, layout.foot_vel].view(self.num_envs, feet, 3),
            foot_force_w=foot_force,
            foot_contact=foot_force.square().sum(-1) > _CONTACT_FORCE**2,
            link_force=link_force.norm(dim=-1),
            object_pose_w=object_pose,
            object_vel_w=object_vel,
            faulty=torch.from_numpy(self._faulty.copy()),
        )

    # ---------------------------------------------------------------- time

    def step(self, target: Tensor, substeps: int) -> None:
        """One call of the batch for a whole control step."""
        self._settle()
        self._ctrl[:] = target.detach().numpy()
        before = self._batch.warning[:, _BAD, 1].sum(axis=1)
        self._faulty[:] = False
        try:
            self._batch.step(nstep=substeps, stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        except batch.SimulationError as error:
            self._faulty[error.ids] = True
        self._faulty |= self._batch.warning[:, _BAD, 1].sum(axis=1) != before
        self._errors += int(self._faulty.sum())
        self._state = None

    def reset(
        self, mask: Tensor, pose: Tensor, velocity: Tensor, joint_pos: Tensor, joint_vel: Tensor
    ) -> None:
        rows = mask.numpy()
        if not rows.any():
            return
        self._settle()
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        layout = self._layout
        if not self.scene.robot.fixed:
            angular_b = rotate_inverse(pose[:, 3:], velocity[:, 3:])
            self._qpos[rows, layout.root_qpos : layout.root_qpos + 7] = pose.numpy()[rows]
            self._qvel[rows, layout.root_qvel : layout.root_qvel + 3] = velocity.numpy()[rows, :3]
            self._qvel[rows, layout.root_qvel + 3 : layout.root_qvel + 6] = angular_b.numpy()[rows]
        self._qpos[np.ix_(rows, layout.joint_qpos.numpy())] = joint_pos.numpy()[rows]
        self._qvel[np.ix_(rows, layout.joint_qvel.numpy())] = joint_vel.numpy()[rows]
        self._ctrl[rows] = joint_pos.numpy()[rows]
        if self._history is not None:
            held = joint_pos.numpy()[rows].repeat(self._max_delay, axis=1)
            self._history[np.ix_(rows, layout.history_values)] = held
        self._batch.forward(rows)
        self._faulty[rows] = False
        self._state = None

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        rows = mask.numpy()
        if not rows.any():
            return
        first = self._layout.root_qvel
        angular_b = rotate_inverse(self.state.root_quat_w, velocity[:, 3:])
        self._qvel[rows, first : first + 3] += velocity.numpy()[rows, :3]
        self._qvel[rows, first + 3 : first + 6] += angular_b.numpy()[rows]

    def wrench(self, mask: Tensor, force: Tensor, torque: Tensor) -> None:
        rows, base = mask.numpy(), self._layout.base
        applied = self._batch.bind("xfrc_applied")
        applied[rows, base, :3] = force.numpy()[rows]
        applied[rows, base, 3:] = torque.numpy()[rows]

    def sense(self, sensor: str) -> Tensor:
        if sensor not in self._scan_points:
            raise KeyError(f"no sensor '{sensor}' in the scene; it has {list(self._scan_points)}")
        state = self.state
        return scan(
            self.ground, self._scan_points[sensor], state.root_pos_w, yaw(state.root_quat_w)
        )

    # ---------------------------------------------------------------- randomisation

    def randomise(self, field: Field, mask: Tensor, values: Tensor) -> None:
        rows = mask.numpy()
        if not rows.any():
            return
        drawn = values.numpy()[rows].astype(np.float64)
        model, base, b = self.model, self._layout.base, self._batch
        match field:
            case Field.FRICTION:
                sliding = b.expand("geom_friction")[:, :, 0]
                sliding[np.ix_(rows, self._layout.geoms)] = drawn
                return
            case Field.MASS:
                mass = model.body_mass[base] + drawn
                if (mass <= 0).any():
                    raise ValueError(f"added mass {drawn.min()} kg leaves the base without any")
                b.expand("body_mass")[rows, base] = mass[:, 0]
                b.expand("body_inertia")[rows, base] = (
                    model.body_inertia[base] * mass / model.body_mass[base]
                )
            case Field.COM:
                b.expand("body_ipos")[rows, base] = model.body_ipos[base] + drawn
            case Field.ARMATURE:
                dofs = self._layout.joint_qvel.numpy()
                b.expand("dof_armature")[np.ix_(rows, dofs)] = model.dof_armature[dofs] * drawn
            case Field.DAMPING:
                b.expand("dof_damping")[np.ix_(rows, self._layout.joint_qvel.numpy())] = drawn
                return
            case Field.GRAVITY:
                b.expand("opt.gravity")[rows] = drawn
            case Field.ACTION_DELAY:
                self._delay(rows, drawn)
                return
            case _:
                self._motors(field, rows, drawn)
        self._stale |= rows

    def _motors(self, field: Field, rows: NDArray[np.bool_], drawn: NDArray[np.float64]) -> None:
        """Gains and strength share MuJoCo's gain, bias and force-range fields."""
        motors = self.model.nu
        for name in (Field.KP, Field.KD, Field.STRENGTH):
            self._factors.setdefault(name, np.ones((self.num_envs, motors)))
        self._factors[field][rows] = drawn
        kp, kd, strength = (
            self._factors[name][rows] for name in (Field.KP, Field.KD, Field.STRENGTH)
        )
        model, b = self.model, self._batch
        b.expand("actuator_gainprm")[rows, :, 0] = model.actuator_gainprm[:, 0] * kp * strength
        bias = b.expand("actuator_biasprm")
        bias[rows, :, 1] = model.actuator_biasprm[:, 1] * kp * strength
        bias[rows, :, 2] = model.actuator_biasprm[:, 2] * kd * strength
        b.expand("actuator_forcerange")[rows] = model.actuator_forcerange * strength[:, :, None]

    def _delay(self, rows: NDArray[np.bool_], steps: NDArray[np.float64]) -> None:
        if (steps < 0).any() or (steps > self._max_delay).any():
            raise ValueError(
                f"an action delay of {steps.min()}..{steps.max()} physics steps is outside "
                f"0..{self._max_delay} (`max_delay`)"
            )
        # Half a step less than the delay: the newest sample that is old enough is then the same
        # one however time was rounded.
        delay = np.maximum(steps - 0.5, 0.0) * self.model.opt.timestep
        self._batch.expand("actuator_delay")[rows] = delay

    def _settle(self) -> None:
        """Let the constants that MuJoCo derives from changed fields follow them."""
        if self._stale.any():
            self._batch.set_const(self._stale)
            self._stale[:] = False

    # ---------------------------------------------------------------- snapshots

    def _fields(self) -> dict[str, NDArray[np.float64]]:
        names = sorted(batch.MODEL_FIELDS)
        read = {name: self._batch.expanded(name) for name in names}
        return {name: values for name, values in read.items() if values is not None}

    def _nominal(self, name: str) -> NDArray[np.float64]:
        """What the compiled model holds in a field that may be expanded."""
        holder, _, attribute = name.rpartition(".")
        values: NDArray[np.float64] = getattr(self.model.opt if holder else self.model, attribute)
        return values

    def snapshot(self) -> Snapshot:
        self._settle()
        saved = {f"model.{name}": values for name, values in self._fields().items()}
        saved |= {f"factor.{name}": values for name, values in self._factors.items()}
        saved |= {
            "state": self._batch.state,
            "warning": self._batch.warning,
            "sensors": self._sensors,
            "force": self._force,
            "faulty": self._faulty,
            "errors": np.array(self._errors),
        }
        return {name: torch.from_numpy(np.array(values)) for name, values in saved.items()}

    def restore(self, snapshot: Snapshot) -> None:
        arrays = {name: values.numpy() for name, values in snapshot.items()}
        if arrays["state"].shape != self._batch.state.shape:
            raise ValueError(
                f"the snapshot holds state {arrays['state'].shape}, this simulator "
                f"{self._batch.state.shape}: another robot, scene or number of environments"
            )
        for name in self._fields():
            if f"model.{name}" not in arrays:  # first randomised after the snapshot
                self._batch.expand(name)[:] = self._nominal(name)
        self._factors = {}
        for name, values in arrays.items():
            kind, _, key = name.partition(".")
            if kind == "model":
                self._batch.expand(key)[:] = values
            elif kind == "factor":
                self._factors[Field(key)] = values.copy()
        self._batch.state[:] = arrays["state"]
        self._batch.forward(stage=mujoco.mjtStage.mjSTAGE_VEL.value)
        self._batch.state[:] = arrays["state"]
        self._batch.warning[:] = arrays["warning"]
        self._faulty[:] = arrays["faulty"]
        self._errors = int(arrays["errors"])
        # Forces belong to the last physics step, which a forward pass does not repeat.
        self._sensors[:], self._force[:] = arrays["sensors"], arrays["force"]
        self._stale[:] = False
        self._state = None

    def close(self) -> None:
        self._state = None


def _log_to_console_only() -> None:
    """Leave no MUJOCO_LOG.TXT in the working directory: warnings are counted by environment."""
    config = mujoco.MjLogConfig.get()
    config.logto_file = False
    config.set()
