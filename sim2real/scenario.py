"""Scenarios: written lists of episodes that a policy is judged on.

A scenario is a YAML file beside this module, or anywhere. Each entry under `episodes` is one kind
of episode; `each` lists the values of its variables, which `$name` then stands for, and the entry
becomes one episode for every combination, in the written order (`$name.0` is the first item of a
list). `seeds: n` repeats each with n seeds. Nothing is drawn here: the same file always gives the
same episodes.

Commands are (vx, vy, wz): forward and leftward velocity [m/s] and yaw rate [rad/s]. With
`commands: absolute` they are clipped to the ranges in the policy's contract; with `fraction` they
run from -1 to 1 and are scaled by those ranges, so that any robot can be asked.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from tutelage.sim2real.contract import CommandContract

COMMANDS = ("vx", "vy", "wz")
"""Entries of a command, in the order in which scenarios write them."""

Vector: TypeAlias = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """From `at` on the robot is asked for `command`, reached linearly over `ramp`."""

    at: float
    """[s]"""
    command: Vector
    """(vx, vy, wz) [m/s, m/s, rad/s]"""
    ramp: float = 0.0
    """[s]; 0: a step"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """A constant horizontal force on the base for `lasts` seconds."""

    at: float
    """[s]"""
    speed: float
    """Impulse for each kilogram of the robot [N·s/kg = m/s]"""
    angle: float
    """Direction it pushes to, from the heading, anticlockwise [degrees]"""
    lasts: float = 0.1
    """[s]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What the robot walks on; see `terrain.KINDS` for what the size means."""

    kind: str = "flat"
    size: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """Everything that decides one episode."""

    name: str
    group: str
    duration: float
    """[s]"""
    segments: tuple[Segment, ...]
    pushes: tuple[Push, ...] = ()
    payload: float = 0.0
    """Mass added at the base's centre of mass [kg]"""
    friction: float = 0.8
    """Sliding friction of every contact"""
    strength: float = 1.0
    """Factor on the torque that the motors deliver, their limit included"""
    action_delay: float = 0.0
    """From the policy's command to the motors [s]"""
    sensor_delay: float = 0.0
    """From the robot's motion to the policy [s]"""
    ground: Ground = Ground()
    noise: float = 1.0
    """Factor on the sensor noise written in the contract"""
    seed: int = 0

    def command(self, time: float) -> Vector:
        """What is asked for at `time` [s]."""
        current = self.segments[0].command
        for segment in self.segments:
            if time < segment.at:
                break
            share = 1.0 if segment.ramp <= 0 else min((time - segment.at) / segment.ramp, 1.0)
            current = tuple(
                before + share * (after - before)
                for before, after in zip(current, segment.command, strict=True)
            )
        return current

    def steps(self) -> tuple[float, ...]:
        """Times at which the command jumps [s], the start included."""
        return (0.0, *(s.at for s in self.segments if s.ramp <= 0 and s.at > 0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """What an episode must keep to be a success, beside surviving."""

    velocity_error: float = 0.35
    """Largest mean planar error while a planar velocity is asked for [m/s]"""
    yaw_error: float = 0.35
    """Largest mean error of the yaw rate [rad/s]"""
    share: float = 0.6
    """Both errors also stay below this share of the mean command where the robot is asked to
    move; a robot that stands still has 1.0 and fails"""
    settle: float = 0.5
    """Time after a step of the command that does not count [s]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Physics:
    """The check's own set-up of MuJoCo, on purpose not that of training."""

    timestep: float = 0.002
    """Longest physics step [s]; the nearest that divides the control period is taken"""
    integrator: str = "euler"
    cone: str = "elliptic"
    iterations: int = 100
    knee: float = 0.5
    """Share of a motor's top speed up to which it gives full torque; from there the torque in
    the direction of motion falls linearly to zero at top speed"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """Episodes, the set-up they run in and what counts as success."""

    name: str
    about: str
    commands: str
    """"absolute" or "fraction" """
    episodes: tuple[Episode, ...]
    thresholds: Thresholds
    physics: Physics
    video: str
    """Name of the episode that is filmed"""
    sha256: str
    """Of the file"""

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(episode.group for episode in self.episodes))


def scenarios() -> tuple[str, ...]:
    """Names of the scenarios that come with the package."""
    folder = files("tutelage.sim2real").joinpath("scenarios")
    return tuple(sorted(Path(f.name).stem for f in folder.iterdir() if f.name.endswith(".yaml")))


def load(name: str | Path) -> Scenario:
    """A scenario by its name in the package or by the path of its file.

    `name:subset`, e.g. "quadruped:smoke", keeps the episodes of a subset named in the file.
    """
    text, _, subset = str(name).partition(":")
    path = Path(text)
    if not path.suffix:
        path = Path(str(files("tutelage.sim2real").joinpath("scenarios", f"{text}.yaml")))
    if not path.is_file():
        raise FileNotFoundError(
            f"no scenario '{name}'; there are {', '.join(scenarios())}, or give a file's path"
        )
    raw = path.read_bytes()
    return _scenario(yaml.safe_load(raw), path.stem, hashlib.sha256(raw).hexdigest(), subset)


def _scenario(data: dict[str, Any], name: str, sha256: str, subset: str) -> Scenario:
    known = {"about", "commands", "thresholds", "physics", "directions", "defaults", "video"}
    _only(data, known | {"subsets", "episodes"}, f"scenario '{name}'")
    directions = {k: tuple(map(float, v)) for k, v in data.get("directions", {}).items()}
    defaults = data.get("defaults", {})
    episodes = tuple(
        episode
        for entry in data["episodes"]
        for episode in _expand({**defaults, **entry}, directions)
    )
    names = [episode.name for episode in episodes]
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ValueError(f"scenario '{name}' has two episodes of the name {twice[0]}")
    if data["commands"] not in ("absolute", "fraction"):
        raise ValueError(
            f"scenario '{name}': commands is '{data['commands']}', not absolute or fraction"
        )
    if subset:
        episodes = _subset(episodes, data.get("subsets", {}), subset, name)
    return Scenario(
        name=f"{name}:{subset}" if subset else name,
        about=" ".join(data["about"].split()),
        commands=data["commands"],
        episodes=episodes,
        thresholds=_make(Thresholds, data.get("thresholds", {}), name),
        physics=_make(Physics, data.get("physics", {}), name),
        video=data.get("video", names[0]),
        sha256=sha256,
    )


def _subset(
    episodes: tuple[Episode, ...], subsets: Mapping[str, Any], subset: str, name: str
) -> tuple[Episode, ...]:
    """The named episodes, cut to the subset's duration."""
    if subset not in subsets:
        raise ValueError(f"scenario '{name}' has no subset '{subset}'; it has {sorted(subsets)}")
    by_name = {episode.name: episode for episode in episodes}
    chosen = subsets[subset]
    _only(chosen, {"duration", "episodes"}, f"subset '{subset}'")
    missing = [n for n in chosen["episodes"] if n not in by_name]
    if missing:
        raise ValueError(f"subset '{subset}' names unknown episodes {missing}")
    return tuple(
        replace(by_name[n], duration=min(by_name[n].duration, float(chosen["duration"])))
        for n in chosen["episodes"]
    )


def _expand(entry: dict[str, Any], directions: Mapping[str, Vector]) -> Iterator[Episode]:
    """One episode for every combination of the entry's variables and seeds."""
    allowed = {f.name for f in fields(Episode)} - {"name", "seed", "segments", "ground"}
    where = f"episodes of group '{entry.get('group')}'"
    _only(entry, allowed | {"commands", "each", "seeds", "kind", "size", "delay", "label"}, where)
    variables = entry.get("each", {})
    for values in itertools.product(*variables.values()):
        chosen = dict(zip(variables, values, strict=True))
        filled = {k: _fill(v, chosen, where) for k, v in entry.items() if k != "each"}
        words = [str(filled.get("label", filled["group"])), *(_word(v) for v in values)]
        for seed in range(int(filled.get("seeds", 1))):
            name = " ".join(words) + (f" #{seed + 1}" if filled.get("seeds", 1) > 1 else "")
            yield _episode(name, filled, directions)


def _episode(name: str, entry: Mapping[str, Any], directions: Mapping[str, Vector]) -> Episode:
    simple = ("payload", "friction", "strength", "action_delay", "sensor_delay", "noise")
    numbers = {key: float(entry[key]) for key in simple if key in entry}
    if "delay" in entry:
        numbers["action_delay"], numbers["sensor_delay"] = map(float, entry["delay"])
    return Episode(
        name=name,
        group=entry["group"],
        duration=float(entry["duration"]),
        segments=tuple(_segment(s, directions, name) for s in entry["commands"]),
        pushes=tuple(_make(Push, push, name) for push in entry.get("pushes", ())),
        ground=Ground(kind=entry.get("kind", "flat"), size=float(entry.get("size", 0.0))),
        # A name's checksum, so that an episode keeps its seed when others are added to the file.
        seed=zlib.crc32(name.encode()),
        **numbers,
    )


def _segment(data: Mapping[str, Any], directions: Mapping[str, Vector], where: str) -> Segment:
    _only(data, {"at", "command", "ramp"}, f"a command of '{where}'")
    command = data["command"]
    if isinstance(command, str):
        if command not in directions:
            raise ValueError(f"'{where}' asks for '{command}'; directions are {list(directions)}")
        command = directions[command]
    if len(command) != len(COMMANDS):
        raise ValueError(f"'{where}': a command has the entries {COMMANDS}, not {command}")
    vector = tuple(map(float, command))
    return Segment(at=float(data["at"]), command=vector, ramp=float(data.get("ramp", 0.0)))


def _fill(value: Any, chosen: Mapping[str, Any], where: str) -> Any:
    """`value` with every "$name" in it replaced."""
    if isinstance(value, str) and value.startswith("$"):
        name, _, item = value[1:].partition(".")
        if name not in chosen:
            raise ValueError(f"{where} use {value}, but `each` has only {list(chosen)}")
        return chosen[name][int(item)] if item else chosen[name]
    if isinstance(value, dict):
        return {k: _fill(v, chosen, where) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(v, chosen, where) for v in value]
    return value


def _word(value: Any) -> str:
    return "+".join(map(_word, value)) if isinstance(value, list) else str(value)


def _make(cls: type[Any], data: Mapping[str, Any], where: str) -> Any:
    _only(data, {f.name for f in fields(cls)}, f"{cls.__name__.lower()} of '{where}'")
    return cls(**{k: v if isinstance(v, str) else float(v) for k, v in data.items()})


def _only(data: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key '{unknown[0]}'; known are {sorted(known)}")


def fit(
    episode: Episode, commands: tuple[CommandContract, ...], mode: str
) -> tuple[Episode, bool]:
    """The episode with commands that the policy was made for, and whether any was clipped.

    "fraction": 1 becomes the upper end of the range, -1 the lower. An entry of a command that
    the contract does not have becomes 0.
    """
    ranges = {c.name: (c.low, c.high) for c in commands}

    def one(name: str, value: float) -> float:
        low, high = ranges.get(name, (0.0, 0.0))
        if mode == "fraction":
            return value * high if value >= 0 else -value * low
        return min(max(value, low), high)

    segments = tuple(
        replace(s, command=tuple(one(n, v) for n, v in zip(COMMANDS, s.command, strict=True)))
        for s in episode.segments
    )
    changed = any(a.command != b.command for a, b in zip(segments, episode.segments, strict=True))
    return replace(episode, segments=segments), changed and mode == "absolute"


def possible(plan: Scenario, commands: tuple[CommandContract, ...]) -> Scenario:
    """The scenario without the episodes that ask only for what the policy was not made for.

    A robot with no sideways command would be asked to stand there, which is another episode.
    """

    def asks(episode: Episode) -> bool:
        return any(any(segment.command) for segment in episode.segments)

    kept = tuple(
        episode
        for episode in plan.episodes
        if not asks(episode) or asks(fit(episode, commands, plan.commands)[0])
    )
    if not kept:
        names = [command.name for command in commands]
        raise ValueError(f"scenario '{plan.name}' asks for nothing that the commands {names} allow")
    return replace(plan, episodes=kept)
