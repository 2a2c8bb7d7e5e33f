"""All that a stranger needs to run a policy, as a value that survives JSON bit for bit.

Standard library only: the robot's own software reads this. A missing key is refused and named,
nothing is ever defaulted; a file of another major version is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = "1.0"

SOURCES = {
    "angular_velocity": "base angular velocity, base frame [rad/s], 3",
    "gravity": "unit vector along gravity, base frame, 3; (0, 0, -1) when upright",
    "joint_pos": "joint angles minus the default pose, contract order [rad], J",
    "joint_vel": "joint speeds, contract order [rad/s], J",
    "last_action": "the policy's previous action, zeros after a reset, A",
    "command": "what the robot is asked to do, as `commands` says, C",
    "gait_clock": "sin and cos of 2*pi*frequency*t, t since reset [s]; both 0 while the size of "
    "the command is at most `stand_below`; 2",
}
"""Every way in which an observation term may be computed outside a simulator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JointContract:
    """One actuated joint, in SI units and radians."""

    name: str
    default_pos: float
    lower: float
    upper: float
    effort: float
    speed: float
    kp: float
    kd: float
    armature: float
    friction: float
    delay: tuple[float, float]
    """Range of the command latency the policy was trained for [s]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionContract:
    """target = reference + offset + scale * clip(action), for each joint in order [rad]."""

    meaning: str
    """"joint_position" """
    reference: str
    """"default": the default pose is in `offset`; nothing else is added"""
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    clip: float
    """Largest magnitude of the raw action"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationContract:
    """One term of the observation: clip(scale * value), in this place of the input."""

    name: str
    source: str
    size: int
    unit: str
    frame: str
    scale: float
    clip: float | None
    delay: tuple[float, float]
    """Range of the latency the policy was trained for [s]"""
    noise: float
    """Half-width of the uniform noise it was trained with"""
    parameters: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryContract:
    """How frames are stacked into the input. Length 1: the frame itself."""

    length: int
    layout: str
    """"frame_major": whole frames one after the other"""
    order: str
    """"oldest_first" """
    fill_at_reset: str
    """"repeat_first": every slot holds the first frame after a reset"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandContract:
    name: str
    unit: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RecurrentContract:
    """One recurrent state: read from `output`, fed to `input` in the next step."""

    input: str
    output: str
    shape: tuple[int, ...]
    initial: float
    reset: str
    """"episode": set to `initial` when an episode begins"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where the policy comes from."""

    recipe: str
    task: str
    seed: int
    git_commit: str
    simulator: str
    versions: dict[str, str]
    teacher_sha256: str
    checkpoint_sha256: str
    created: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A sequence played at export: every consumer replays it before trusting the file."""

    observations: list[list[float]]
    """(T, n) inputs, history included"""
    actions: list[list[float]]
    """(T, A) outputs, the recurrent state carried from the start"""
    targets: list[list[float]]
    """(T, A) joint targets that the actions mean [rad]"""
    resets: list[bool]
    """(T,) where the recurrent state was reset before the step"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    schema_version: str
    robot: str
    mjcf_sha256: str
    base: str
    feet: tuple[str, ...]
    height: float
    control_dt: float
    physics_dt: float
    quaternion_order: str
    """"wxyz" """
    gravity_sign: str
    """"down": the gravity vector points to the ground"""
    opset: int
    joints: tuple[JointContract, ...]
    action: ActionContract
    observations: tuple[ObservationContract, ...]
    history: HistoryContract
    commands: tuple[CommandContract, ...]
    recurrent: tuple[RecurrentContract, ...]
    lineage: Lineage
    metrics: dict[str, float]
    recording: Recording
