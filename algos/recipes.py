"""Recipes: task + teacher + student + the numbers they must reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """rsl_rl's PPO on proprio + privileged observations."""

    num_envs: int = 1024
    steps: int = 24
    """Control steps of each environment in an iteration"""
    iterations: int = 400
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "elu"
    init_std: float = 1.0
    std_range: tuple[float, float] = (0.05, 1.5)
    """Bounds that the policy's standard deviation cannot leave"""
    learning_rate: float = 1e-3
    entropy: float = 0.005
    epochs: int = 4
    minibatches: int = 4
    gamma: float = 0.99
    lam: float = 0.95
    desired_kl: float = 0.01
    symmetry: bool = False
    """Add the mirror image of every sample to the batch"""


@dataclass(frozen=True, kw_only=True)
class Student:
    """DAgger on proprio observations."""

    encoder: str = "gru"
    """One of `policies.encoder.ENCODERS`"""
    history: int = 1
    """Frames in the input; 1 for recurrent encoders"""
    width: int = 128
    """Size of the encoder's output"""
    hidden: tuple[int, ...] = (128, 64)
    num_envs: int = 512
    steps: int = 24
    iterations: int = 300
    learning_rate: float = 1e-3
    epochs: int = 2
    gradient_length: int = 12
    """Control steps through which the gradient flows back"""
    beta: tuple[float, float, int] = (1.0, 0.0, 50)
    """Share of environments where the teacher acts: from, to, over this many iterations"""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One number of the report and the bound it must keep."""

    metric: str
    low: float = float("-inf")
    high: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything `tutelage run` needs to know."""

    name: str
    summary: str
    robot: str
    """A name in `assets.ROBOTS`"""
    task: str
    """A name in `envs.TASKS`"""
    teacher: Teacher = field(default_factory=Teacher)
    student: Student = field(default_factory=Student)
    scenario: str = "quadruped"
    """Scenario file of the check"""
    teacher_gates: tuple[Gate, ...] = ()
    gates: tuple[Gate, ...] = ()
    """On the student, in the independent check"""


RECIPES: dict[str, Callable[[], Recipe]] = {}
