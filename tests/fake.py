"""A simulator that can be computed in one's head, for tests of environments and algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.envs.rays import scan
from tutelage.envs.rotations import (
    from_axis_angle,
    gravity_b,
    multiply,
    rotate,
    rotate_inverse,
    yaw,
)
from tutelage.envs.sim.protocol import Field, HeightScan, Scene, Snapshot
from tutelage.envs.state import State

G = 9.81


class FakeSim:
    """Joints that obey, and a base that the joints drive. No contacts to compute, no draws.

    Joints: each is at its target after every physics step (`lag` of the way is left, if given).
    A robot with feet rides on them: they always touch, share the weight evenly, and its base keeps
    its height and tilt. It drives, in the base frame, 1 m/s forward for each radian of joint 0
    from rest, 1 m/s leftward for joint 1, and turns at 1 rad/s for joint 2. A robot without feet
    falls freely. Pushes and forces change the velocity of either, for good; torques do nothing.

    Of the Fields, GRAVITY and MASS act on the fall, on wrenches and on the weight, STRENGTH, KP,
    KD on the torque and ACTION_DELAY on the targets; the rest are kept in `fields` and do nothing.

    `poison(mask)` makes joint angles NaN and `fail(mask)` reports a failure of the engine, both
    after every step until the next reset.
    """

    def __init__(
        self, scene: Scene, num_envs: int, *, lag: float = 0.0, max_delay: int = 8
    ) -> None:
        self.scene, self.num_envs, self.device = scene, num_envs, torch.device("cpu")
        self.ground = scene.terrain.generate()
        self.lag, self.max_delay = lag, max_delay
        self._joints = len(scene.robot.joints)
        self._rest = torch.tensor([joint.rest for joint in scene.robot.joints])
        self._kp = torch.tensor([joint.kp for joint in scene.robot.joints])
        self._kd = torch.tensor([joint.kd for joint in scene.robot.joints])
        self._effort = torch.tensor([joint.effort for joint in scene.robot.joints])
        self._now = self._beginning()
        self.fields = {field: self._neutral(field) for field in Field}
        """(B, n) what was last set of each Field"""

    def _beginning(self) -> dict[str, Tensor]:
        count, rest = self.num_envs, self._rest.expand(self.num_envs, -1)
        height = 0.0 if self.scene.robot.fixed else self.scene.robot.height
        return {
            "pos": torch.tensor([0.0, 0.0, height]).repeat(count, 1),
            "quat": torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
            "linear": torch.zeros(count, 3),
            "angular": torch.zeros(count, 3),
            "force": torch.zeros(count, 3),
            "torque": torch.zeros(count, 3),
            "joint_pos": rest.clone(),
            "joint_vel": torch.zeros_like(rest),
            "joint_torque": torch.zeros_like(rest),
            "targets": rest[:, None].repeat(1, self.max_delay + 1, 1),
            "poisoned": torch.zeros(count, dtype=torch.bool),
            "failing": torch.zeros(count, dtype=torch.bool),
            "faulty": torch.zeros(count, dtype=torch.bool),
            "errors": torch.zeros(()),
        }

    def _neutral(self, field: Field) -> Tensor:
        values = {
            Field.FRICTION: [1.0],
            Field.MASS: [0.0],
            Field.COM: [0.0] * 3,
            Field.DAMPING: [0.0] * self._joints,
            Field.GRAVITY: [0.0, 0.0, -G],
            Field.ACTION_DELAY: [0.0],
        }.get(field, [1.0] * self._joints)
        return torch.tensor(values).repeat(self.num_envs, 1)

    @property
    def supports(self) -> frozenset[str]:
        return frozenset({str(field) for field in Field} | {HeightScan.__name__})

    @property
    def origins(self) -> Tensor:
        return torch.from_numpy(self.ground.spawns)

    @property
    def metrics(self) -> Mapping[str, Tensor]:
        return {"simulation_errors": self._now["errors"]}

    @property
    def state(self) -> State:
        now, feet, links = self._now, self.scene.robot.feet, self.scene.robot.links
        count, weight = self.num_envs, self._mass() * -self.fields[Field.GRAVITY]
        velocity = self._velocity()
        down = torch.tensor([0.0, 0.0, self.scene.robot.height])
        return State(
            root_pos_w=now["pos"],
            root_quat_w=now["quat"],
            lin_vel_b=rotate_inverse(now["quat"], velocity[0]),
            ang_vel_b=rotate_inverse(now["quat"], velocity[1]),
            gravity_b=gravity_b(now["quat"]),
            joint_pos=torch.where(now["poisoned"][:, None], torch.nan, now["joint_pos"]),
            joint_vel=now["joint_vel"],
            joint_torque=now["joint_torque"],
            foot_pos_w=(now["pos"] - down)[:, None].repeat(1, len(feet), 1),
            foot_vel_w=velocity[0][:, None].repeat(1, len(feet), 1),
            foot_force_w=(weight / max(len(feet), 1))[:, None].repeat(1, len(feet), 1),
            foot_contact=torch.ones(count, len(feet), dtype=torch.bool),
            link_force=torch.zeros(count, len(links)),
            object_pose_w=torch.tensor([item.pose for item in self.scene.objects])
            .view(-1, 7)
            .repeat(count, 1, 1),
            object_vel_w=torch.zeros(count, len(self.scene.objects), 6),
            faulty=now["faulty"],
        )

    def _mass(self) -> Tensor:
        return self.scene.robot.mass + self.fields[Field.MASS]

    def _velocity(self) -> tuple[Tensor, Tensor]:
        """Of the base: linear, angular; world frame. (B, 3), (B, 3)"""
        now = self._now
        if self.scene.robot.fixed:
            return torch.zeros_like(now["linear"]), torch.zeros_like(now["angular"])
        if not self.scene.robot.feet:
            return now["linear"], now["angular"]
        lean = torch.nn.functional.pad(now["joint_pos"] - self._rest, (0, 3))[:, :3]
        drive = torch.nn.functional.pad(lean[:, :2], (0, 1))
        turn = torch.nn.functional.pad(lean[:, 2:], (2, 0))
        linear = rotate(now["quat"], drive) + now["linear"]
        return linear, rotate(now["quat"], turn) + now["angular"]

    def step(self, target: Tensor, substeps: int) -> None:
        for _ in range(substeps):
            self._step(target)
        failing = self._now["failing"]
        self._now |= {"faulty": failing.clone(), "errors": self._now["errors"] + failing.sum()}

    def _step(self, target: Tensor) -> None:
        now, dt, fields = self._now, self.scene.dt, self.fields
        targets = torch.cat((target[:, None], now["targets"][:, :-1]), dim=1)
        delay = fields[Field.ACTION_DELAY].long()[..., None].expand(-1, -1, self._joints)
        error = targets.gather(1, delay)[:, 0] - now["joint_pos"]
        moved = (1 - self.lag) * error
        torque = self._kp * fields[Field.KP] * error
        torque = torque - self._kd * fields[Field.KD] * now["joint_vel"]
        torque = torque.clamp(-self._effort, self._effort) * fields[Field.STRENGTH]
        acceleration = now["force"] / self._mass()
        if not self.scene.robot.feet:
            acceleration = acceleration + fields[Field.GRAVITY]
        self._now = now | {
            "targets": targets,
            "joint_pos": now["joint_pos"] + moved,
            "joint_vel": moved / dt,
            "joint_torque": torque,
            "linear": now["linear"] + acceleration * dt,
        }
        linear, angular = self._velocity()
        speed = angular.norm(dim=-1)
        axis = angular / speed.clamp(min=1e-9)[:, None]
        turned = multiply(from_axis_angle(axis, speed * dt), now["quat"])
        self._now |= {"pos": now["pos"] + linear * dt, "quat": turned}

    def reset(
        self, mask: Tensor, pose: Tensor, velocity: Tensor, joint_pos: Tensor, joint_vel: Tensor
    ) -> None:
        fresh = self._beginning() | {
            "pos": pose[:, :3],
            "quat": pose[:, 3:],
            "linear": velocity[:, :3],
            "angular": velocity[:, 3:],
            "joint_pos": joint_pos,
            "joint_vel": joint_vel,
            "targets": joint_pos[:, None].expand(-1, self.max_delay + 1, -1),
            "errors": self._now["errors"],
        }
        self._now = {name: self._where(mask, fresh[name], old) for name, old in self._now.items()}

    @staticmethod
    def _where(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
        return torch.where(mask.view(-1, *[1] * (old.dim() - 1)), new, old) if old.dim() else new

    def randomise(self, field: Field, mask: Tensor, values: Tensor) -> None:
        if field is Field.ACTION_DELAY and not (values >= 0).logical_and(
            values <= self.max_delay
        ).all():
            raise ValueError(f"an action delay of {values.max()} steps exceeds {self.max_delay}")
        if values.shape != self.fields[field].shape:
            raise ValueError(
                f"{field} takes values {tuple(self.fields[field].shape)}, not "
                f"{tuple(values.shape)}"
            )
        self.fields[field] = self._where(mask, values, self.fields[field])

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        now, pushed = self._now, mask[:, None] * velocity
        now |= {
            "linear": now["linear"] + pushed[:, :3],
            "angular": now["angular"] + pushed[:, 3:],
        }

    def wrench(self, mask: Tensor, force: Tensor, torque: Tensor) -> None:
        now = self._now
        now |= {
            "force": self._where(mask, force, now["force"]),
            "torque": self._where(mask, torque, now["torque"]),
        }

    def poison(self, mask: Tensor) -> None:
        self._now["poisoned"] = self._now["poisoned"] | mask

    def fail(self, mask: Tensor) -> None:
        self._now["failing"] = self._now["failing"] | mask

    def sense(self, sensor: str) -> Tensor:
        if sensor not in self.scene.sensors:
            raise KeyError(f"no sensor '{sensor}' in the scene; it has {list(self.scene.sensors)}")
        points, now = self.scene.sensors[sensor].points(), self._now
        return scan(self.ground, points, now["pos"], yaw(now["quat"]))

    def snapshot(self) -> Snapshot:
        saved: dict[str, Any] = {f"now.{name}": value.clone() for name, value in self._now.items()}
        return saved | {f"field.{field}": value.clone() for field, value in self.fields.items()}

    def restore(self, snapshot: Snapshot) -> None:
        self._now = {name: snapshot[f"now.{name}"].clone() for name in self._now}
        self.fields = {field: snapshot[f"field.{field}"].clone() for field in self.fields}

    def close(self) -> None:
        self._now = {}
