"""The tensors a task is written in.

B environments, J joints, F feet, K links, O objects, A actions, C command entries. SI units;
quaternions are (w, x, y, z). A name that ends in `_w` is in the world frame, `_b` in the base
frame. Joints, feet and links come in the Robot's own order, whatever the backend's. All tensors
are float32 on the simulator's device unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class State:
    """What physics knows after the last step or reset. To be read, never to be written to."""

    root_pos_w: Tensor
    """Origin of the base body. (B, 3) [m]"""
    root_quat_w: Tensor
    """Rotation from base to world. (B, 4), (w, x, y, z)"""
    lin_vel_b: Tensor
    """Velocity of the base's origin. (B, 3) [m/s]"""
    ang_vel_b: Tensor
    """Angular velocity of the base. (B, 3) [rad/s]"""
    gravity_b: Tensor
    """Unit vector along gravity. (B, 3); (0, 0, -1) when upright"""
    joint_pos: Tensor
    """(B, J) [rad]"""
    joint_vel: Tensor
    """(B, J) [rad/s]"""
    joint_torque: Tensor
    """Torque the motors applied in the last physics step. (B, J) [N·m]"""
    foot_pos_w: Tensor
    """Origins of the feet. (B, F, 3) [m]"""
    foot_vel_w: Tensor
    """(B, F, 3) [m/s]"""
    foot_force_w: Tensor
    """Contact force on each foot in the last physics step. (B, F, 3) [N]"""
    foot_contact: Tensor
    """Whether the foot carries a contact force. (B, F) bool"""
    link_force: Tensor
    """Size of the contact force on each link. (B, K) [N]"""
    object_pose_w: Tensor
    """Position and quaternion of the scene's objects. (B, O, 7) [m]"""
    object_vel_w: Tensor
    """Linear and angular velocity of the scene's objects. (B, O, 6) [m/s, rad/s]"""
    faulty: Tensor
    """Where the last step failed inside the physics engine; the numbers there are those of the
    last good state and the environment must be reset. (B,) bool"""


@dataclass(frozen=True, slots=True)
class Context:
    """All that a term may look at, at the end of a control step."""

    state: State
    last_joint_vel: Tensor
    """Joint velocities one control step ago. (B, J) [rad/s]"""
    command: Tensor
    """What the robot is asked to do. (B, C), meaning given by the task's command"""
    action: Tensor
    """The policy's action in this step, after the task's clip. (B, A)"""
    last_action: Tensor
    """The action one step before. (B, A)"""
    last_last_action: Tensor
    """The action two steps before. (B, A)"""
    target: Tensor
    """Joint targets handed to physics in this step. (B, A) [rad]"""
    time: Tensor
    """Time since the episode began. (B,) [s]"""
    dt: float
    """Control period [s]"""
    dynamics: Mapping[str, Tensor]
    """What the events last drew, by the name of the Field, e.g. dynamics["friction"]: (B, 1)"""
    base_height: Tensor
    """Height of the base's origin above the ground under it. (B,) [m]"""
    foot_height: Tensor
    """Height of the feet's origins above the ground under them. (B, F) [m]"""
    rest: Tensor
    """The robot's rest pose. (J,) [rad]"""
    lower: Tensor
    """The joints' lower limits. (J,) [rad]"""
    upper: Tensor
    """The joints' upper limits. (J,) [rad]"""
    sense: Callable[[str], Tensor]
    """Reading of a named sensor of the scene, computed when first asked for in a step"""
