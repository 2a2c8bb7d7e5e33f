"""`tutelage list`: recipes, robots, tasks and runs."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from tutelage import envs
from tutelage.algos import runs
from tutelage.algos.recipes import RECIPES
from tutelage.assets import ROBOTS
from tutelage.cli import commands
from tutelage.cli.shipped import policies


def list(command: commands.List) -> int:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    recipes = table("recipe", "robot", "task", "shipped policy", "what it is")
    shipped = policies()
    for name, make in RECIPES.items():
        recipe = make()
        has = "yes" if name in shipped else "no"
        recipes.add_row(name, recipe.robot, recipe.task, has, recipe.summary)
    robots = table("robot", "joints", "feet", "mass [kg]")
    for name, made in ROBOTS.items():
        robot = made()
        robots.add_row(name, str(len(robot.joints)), str(len(robot.feet)), f"{robot.mass:.2f}")
    tasks = table("task")
    for name in envs.known_tasks():
        tasks.add_row(name)
    console.print(recipes, "", robots, "", tasks, "", sep="\n")
    found = [
        path
        for experiment in (sorted(command.log_root.iterdir()) if command.log_root.is_dir() else [])
        for path in runs.listing(experiment.name, root=command.log_root)
    ]
    if not found:
        console.print(f"no runs in {command.log_root}")
        return 0
    kept = table("run", "state", "checkpoints", "why")
    for run in found:
        status = runs.status(run)
        count = str(len(runs.checkpoints(run)))
        why = status.get("why", "").splitlines()[:1]
        kept.add_row(str(run), status["state"], count, why[0] if why else "")
    console.print(kept)
    return 0


def table(*columns: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column)
    return made
