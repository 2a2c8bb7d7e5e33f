"""The Simulator: B copies of a scene stepped together, behind about a dozen members.

Wide interfaces are copied, not implemented; so a task sees physics only through these. What one
backend cannot do it leaves out of `supports`, and the environment then refuses the task when it is
built, naming what is missing. The shapes and frames are those of `envs/state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from tutelage.assets.robot import Robot
from tutelage.envs.state import State
from tutelage.envs.terrain import FLAT, Terrain


class Field(StrEnum):
    """A quantity of physics that may differ between environments. (B, n) values; n and meaning:"""

    FRICTION = "friction"
    """(B, 1) sliding friction of the robot's contact geometry against everything, absolute"""
    MASS = "mass"
    """(B, 1) mass added to the base at its centre of mass [kg]; inertia scales with it"""
    COM = "com"
    """(B, 3) shift of the base's centre of mass, base frame [m]"""
    KP = "kp"
    """(B, J) factor on the position gains"""
    KD = "kd"
    """(B, J) factor on the velocity gains"""
    STRENGTH = "strength"
    """(B, J) factor on the torque each motor delivers, its limit included"""
    ARMATURE = "armature"
    """(B, J) factor on the rotor inertias"""
    DAMPING = "damping"
    """(B, J) viscous joint damping, absolute [N·m·s/rad]"""
    GRAVITY = "gravity"
    """(B, 3) gravity, world frame [m/s²]"""
    ACTION_DELAY = "action_delay"
    """(B, 1) physics steps between a command and the motors' acting on it, whole numbers"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeightScan:
    """Terrain heights on a grid that follows the base's position and heading.

    Reading: (B, n) height of the base above the terrain at each point [m], x-major, where n is
    the number of points. Misses (outside the terrain) read as the height above the border.
    """

    size: tuple[float, float] = (1.6, 1.0)
    """Extent along and across the heading [m]"""
    resolution: float = 0.1
    """Distance between points [m]"""

    def points(self) -> Tensor:
        """Grid points in the heading frame, centred on the base. (n, 2) [m]"""
        half_x, half_y = self.size[0] / 2, self.size[1] / 2
        count_x = round(self.size[0] / self.resolution) + 1
        count_y = round(self.size[1] / self.resolution) + 1
        x = torch.linspace(-half_x, half_x, count_x)
        y = torch.linspace(-half_y, half_y, count_y)
        return torch.cartesian_prod(x, y)


Sensor: TypeAlias = HeightScan
"""What a scene may carry beside the robot's own senses; depth cameras join this union."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RigidObject:
    """A free body beside the robot, for manipulation."""

    name: str
    mjcf: str
    """Path of a one-body model with a free joint, resolved as `Robot.mjcf` is"""
    pose: tuple[float, float, float, float, float, float, float]
    """Where it starts: position and quaternion in the environment's frame [m]"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is simulated, in words that every backend can turn into its own."""

    robot: Robot
    terrain: Terrain = FLAT
    objects: tuple[RigidObject, ...] = ()
    sensors: Mapping[str, Sensor] = field(default_factory=dict)
    dt: float = 0.005
    """Physics period [s]"""


Snapshot: TypeAlias = dict[str, Tensor]
"""Everything that decides a simulator's future, as tensors that torch.save can write."""


class Simulator(Protocol):
    """B copies of a scene stepped together."""

    @property
    def num_envs(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def scene(self) -> Scene: ...
    @property
    def supports(self) -> frozenset[str]:
        """Names of the Fields it can randomise and of the Sensor classes it can serve."""
        ...

    @property
    def origins(self) -> Tensor:
        """Where environments may be placed: centre of each terrain tile. (rows, columns, 3) [m]"""
        ...

    @property
    def metrics(self) -> Mapping[str, Tensor]:
        """Scalar counters of what physics met, e.g. `simulation_errors`."""
        ...

    @property
    def state(self) -> State: ...

    def step(self, target: Tensor, substeps: int) -> None:
        """Hold joint targets (B, A) [rad] for `substeps` physics steps; PD runs in each of them."""
        ...

    def reset(
        self, mask: Tensor, pose: Tensor, velocity: Tensor, joint_pos: Tensor, joint_vel: Tensor
    ) -> None:
        """Put the masked environments (B,) into a state, at rest inside (warm starts, delays).

        `pose` (B, 7) position and quaternion, `velocity` (B, 6) linear and angular, world frame;
        `joint_pos`, `joint_vel` (B, J). Objects go to their starting poses.
        """
        ...

    def randomise(self, field: Field, mask: Tensor, values: Tensor) -> None:
        """Set a field of the masked environments (B,) to `values` (B, n)."""
        ...

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        """Add (B, 6) linear and angular world-frame velocity to the base where masked (B,)."""
        ...

    def wrench(self, mask: Tensor, force: Tensor, torque: Tensor) -> None:
        """Act on the base with (B, 3) [N] and (B, 3) [N·m], world frame, until changed."""
        ...

    def sense(self, sensor: str) -> Tensor:
        """Present reading of a sensor of the scene, by its name."""
        ...

    def snapshot(self) -> Snapshot: ...

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot; the future is then the same, bit for bit on the CPU."""
        ...

    def close(self) -> None: ...
