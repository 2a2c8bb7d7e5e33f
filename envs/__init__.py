"""Environments: tasks by name, and the function that makes them.

Nothing is built at import, and no physics package is imported before its backend is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tutelage.envs.env import Env
    from tutelage.envs.sim.protocol import Scene, Simulator
    from tutelage.envs.task import Task


def _velocity(robot: str, name: str, *, rough: bool = False) -> Task:
    from tutelage.assets import ROBOTS
    from tutelage.envs.tasks.velocity import velocity
    from tutelage.envs.terrain import FLAT, ROUGH

    speed = {"toy": (0.3, 0.0, 0.0), "g1": (0.8, 0.4, 0.8)}.get(robot, (1.0, 0.6, 1.0))
    return velocity(ROBOTS[robot](), ROUGH if rough else FLAT, name=name, speed=speed)


TASKS: dict[str, Callable[[], Task]] = {
    "go2-flat": lambda: _velocity("go2", "go2-flat"),
    "go2-rough": lambda: _velocity("go2", "go2-rough", rough=True),
    "g1-flat": lambda: _velocity("g1", "g1-flat"),
    "toy-flat": lambda: _velocity("toy", "toy-flat"),
}


def _mujoco_cpu(scene: Scene, num_envs: int) -> Simulator:
    from tutelage.envs.sim.mujoco_cpu import MujocoCpu

    return MujocoCpu(scene, num_envs)


SIMULATORS: dict[str, Callable[[Scene, int], Simulator]] = {"mujoco_cpu": _mujoco_cpu}


def known_tasks() -> dict[str, Callable[[], Task]]:
    """Our tasks and those of installed packages (entry points `tutelage.tasks`).

    Not called `tasks`: importing the package `envs.tasks` would put itself in its place.
    """
    found = dict(TASKS)
    for point in entry_points(group="tutelage.tasks"):
        try:
            found[point.name] = point.load()
        except Exception:
            logging.getLogger(__name__).exception("task '%s' (%s) failed", point.name, point.value)
    return found


def make(
    name: str,
    *,
    num_envs: int = 1024,
    sim: str = "mujoco_cpu",
    seed: int = 0,
    history: int = 1,
) -> Env:
    """A rsl_rl `VecEnv` of a task, by name.

    `history` > 1 adds the observation group "history": that many frames of "proprio". Raises
    ValueError, naming the choices, for an unknown task or simulator.
    """
    known = known_tasks()
    if name not in known:
        raise ValueError(f"unknown task '{name}'; known are {sorted(known)}")
    return build(known[name](), num_envs=num_envs, sim=sim, seed=seed, history=history)


def build(
    task: Task, *, num_envs: int, sim: str = "mujoco_cpu", seed: int = 0, history: int = 1
) -> Env:
    """A rsl_rl `VecEnv` of a task that is already a value."""
    from tutelage.envs.env import Env
    from tutelage.envs.sim.protocol import Scene

    if sim not in SIMULATORS:
        raise ValueError(f"unknown simulator '{sim}'; known are {sorted(SIMULATORS)}")
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, not {num_envs}")
    scene = Scene(
        robot=task.robot, terrain=task.terrain, sensors=task.sensors, dt=task.physics_dt
    )
    return Env(task, SIMULATORS[sim](scene, num_envs), seed=seed, history=history)
