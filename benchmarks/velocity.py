"""How fast physics, the environment and training are, measured in one run.

The machine may be shared, so absolute figures drift by more than what is to be measured. The
three kinds of work therefore take turns in short windows, each figure is the median over its
windows, and what is to be quoted are the ratios. Nothing here asserts a time.

* physics: `Simulator.step` alone, with the task's number of substeps;
* environment: `Env.step`, which is physics, rewards, events, resets and observations;
* training: whole iterations of the recipe's teacher, rollout and update.

Physics and environment get the same actions: uniform draws of +-0.2 (+-0.05 rad for most robots)
around the rest pose, new in every control step, so that robots stay on their feet and every
window meets the same contacts. There is no curriculum: environments stand on ground of every kind
and difficulty. Before a window all environments are reset and settle untimed, and their clocks are
spread out, so that resets at the end of an episode happen at their usual rate.
Training acts by its own policy, and meets what an untrained policy meets.

A task called `<robot>-flat` is measured together with `<robot>-rough`, and the other way round.
"""

from __future__ import annotations

import dataclasses
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from tutelage import envs
from tutelage.algos import runs
from tutelage.algos.config import teacher_config
from tutelage.algos.machine import describe_machine, package_versions
from tutelage.algos.recipes import Recipe
from tutelage.algos.runner import Runner
from tutelage.envs.env import Env

AMPLITUDE = 0.2
"""Half-width of the actions"""
SETTLE = 10
"""Untimed control steps after a reset"""
OnWindow: TypeAlias = Callable[[str, int, int], None]
"""Called with what is measured next, windows done, windows altogether."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    num_envs: int = 1024
    windows: int = 7
    """Windows of each kind"""
    steps: int = 12
    """Control steps in a window of physics or the environment"""
    iterations: int = 1
    """Iterations in a window of training"""


def measure(recipe: Recipe, plan: Plan, on_window: OnWindow | None = None) -> dict[str, Any]:
    """Everything that `tutelage bench` writes; speeds in environment steps (of one control
    period each) a second."""
    torch.manual_seed(0)
    began = time.perf_counter()
    env = whole(recipe.task, plan)
    built = time.perf_counter()
    env.step(actions(env))
    first = time.perf_counter()
    runner = trainer(recipe, env, plan)
    runner.learn(1)
    memory = peak_memory()
    work: dict[str, Callable[[], float]] = {
        "physics": lambda: physics(env, plan.steps),
        "environment": lambda: environment(env, plan.steps),
        "training": lambda: training(runner, env, plan.iterations),
    }
    other = sibling(recipe.task)
    second = whole(other, plan) if other else None
    if second:
        second.step(actions(second))
        work |= {
            f"{other} physics": lambda: physics(second, plan.steps),
            f"{other} environment": lambda: environment(second, plan.steps),
        }
    speeds = take_turns(work, plan.windows, on_window)
    feet = standing(env)
    for each in filter(None, (env, second)):
        each.close()
    return {
        "recipe": recipe.name,
        "task": recipe.task,
        "backend": "mujoco_cpu",
        "plan": dataclasses.asdict(plan),
        "actions": f"uniform +-{AMPLITUDE} around the rest pose, new in every control step",
        "decimation": env.task.decimation,
        "steps_per_second": {name: summary(values) for name, values in speeds.items()},
        "ratios": ratios(speeds, recipe.task, other),
        "feet_in_contact_per_world": feet,
        "peak_memory_mib": {"this task": memory, "both tasks": peak_memory()},
        "build_s": round(built - began, 3),
        "first_step_s": round(first - built, 3),
        "git": runs.git_state(Path(runs.__file__).parent),
        "machine": describe_machine() | {"python": platform.python_version()},
        "versions": package_versions(),
    }


def whole(task: str, plan: Plan) -> Env:
    """The task without its curriculum: every command, every kind and difficulty of ground."""
    value = dataclasses.replace(envs.known_tasks()[task](), curriculum=None)
    return envs.build(value, num_envs=plan.num_envs)


def take_turns(
    work: Mapping[str, Callable[[], float]], windows: int, on_window: OnWindow | None
) -> dict[str, list[float]]:
    """Speeds of each kind; in every second round in reverse, so that a drift favours none."""
    speeds: dict[str, list[float]] = {name: [] for name in work}
    done = 0
    for window in range(windows):
        for name in list(work)[:: 1 if window % 2 == 0 else -1]:
            if on_window:
                on_window(name, done, windows * len(work))
            speeds[name].append(work[name]())
            done += 1
    return speeds


def physics(env: Env, steps: int) -> float:
    prepare(env)
    rest, scale = joints(env)
    targets = [rest + scale * actions(env) for _ in range(steps)]
    began = time.perf_counter()
    for target in targets:
        env.sim.step(target, env.task.decimation)
    return steps * env.num_envs / (time.perf_counter() - began)


def environment(env: Env, steps: int) -> float:
    prepare(env)
    drawn = [actions(env) for _ in range(steps)]
    began = time.perf_counter()
    for action in drawn:
        env.step(action)
    return steps * env.num_envs / (time.perf_counter() - began)


def training(runner: Runner, env: Env, iterations: int) -> float:
    prepare(env)
    began = time.perf_counter()
    runner.learn(iterations)
    steps = iterations * int(runner.cfg["num_steps_per_env"])
    return steps * env.num_envs / (time.perf_counter() - began)


def trainer(recipe: Recipe, env: Env, plan: Plan) -> Runner:
    teacher = dataclasses.replace(recipe.teacher, num_envs=plan.num_envs)
    config = teacher_config(dataclasses.replace(recipe, teacher=teacher))
    return Runner(env, config, None)


def prepare(env: Env) -> None:
    """All on their feet, at random times of their episodes."""
    with torch.inference_mode():
        env.reset()
        length = env.max_episode_length - 2 * SETTLE
        env.episode_length_buf = torch.randint_like(env.episode_length_buf, high=max(length, 1))
        for _ in range(SETTLE):
            env.step(actions(env))


def actions(env: Env) -> torch.Tensor:
    return AMPLITUDE * (2 * torch.rand(env.num_envs, env.num_actions) - 1)


def joints(env: Env) -> tuple[torch.Tensor, torch.Tensor]:
    """Rest pose and action scale. (A,) [rad]"""
    robot = env.task.robot
    rest = torch.tensor([joint.rest for joint in robot.joints])
    return rest, torch.tensor([joint.action_scale for joint in robot.joints])


def standing(env: Env) -> float:
    """Mean number of feet that carry a force, under the actions of the windows."""
    prepare(env)
    return round(float(env.sim.state.foot_contact.sum(-1).float().mean()), 3)


def sibling(task: str) -> str | None:
    robot, _, ground = task.rpartition("-")
    other = f"{robot}-{ {'flat': 'rough', 'rough': 'flat'}.get(ground, '') }"
    return other if other in envs.TASKS else None


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 1),
        "low": round(min(values), 1),
        "high": round(max(values), 1),
    }


def ratios(speeds: Mapping[str, list[float]], task: str, other: str | None) -> dict[str, float]:
    """Medians of the ratios within a round, where the machine was in one state."""

    def ratio(above: str, below: str) -> float:
        pairs = zip(speeds[above], speeds[below], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 4)

    found = {
        "environment / physics": ratio("environment", "physics"),
        "training / environment": ratio("training", "environment"),
    }
    if other:
        found[f"{other} environment / physics"] = ratio(f"{other} environment", f"{other} physics")
        pair = ("physics", f"{other} physics")
        rough, flat = pair if task.endswith("-rough") else pair[::-1]
        found["physics rough / flat"] = ratio(rough, flat)
    return found


def peak_memory() -> float:
    """Largest resident size of this process so far [MiB]."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
