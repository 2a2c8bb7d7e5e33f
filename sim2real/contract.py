"""All that a stranger needs to run a policy, as a value whose parts must fit each other.

Standard library only: the robot's own software reads this. `contract_json` writes and reads it;
docs/contract.md explains every key to people who have only the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SCHEMA_VERSION = "1.0"
SOURCES = {
    "angular_velocity": "base angular velocity, base frame [rad/s], 3",
    "gravity": "unit vector along gravity, base frame, 3; (0, 0, -1) when upright",
    "joint_pos": "joint angles minus the default pose, contract order [rad], J",
    "joint_vel": "joint speeds, contract order [rad/s], J",
    "last_action": "the policy's previous action after its clip, zeros after a reset, J",
    "command": "what the robot is asked to do, as `commands` says, C",
    "gait_clock": "sin and cos of 2*pi*frequency*t, t since reset [s]; both 0 while the size of "
    "the command is at most `stand_below`; 2",
}
"""Every way in which an observation term may be computed outside a simulator."""

PARAMETERS = {"gait_clock": ("frequency", "stand_below")}
"""Numbers that a source needs, all of them and no others."""


class ContractError(ValueError):
    """A contract that must not be used, with the key and the reason."""


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
    """target = offset + scale * clip(action), for each joint in order [rad]."""

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
    """Half-width of the uniform noise, new in every step, that it was trained with"""
    bias: float
    """Half-width of the uniform offset, new in every episode, that it was trained with"""
    parameters: dict[str, float]


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
class CameraContract:
    """An image input (1, 1, height, width) float32, and the camera it was trained with."""

    name: str
    """Of the graph's input"""
    kind: str
    """"depth": distance along the optical axis [m]"""
    width: int
    height: int
    """Of the image that the policy reads, after the crop [pixels]"""
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy of that image [pixels]"""
    parent: str
    """Body that carries it"""
    position: tuple[float, float, float]
    """In the parent's frame [m]"""
    quaternion: tuple[float, float, float, float]
    """From camera (x right, y down, z forward) to parent, in `quaternion_order`"""
    crop: tuple[int, int, int, int]
    """Pixels cut off the sensor's image: left, top, right, bottom"""
    near: float
    far: float
    """Values are clipped to near..far [m]; what hits nothing reads far"""
    scale: float
    offset: float
    """The input is scale * (value + offset)"""
    rate: float
    """Images a second [Hz]; between them the last image is held"""
    delay: tuple[float, float]
    """Range of the latency the policy was trained for [s]"""


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
    """Where the policy comes from. What is not known is an empty string."""

    recipe: str
    task: str
    seed: int
    git_commit: str
    """With "-dirty" where files differed from the commit"""
    simulator: str
    versions: dict[str, str]
    teacher_sha256: str
    checkpoint_sha256: str
    created: str
    """ISO 8601"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """T steps played at export: every consumer replays them before trusting the file."""

    resets: list[bool]
    """(T,) where an episode begins before the step; the first is true"""
    readings: dict[str, list[list[float]]]
    """What the sensors said: name -> (T, size), joints in contract order; `joint_pos` is absolute,
    the default pose not subtracted"""
    observations: list[list[float]]
    """(T, n) inputs of the graph that follow from them, history included"""
    actions: list[list[float]]
    """(T, J) outputs of the graph, before the clip"""
    targets: list[list[float]]
    """(T, J) joint targets that the actions mean [rad]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    schema_version: str
    robot: str
    mjcf_sha256: str
    base: str
    feet: tuple[str, ...]
    height: float
    """Of the base above flat ground, standing in the default pose [m]"""
    control_dt: float
    physics_dt: float
    quaternion_order: str
    """"wxyz" """
    gravity_sign: str
    """"down": the gravity vector points to the ground"""
    opset: int
    graph_sha256: str
    """Of the file's bytes without its metadata"""
    joints: tuple[JointContract, ...]
    action: ActionContract
    observations: tuple[ObservationContract, ...]
    history: HistoryContract
    cameras: tuple[CameraContract, ...]
    commands: tuple[CommandContract, ...]
    recurrent: tuple[RecurrentContract, ...]
    lineage: Lineage
    metrics: dict[str, float]
    recording: Recording

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def observation_size(self) -> int:
        """Numbers in the graph's input `obs`."""
        return self.history.length * sum(term.size for term in self.observations)


def validate(contract: Contract) -> None:
    """Refuse a contract whose parts do not fit each other, naming all that is wrong."""
    c = contract
    faults = [
        *_word_faults(c),
        *_action_faults(c),
        *_input_faults(c),
        *_delay_faults(c),
        *_recording_faults(c),
    ]
    steps = c.control_dt / c.physics_dt if c.physics_dt > 0 else 0.0
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6:
        faults.append(f"control_dt: {c.control_dt} is no multiple of physics_dt {c.physics_dt}")
    if faults:
        raise ContractError("; ".join(faults))


def _word_faults(c: Contract) -> Iterator[str]:
    """Words that stand for a way of doing things, of which there is only one so far."""
    words = {
        "quaternion_order": (c.quaternion_order, "wxyz"),
        "gravity_sign": (c.gravity_sign, "down"),
        "history.layout": (c.history.layout, "frame_major"),
        "history.order": (c.history.order, "oldest_first"),
        "history.fill_at_reset": (c.history.fill_at_reset, "repeat_first"),
        "action.meaning": (c.action.meaning, "joint_position"),
        "action.reference": (c.action.reference, "default"),
    }
    words |= {f"recurrent[{i}].reset": (r.reset, "episode") for i, r in enumerate(c.recurrent)}
    words |= {f"cameras[{i}].kind": (r.kind, "depth") for i, r in enumerate(c.cameras)}
    for key, (word, known) in words.items():
        if word != known:
            yield f"{key}: unknown '{word}'; known is '{known}'"


def _delay_faults(c: Contract) -> Iterator[str]:
    delays = {f"joints[{i}]": joint.delay for i, joint in enumerate(c.joints)}
    delays |= {f"observations[{i}]": term.delay for i, term in enumerate(c.observations)}
    delays |= {f"cameras[{i}]": camera.delay for i, camera in enumerate(c.cameras)}
    for key, (low, high) in delays.items():
        if not 0 <= low <= high:
            yield f"{key}.delay: {low}..{high} is no range of times"
    for i, camera in enumerate(c.cameras):
        if min(camera.width, camera.height) < 1 or min(camera.crop) < 0 or camera.rate <= 0:
            yield f"cameras[{i}]: its size, crop and rate must be positive"
        if not 0 <= camera.near < camera.far:
            yield f"cameras[{i}].near: {camera.near} is not below far, {camera.far}"


def _action_faults(c: Contract) -> Iterator[str]:
    yield from _twice("joints", c.joint_names)
    if not c.joints:
        yield "joints: there is none"
    for i, joint in enumerate(c.joints):
        if not joint.lower <= joint.default_pos <= joint.upper:
            yield f"joints[{i}].default_pos: {joint.default_pos} is outside its limits"
        for key in ("kp", "kd", "armature", "friction"):
            if getattr(joint, key) < 0:
                yield f"joints[{i}].{key}: {getattr(joint, key)} is negative"
        for key in ("effort", "speed"):
            if getattr(joint, key) <= 0:
                yield f"joints[{i}].{key}: {getattr(joint, key)} is not positive"
    for key, values in (("scale", c.action.scale), ("offset", c.action.offset)):
        if len(values) != len(c.joints):
            yield f"action.{key}: {len(values)} numbers for {len(c.joints)} joints"
    if c.action.offset != tuple(joint.default_pos for joint in c.joints):
        yield "action.offset: is not the default pose of the joints"
    if c.action.clip <= 0:
        yield f"action.clip: {c.action.clip} is not positive"


def source_sizes(joints: int, commands: int) -> dict[str, int]:
    """How many numbers each source gives."""
    return {
        "angular_velocity": 3, "gravity": 3, "joint_pos": joints, "joint_vel": joints,
        "last_action": joints, "command": commands, "gait_clock": 2,
    }  # fmt: skip


def _input_faults(c: Contract) -> Iterator[str]:
    sizes = source_sizes(len(c.joints), len(c.commands))
    for i, term in enumerate(c.observations):
        at = f"observations[{i}]"
        if term.source not in SOURCES:
            yield f"{at}.source: unknown '{term.source}'; known are {', '.join(SOURCES)}"
            continue
        if term.size != sizes[term.source]:
            yield f"{at}.size: {term.size} where '{term.source}' has {sizes[term.source]}"
        wanted = PARAMETERS.get(term.source, ())
        for key in (key for key in wanted if key not in term.parameters):
            yield f"missing key '{at}.parameters.{key}'"
        for key in (key for key in term.parameters if key not in wanted):
            yield f"unknown key '{at}.parameters.{key}'; '{term.source}' has {list(wanted)}"
        if term.clip is not None and term.clip <= 0:
            yield f"{at}.clip: {term.clip} is not positive"
    if not c.observations or c.history.length < 1:
        yield f"history.length: {c.history.length} frames of {len(c.observations)} observations"
    for i, command in enumerate(c.commands):
        if command.low > command.high:
            yield f"commands[{i}]: low {command.low} is above high {command.high}"
    for i, state in enumerate(c.recurrent):
        if not state.shape or min(state.shape) < 1:
            yield f"recurrent[{i}].shape: {list(state.shape)} holds nothing"
    yield from _twice("observations", [term.name for term in c.observations])
    yield from _twice("commands", [command.name for command in c.commands])
    yield from _twice("recurrent", [state.input for state in c.recurrent])
    yield from _twice("cameras", [camera.name for camera in c.cameras])


def _twice(key: str, names: list[str] | tuple[str, ...]) -> Iterator[str]:
    """Names that occur twice, or that could not be written in a comma-separated list."""
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"{key}: '{name}' occurs twice"
    for name in (n for n in names if not n or "," in n):
        yield f"{key}: {name!r} is empty or holds a comma"


def _recording_faults(c: Contract) -> Iterator[str]:
    joints, r = len(c.joints), c.recording
    if not r.resets or not r.resets[0]:
        yield "recording.resets: must begin with true"
    tables = {"observations": (r.observations, c.observation_size)}
    tables |= {"actions": (r.actions, joints), "targets": (r.targets, joints)}
    sizes = source_sizes(joints, len(c.commands))
    for name in readings_needed(c):
        if name not in r.readings:
            yield f"missing key 'recording.readings.{name}'"
        else:
            tables[f"readings.{name}"] = (r.readings[name], sizes[name])
    for name, (table, width) in tables.items():
        if len(table) != len(r.resets) or any(len(row) != width for row in table):
            yield f"recording.{name}: is not {len(r.resets)} rows of {width}"


def readings_needed(contract: Contract) -> list[str]:
    """Names of the readings that the observation is built from."""
    used = {term.source for term in contract.observations}
    if "gait_clock" in used:
        used.add("command")
    return [name for name in SOURCES if name in used - {"last_action", "gait_clock"}]
