"""Recipes as they are asked for: by name, with a seed's worth of changes, or tiny."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tutelage.algos.recipes import RECIPES, Recipe
from tutelage.cli.commands import Training
from tutelage.cli.names import UserError, choose, override


def recipe_named(name: str) -> Recipe:
    return choose("recipe", name, RECIPES)()


def asked_for(command: Training, part: Literal["teacher", "student"]) -> Recipe:
    """The recipe with what was typed applied to its teacher or its student."""
    recipe = recipe_named(command.recipe)
    if command.smoke:
        from tutelage.algos.config import smoke

        recipe = smoke(recipe)
    numbers = {"num_envs": command.num_envs, "iterations": command.iterations}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, not {number}")
    given = {name: number for name, number in numbers.items() if number is not None}
    if part == "teacher":
        teacher = override("teacher", recipe.teacher, command.set)
        return dataclasses.replace(recipe, teacher=dataclasses.replace(teacher, **given))
    student = override("student", recipe.student, command.set)
    return dataclasses.replace(recipe, student=dataclasses.replace(student, **given))
