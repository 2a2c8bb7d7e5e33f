"""From what a user typed to what is meant, or an error that names the choices."""

from __future__ import annotations

import ast
import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something that was typed cannot be; the message says what, and what could be."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> UserError:
    listed = sorted(choices)
    near = difflib.get_close_matches(name, listed, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {kind} '{name}'.{guess} Choices: {', '.join(listed) or 'none'}")


def choose(kind: str, name: str, choices: Mapping[str, T]) -> T:
    if name not in choices:
        raise unknown(kind, name, choices)
    return choices[name]


def override(kind: str, value: T, settings: Iterable[str]) -> T:
    """A dataclass with KEY=VALUE settings applied, each of the type it had before."""
    fields = {field.name for field in dataclasses.fields(value)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set takes KEY=VALUE, not '{setting}'")
        if key not in fields:
            raise unknown(f"setting of the {kind}", key, fields)
        changes[key] = _as(getattr(value, key), key, text)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


def _as(before: object, key: str, text: str) -> object:
    if isinstance(before, str):
        return text
    try:
        after = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        after = None
    if isinstance(before, float) and isinstance(after, int) and not isinstance(after, bool):
        return float(after)
    if isinstance(before, tuple) and not isinstance(after, tuple):
        after = (after,)
    if type(after) is not type(before):
        kind = type(before).__name__
        raise UserError(f"--set {key}: '{text}' is not a value of type {kind}, like {before!r}")
    return after
