"""What a task is made of: observations, rewards, terminations, events, a command.

A task is a value, returned by a function of a Robot, and holds functions of a Context with their
parameters bound by `functools.partial`, so that a type checker sees a misspelling. Whether a robot
can sense an observation is said where the observation is declared, and a group for the student
that holds a privileged one is refused when the environment is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Generator, Tensor

from tutelage.assets.robot import Robot
from tutelage.envs.sim.protocol import Field, Sensor
from tutelage.envs.state import Context
from tutelage.envs.terrain import FLAT, Terrain

Term: TypeAlias = Callable[[Context], Tensor]
"""A function of a Context; (B,) for rewards and terminations, (B, n) for observations."""


@runtime_checkable
class Memory(Protocol):
    """What a term with memory offers beside `__call__`: a small class, e.g. of air times."""

    def reset(self, mask: Tensor) -> None:
        """Forget the masked environments' past. mask (B,)"""
        ...

    def snapshot(self) -> dict[str, Tensor]: ...

    def restore(self, snapshot: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A term and what happens to it on its way to a policy, in this written order.

    value -> + noise -> + bias -> delay -> * scale -> clip. History is kept for a whole group,
    after this (`envs.make(history=...)`), so that frames stay together.
    """

    term: Term
    unit: str
    frame: str = ""
    """"base", "world", "heading" or "" where none applies"""
    source: str = ""
    """What a robot's software must supply to recompute the term outside the simulator, one of
    `sim2real.contract.SOURCES`; empty for what only a simulator knows"""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Numbers that the source needs, e.g. the frequency of a gait clock; exported as they are"""
    mirror: str = "none"
    """How the term changes in the robot's mirror, one of `mirror.KINDS`"""
    noise: float = 0.0
    """Half-width of uniform noise, drawn in every step [the term's unit]"""
    bias: float = 0.0
    """Half-width of a uniform offset, drawn once an episode [the term's unit]"""
    delay: tuple[float, float] = (0.0, 0.0)
    """Range of the latency, drawn once an episode [s]"""
    scale: float = 1.0
    clip: float | None = None
    """Largest magnitude after scaling"""

    @property
    def privileged(self) -> bool:
        return not self.source


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """A term and its weight for each second; the environment multiplies by the control period."""

    term: Term
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happens to physics: a field drawn anew, or a push."""

    field: Field | None = None
    """What is drawn; None for a push (a jump of the base's velocity)"""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    """Range of a uniform draw, one entry for each value of the field (or one for all); whole
    numbers are drawn for an action delay. For a push: linear [m/s] and angular [rad/s]
    world-frame velocity, six entries"""
    every: tuple[float, float] | None = None
    """Range of the time between occurrences [s]; None: once, at the start of each episode"""


class Command(Protocol):
    """Draws what the robot is asked to do. Stateful, one per environment copy."""

    size: int
    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def reset(self, mask: Tensor) -> None:
        """Draw anew for the masked environments (B,)."""
        ...

    def widen(self, share: Tensor) -> None:
        """Draw from this share of the full range from now on. () in 0..1"""
        ...

    def step(self, dt: float) -> None:
        """Let time pass; draw anew where a command's time is up."""
        ...

    @property
    def value(self) -> Tensor:
        """(B, C)"""
        ...

    def snapshot(self) -> dict[str, Tensor]: ...

    def restore(self, snapshot: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """When things become harder."""

    widen_above: float = 0.5
    """The command's range grows with each episode that earns more than this share of the `track`
    reward of a whole perfect episode; so one that ends in a fall seldom does"""
    widen_by: float = 0.3
    """Growth of the range when every environment has ended one such episode, as a share of the
    full range"""
    start: float = 0.5
    """Share of the full range at the start"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to observe, reward, randomise, command and end."""

    name: str
    robot: Robot
    proprio: Mapping[str, Observation]
    """What the student sees: only terms with a source"""
    privileged: Mapping[str, Observation]
    """What the teacher sees beside `proprio`"""
    rewards: Mapping[str, Reward]
    terminations: Mapping[str, Term]
    """(B,) bool: the episode has failed"""
    metrics: Mapping[str, Term] = field(default_factory=dict)
    """(B,) what a person wants to know, e.g. the velocity error [m/s]; logged, never learnt from"""
    command: Callable[[int, Any, Generator], Command]
    """Makes the command for (num_envs, device, generator)"""
    events: Mapping[str, Event] = field(default_factory=dict)
    terrain: Terrain = FLAT
    sensors: Mapping[str, Sensor] = field(default_factory=dict)
    control_dt: float = 0.02
    """Control period [s]"""
    physics_dt: float = 0.005
    """Physics period [s]"""
    episode: float = 20.0
    """Longest episode [s]"""
    action_clip: float = 10.0
    """Largest magnitude of an action"""
    reset_noise: float = 0.1
    """Half-width of the uniform draw around the rest pose at reset [rad]"""
    curriculum: Curriculum | None = None
    """Moves environments between terrain levels, and widens the command"""

    def __post_init__(self) -> None:
        leaks = [name for name, term in self.proprio.items() if term.privileged]
        if leaks:
            raise ValueError(
                f"task '{self.name}': the student's observations {leaks} have no source a robot "
                f"could sense; move them to `privileged` or name their source"
            )
        steps = self.control_dt / self.physics_dt
        if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
            raise ValueError(
                f"task '{self.name}': the control period {self.control_dt} s is not a whole number "
                f"of physics periods {self.physics_dt} s"
            )

    @property
    def decimation(self) -> int:
        """Physics steps in a control step."""
        return round(self.control_dt / self.physics_dt)
