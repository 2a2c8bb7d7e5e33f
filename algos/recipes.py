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
    iterations: int = 250
    hidden: tuple[int, ...] = (256, 128)
    activation: str = "elu"
    init_std: float = 1.0
    std_range: tuple[float, float] = (0.05, 1.5)
    """Bounds that the policy's standard deviation cannot leave"""
    learning_rate: float = 1e-3
    schedule: str = "fixed"
    """"fixed", or "adaptive": by `desired_kl`. With batches as small as a CPU allows, the adaptive
    rule falls to steps too small to learn from: at 1024 environments it stood at 6e-5"""
    entropy: float = 0.003
    epochs: int = 5
    minibatches: int = 8
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
    iterations: int = 250
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


def go2_flat() -> Recipe:
    return Recipe(
        name="go2-flat",
        summary="Unitree Go2 follows velocity commands on flat ground",
        robot="go2",
        task="go2-flat",
        teacher_gates=(Gate(metric="velocity_error", high=0.20),),
        gates=(
            Gate(metric="velocity_error", high=0.25),
            Gate(metric="yaw_error", high=0.20),
            Gate(metric="falls", high=0.02),
        ),
    )


def go2_rough() -> Recipe:
    return Recipe(
        name="go2-rough",
        summary="Unitree Go2 follows velocity commands blind over slopes, stairs and obstacles",
        robot="go2",
        task="go2-rough",
        teacher=Teacher(iterations=200),
        student=Student(iterations=200),
        scenario="rough",
        gates=(Gate(metric="success", low=0.5), Gate(metric="falls", high=0.3)),
    )


def toy_flat() -> Recipe:
    return Recipe(
        name="toy-flat",
        summary="A two-joint toy crawls forward: the whole pipeline in minutes",
        robot="toy",
        task="toy-flat",
        teacher=Teacher(num_envs=256, iterations=60, hidden=(64, 64)),
        student=Student(num_envs=128, iterations=40, width=32, hidden=(64,)),
        scenario="generic",
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "go2-flat": go2_flat,
    "go2-rough": go2_rough,
    "toy-flat": toy_flat,
}
