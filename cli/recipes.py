"""Recipes as they are asked for: by name, and with what was typed applied to them."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from tutelage.algos.recipes import RECIPES, Recipe
from tutelage.cli.commands import Training
from tutelage.cli.names import UserError, choose, override

Part: TypeAlias = Literal["teacher", "student"]


def recipe_named(name: str) -> Recipe:
    return choose("recipe", name, RECIPES)()


def asked_for(command: Training, part: Part) -> Recipe:
    """The recipe with `--set` applied to its teacher or its student."""
    recipe = recipe_named(command.recipe)
    for name in ("num_envs", "iterations"):
        number = getattr(command, name)
        if number is not None and number < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {number}")
    if part == "teacher":
        changed = override("teacher", recipe.teacher, command.set)
        return dataclasses.replace(recipe, teacher=changed)
    return dataclasses.replace(recipe, student=override("student", recipe.student, command.set))


def with_numbers(recipe: Recipe, part: Part, command: Training) -> Recipe:
    """What a training will use: `--smoke`, `--num-envs` and `--iterations` applied as well."""
    if command.smoke:
        from tutelage.algos.config import smoke

        recipe = smoke(recipe)
    teacher, student = recipe.teacher, recipe.student
    if part == "teacher":
        teacher = dataclasses.replace(
            teacher,
            num_envs=command.num_envs or teacher.num_envs,
            iterations=command.iterations or teacher.iterations,
        )
        return dataclasses.replace(recipe, teacher=teacher)
    student = dataclasses.replace(
        student,
        num_envs=command.num_envs or student.num_envs,
        iterations=command.iterations or student.iterations,
    )
    return dataclasses.replace(recipe, student=student)
