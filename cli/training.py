"""`tutelage train` and `tutelage distill`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import yaml

from tutelage.algos import runs
from tutelage.algos import train as training
from tutelage.algos.evaluate import GateFailed
from tutelage.algos.guard import NonFiniteLoss
from tutelage.algos.plain import from_plain, read_yaml, to_plain
from tutelage.algos.recipes import Recipe
from tutelage.algos.runner import NonFiniteRollout
from tutelage.cli import commands
from tutelage.cli.names import UserError
from tutelage.cli.progress import Line
from tutelage.cli.recipes import asked_for, recipe_named, with_numbers

FAILURES = (GateFailed, training.TeacherMismatch, NonFiniteLoss, NonFiniteRollout)
"""What may come of a run that was asked for correctly."""


def train(command: commands.Train) -> int:
    recipe = recipe_of(command, "teacher")
    if command.print_config:
        return show(with_numbers(recipe, "teacher", command))
    with Line() as line:
        line.begin("teacher")
        return concluded(lambda: training.train(recipe, **settings(command, line)), line)


def distill(command: commands.Distill) -> int:
    recipe = recipe_of(command, "student")
    if command.print_config:
        return show(with_numbers(recipe, "student", command))
    teacher = teacher_of(command)
    with Line() as line:
        line.begin("student", "verifying the teacher")
        return concluded(
            lambda: training.distill(recipe, teacher, **settings(command, line)), line
        )


def teacher_of(command: commands.Distill) -> Path | None:
    """A checkpoint or run of a teacher; None where a resumed run knows its own."""
    if command.resume is not None:
        if command.teacher is not None:
            raise UserError("a run that is resumed keeps its teacher; leave --teacher away")
        return None
    if command.teacher is None:
        raise UserError(
            f"distillation needs --teacher RUN|FILE; make one with: tutelage train {command.recipe}"
        )
    if command.teacher.is_file():
        return command.teacher
    return runs.find(command.teacher, root=command.log_root)


def settings(command: commands.Training, line: Line) -> dict[str, Any]:
    """What `algos.train` takes beside the recipe."""
    return {
        "log_root": command.log_root,
        "seed": command.seed,
        "num_envs": command.num_envs,
        "iterations": command.iterations,
        "resume": command.resume,
        "name": command.name,
        "smoke": command.smoke and command.resume is None,
        "on_iteration": line.advance,
    }


def recipe_of(command: commands.Training, part: Literal["teacher", "student"]) -> Recipe:
    """The recipe as typed or, for a run that is resumed, the run's own."""
    if command.resume is None:
        return asked_for(command, part)
    if command.set:
        raise UserError("--set cannot change a run that is resumed; it keeps its numbers")
    return kept(command.recipe, command.resume, command.log_root)


def kept(name: str, run: Path, log_root: Path) -> Recipe:
    """The recipe that a run was made by, whose name must be the one that was typed."""
    recipe_named(name)
    folder = runs.find(run, root=log_root)
    recipe = from_plain(Recipe, read_yaml(folder / "params" / "recipe.yaml"))
    if recipe.name != name:
        raise UserError(f"{folder} is a run of '{recipe.name}', not of '{name}'")
    return recipe


def concluded(work: Callable[[], Path], line: Line) -> int:
    """Do it and say how it ended."""
    try:
        run = work()
    except runs.Interrupted as stopped:
        line.say(f"\n{stopped}")
        return 130
    except FAILURES as failure:
        line.say("\n".join([f"\n{failure}", *getattr(failure, "__notes__", [])]))
        return 1
    line.end("done")
    checkpoint = runs.newest(run)
    record = runs.read_json(run / "eval" / f"{checkpoint.stem}.json")
    for metric, value in record["results"].items():
        line.say(f"  {metric:<20}{value:>10.4f}")
    line.say(str(run))
    return 0


def show(recipe: Recipe) -> int:
    print(yaml.safe_dump(to_plain(dataclasses.asdict(recipe)), sort_keys=False), end="")
    return 0
