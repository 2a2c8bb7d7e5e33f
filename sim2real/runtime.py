"""Runs an exported policy from named sensor readings; needs numpy and onnxruntime only.

    policy = Policy("policy.onnx", joint_order=my_robot.joint_names)
    policy.reset()
    while True:
        targets = policy.step({"angular_velocity": ..., "gravity": ..., "joint_pos": ...,
                               "joint_vel": ..., "command": ...})

The contract inside the file says everything else: what is observed, in which order, what an action
means. The file is refused when its parts do not fit each other, or when replaying the sequence
recorded at export does not give the recorded numbers on this machine.

J joints, C command entries, n numbers in the observation. SI units, angles in radians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.sim2real.contract import (
    Contract,
    ContractError,
    ObservationContract,
    readings_needed,
    source_sizes,
)
from tutelage.sim2real.policy_file import PolicyError, open_policy

__all__ = [
    "Latency", "Loop", "Policy", "PolicyError", "ReadingError", "gravity_from_quaternion",
]  # fmt: skip

Floats: TypeAlias = NDArray[np.float64]
Readings: TypeAlias = Mapping[str, ArrayLike | Mapping[str, float]]
"""By name; `joint_pos` and `joint_vel` as arrays in the caller's order, or by the joints' names."""

REPLAY_TOLERANCE = 1e-4
"""Largest difference from the recording. Processors round differently, by about 1e-6; whoever
feeds a wrong number is off by far more."""


class ReadingError(ValueError):
    """Readings from which no observation can be made; the policy's memory is as it was."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a term of the observation is computed from, joints in contract order."""

    readings: Mapping[str, Floats]
    action: Floats
    """The previous one, after its clip. (J,)"""
    time: float
    """Since the reset [s]"""
    default_pos: Floats


def _gait_clock(moment: Moment, term: ObservationContract) -> Floats:
    if np.linalg.norm(moment.readings["command"]) <= term.parameters["stand_below"]:
        return np.zeros(2)
    angle = 2 * np.pi * (term.parameters["frequency"] * moment.time % 1.0)
    return np.array([np.sin(angle), np.cos(angle)])


SOURCES: dict[str, Callable[[Moment, ObservationContract], Floats]] = {
    "angular_velocity": lambda moment, _: moment.readings["angular_velocity"],
    "gravity": lambda moment, _: moment.readings["gravity"],
    "joint_pos": lambda moment, _: moment.readings["joint_pos"] - moment.default_pos,
    "joint_vel": lambda moment, _: moment.readings["joint_vel"],
    "last_action": lambda moment, _: moment.action,
    "command": lambda moment, _: moment.readings["command"],
    "gait_clock": _gait_clock,
}
"""How each of the contract's sources is computed."""


def gravity_from_quaternion(quaternion: ArrayLike) -> Floats:
    """The reading `gravity` from an IMU's orientation, base to world, (w, x, y, z). (3,)"""
    w, x, y, z = np.asarray(quaternion, dtype=float) / np.linalg.norm(quaternion)
    return np.array([2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1])


@dataclass(frozen=True, slots=True)
class _Memory:
    """All that a policy remembers between steps; replaced as a whole, never written to."""

    steps: int
    action: Floats
    frames: Floats | None
    """(history, n / history); None before the first step"""
    states: Mapping[str, NDArray[np.float32]]


class Loop:
    """The control loop of a contract and a graph that are known to fit each other.

    Joints go in and come out in `joint_order`, which names each joint of the contract once.
    """

    def __init__(
        self, contract: Contract, session: Any, joint_order: Sequence[str] | None = None
    ) -> None:
        self.contract = contract
        self.joint_order = tuple(joint_order or contract.joint_names)
        if sorted(self.joint_order) != sorted(contract.joint_names):
            raise PolicyError(
                f"joint_order must name each joint of the policy once; missing "
                f"{sorted(set(contract.joint_names) - set(self.joint_order))}, unknown "
                f"{sorted(set(self.joint_order) - set(contract.joint_names))}, in all "
                f"{len(self.joint_order)} names for {len(contract.joints)} joints"
            )
        self._session = session
        self._place = np.array([self.joint_order.index(name) for name in contract.joint_names])
        self._needed = readings_needed(contract)
        self._sizes = source_sizes(len(contract.joints), len(contract.commands))
        self._default = np.array([joint.default_pos for joint in contract.joints])
        self._scale = np.array(contract.action.scale)
        self._offset = np.array(contract.action.offset)
        self.default_pos = self._theirs(self._default)
        """Where to hold the joints before the first step, in `joint_order`. (J,) [rad]"""
        self.kp = self._theirs(np.array([joint.kp for joint in contract.joints]))
        self.kd = self._theirs(np.array([joint.kd for joint in contract.joints]))
        self.effort = self._theirs(np.array([joint.effort for joint in contract.joints]))
        self.reset()

    def reset(self) -> None:
        """Begin an episode: time, previous action, history and recurrent state."""
        self.output = np.zeros(len(self.contract.joints))
        """What the graph returned last, before the clip, in contract order. (J,)"""
        self._memory = _Memory(
            steps=0,
            action=np.zeros(len(self.contract.joints)),
            frames=None,
            states={
                state.input: np.full(state.shape, state.initial, np.float32)
                for state in self.contract.recurrent
            },
        )

    @property
    def action(self) -> Floats:
        """The last action after its clip, in contract order. (J,)"""
        return self._memory.action

    def observe(self, readings: Readings) -> NDArray[np.float32]:
        """The input that `step` would give the graph for these readings; nothing is kept. (n,)"""
        return _input(self._window(self._gather(readings))).reshape(-1)

    def step(self, readings: Readings) -> Floats:
        """One control period: joint targets in `joint_order`. (J,) [rad]"""
        frames = self._window(self._gather(readings))
        inputs = {"obs": _input(frames), **self._memory.states}
        names = ["actions", *(state.output for state in self.contract.recurrent)]
        outputs = self._session.run(names, inputs)
        output = outputs[0][0].astype(np.float64)
        if not np.isfinite(output).all():
            raise PolicyError(f"the graph returned {output} in step {self._memory.steps}")
        clip = self.contract.action.clip
        states = {s.input: v for s, v in zip(self.contract.recurrent, outputs[1:], strict=True)}
        self.output = output
        self._memory = _Memory(
            self._memory.steps + 1, np.clip(output, -clip, clip), frames, states
        )
        return self._theirs(self._offset + self._scale * self._memory.action)

    def torques(self, targets: ArrayLike, joint_pos: ArrayLike, joint_vel: ArrayLike) -> Floats:
        """The motors' law, for robots that take torques; all in `joint_order`. (..., J) [N·m]"""
        error = np.asarray(targets, dtype=float) - np.asarray(joint_pos, dtype=float)
        wanted = self.kp * error - self.kd * np.asarray(joint_vel, dtype=float)
        torques: Floats = np.clip(wanted, -self.effort, self.effort)
        return torques

    def _theirs(self, values: Floats) -> Floats:
        """From contract order to `joint_order`."""
        reordered = np.empty_like(values)
        reordered[self._place] = values
        return reordered

    def _gather(self, readings: Readings) -> dict[str, Floats]:
        """The readings needed, checked, joints in contract order."""
        missing = [name for name in self._needed if name not in readings]
        if missing:
            raise ReadingError(f"missing readings {missing}; needed are {self._needed}")
        gathered = {name: self._array(name, readings[name]) for name in self._needed}
        norm = np.linalg.norm(gathered.get("gravity", (0.0, 0.0, 1.0)))
        if not 0.5 < norm < 1.5:
            raise ReadingError(f"gravity is a unit vector pointing down, not one of size {norm:g}")
        return gathered

    def _array(self, name: str, reading: ArrayLike | Mapping[str, float]) -> Floats:
        joints = name in ("joint_pos", "joint_vel")
        if isinstance(reading, Mapping):
            names = self.contract.joint_names if joints else ()
            absent = [joint for joint in names if joint not in reading]
            if absent:
                raise ReadingError(f"reading '{name}' lacks the joints {absent}")
            reading, joints = [reading[joint] for joint in names], False
        values = np.asarray(reading, dtype=np.float64)
        if values.shape != (self._sizes[name],):
            raise ReadingError(
                f"reading '{name}' has shape {values.shape}; it must be ({self._sizes[name]},)"
            )
        if not np.isfinite(values).all():
            raise ReadingError(f"reading '{name}' is not finite: {values}")
        return values[self._place] if joints else values

    def _window(self, readings: Mapping[str, Floats]) -> Floats:
        """The history with the newest frame last. (history, n / history)"""
        memory = self._memory
        time_now = memory.steps * self.contract.control_dt
        moment = Moment(readings, memory.action, time_now, self._default)
        frame = np.concatenate([_term(moment, term) for term in self.contract.observations])
        if memory.frames is None:
            return np.tile(frame, (self.contract.history.length, 1))
        return np.concatenate((memory.frames[1:], frame[None]))


def _input(frames: Floats) -> NDArray[np.float32]:
    """The graph's input. (1, n)"""
    with np.errstate(over="ignore"):
        vector = frames.reshape(1, -1).astype(np.float32)
    if not np.isfinite(vector).all():
        raise ReadingError(f"an observation is too large: {np.abs(frames).max():g}")
    return vector


def _term(moment: Moment, term: ObservationContract) -> Floats:
    value = term.scale * SOURCES[term.source](moment, term)
    return value if term.clip is None else np.clip(value, -term.clip, term.clip)


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Time of one control step [s]."""

    p50: float
    p99: float
    worst: float


class Policy(Loop):
    """An exported policy that was found to be what its contract says."""

    def __init__(self, path: str | Path, joint_order: Sequence[str] | None = None) -> None:
        """Load and replay. PolicyError when the file is refused, with the reason."""
        try:
            contract, session = open_policy(Path(path))
            super().__init__(contract, session, joint_order)
            _replay(Loop(contract, session))
        except (PolicyError, ContractError) as error:
            raise PolicyError(f"{path}: {error}") from error

    def bench(self, steps: int = 1000) -> Latency:
        """How long a step takes on this machine; the policy's memory is left as it is."""
        kept, output, recording = self._memory, self.output, self.contract.recording
        taken = []
        for i in range(steps + 10):
            row = i % len(recording.resets)
            readings = {
                name: np.array(table[row]) for name, table in recording.readings.items()
            }
            before = time.perf_counter()
            self.step(readings)
            taken.append(time.perf_counter() - before)
        self._memory, self.output = kept, output
        used = np.array(taken[10:])  # the first steps warm caches up
        return Latency(
            p50=float(np.quantile(used, 0.5)),
            p99=float(np.quantile(used, 0.99)),
            worst=float(used.max()),
        )


def _replay(loop: Loop) -> None:
    """Refuse a policy that does not reproduce its recording here and now."""
    contract, recording = loop.contract, loop.contract.recording
    names = [f"{t.name}[{i}]" for t in contract.observations for i in range(t.size)]
    for step, reset in enumerate(recording.resets):
        if reset:
            loop.reset()
        readings = {name: np.array(table[step]) for name, table in recording.readings.items()}
        observation = loop.observe(readings)
        targets = loop.step(readings)
        labels = contract.joint_names
        _compare("observation", step, observation, recording.observations[step], names)
        _compare("action", step, loop.output, recording.actions[step], labels)
        _compare("joint target", step, targets, recording.targets[step], labels)


def _compare(
    what: str, step: int, got: NDArray[Any], recorded: list[float], names: Sequence[str]
) -> None:
    gap = np.abs(got - np.array(recorded))
    worst = int(gap.argmax())
    if not gap[worst] <= REPLAY_TOLERANCE:
        raise PolicyError(
            f"replaying the recording fails: in step {step} the {what} "
            f"'{names[worst % len(names)]}' is {got[worst]:.6g}, recorded is "
            f"{recorded[worst]:.6g}; neither this file nor this machine can be trusted with it"
        )
