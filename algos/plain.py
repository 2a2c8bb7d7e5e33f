"""Dataclasses and configurations as YAML that reads back to an equal value."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from tutelage.algos.runs import write_text

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers and strings; a class or function becomes "module:name"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    raise TypeError(f"cannot be written as plain data: {value!r} ({type(value).__name__})")


def from_plain(kind: type[T], value: Any, where: str = "") -> T:
    """The dataclass `kind` from what `to_plain` made; unknown and missing keys are refused."""
    return _convert(kind, value, where or kind.__name__)  # type: ignore[no-any-return]


def _convert(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple:
        items = args[:1] * len(value) if args[1:] == (...,) else args
        if not isinstance(value, list) or len(items) != len(value):
            raise ValueError(f"{where}: {value!r} does not have the form {kind}")
        pairs = zip(items, value, strict=True)
        return tuple(_convert(item, v, f"{where}[{i}]") for i, (item, v) in enumerate(pairs))
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in args:
            return None
        (inner,) = (arg for arg in args if arg is not types.NoneType)
        return _convert(inner, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and type(value) is not kind:
        raise ValueError(f"{where}: {value!r} is not of type {kind.__name__}")
    return value


def _dataclass(kind: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: expected the fields of {kind.__name__}, found {value!r}")
    names = [field.name for field in dataclasses.fields(kind)]
    for key in value:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1) or names
            raise ValueError(f"{where}: unknown key '{key}'; did you mean {' or '.join(near)}?")
    missing = [name for name in names if name not in value]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(missing)}")
    hints = get_type_hints(kind)
    return kind(**{name: _convert(hints[name], value[name], f"{where}.{name}") for name in names})


def write_yaml(path: Path, value: Any) -> None:
    """Write a dataclass or configuration whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(to_plain(value), sort_keys=False, width=100))


def read_yaml(path: Path) -> Any:
    """Plain data of a YAML file."""
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.yaml"))
        raise FileNotFoundError(f"no {path.name} in {path.parent}; there: {', '.join(there)}")
    return yaml.safe_load(path.read_text(encoding="utf-8"))
