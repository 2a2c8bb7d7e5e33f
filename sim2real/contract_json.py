"""A contract as JSON that reads back bit for bit, and as the metadata of an ONNX file.

A missing key is refused and named by its path, an unknown one too; nothing is ever defaulted. A
file of another major version is refused; one of a newer minor version may hold keys that are
unknown here.
"""

from __future__ import annotations

import json
import types
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from math import isfinite
from typing import Any, cast, get_args, get_origin, get_type_hints

from tutelage.sim2real.contract import SCHEMA_VERSION, Contract, ContractError, validate

KEY = "tutelage"
"""The metadata key under which the whole contract is found, as JSON."""
DIGEST = "tutelage_sha256"
"""The metadata key of that text's sha256: a contract is not to be edited, but exported again."""


def to_json(contract: Contract) -> str:
    """The same text for the same contract; every float is written so that it reads back exactly."""
    return json.dumps(_encode(contract, Contract, ""), allow_nan=False, separators=(",", ":"))


def from_json(text: str) -> Contract:
    """Read a contract. ContractError names the first key that is missing, unknown or wrong."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ContractError(f"the contract is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ContractError(f"the contract is a JSON {type(data).__name__}, not an object")
    newer = _check_version(data.get("schema_version"))
    contract = cast(Contract, _decode(data, Contract, "", newer))
    validate(contract)
    return contract


def _check_version(version: object) -> bool:
    """Whether the file's minor version is newer than ours, in which case it may say more."""
    if version is None:
        raise ContractError("missing key 'schema_version'")
    parts = str(version).split(".")
    if not isinstance(version, str) or len(parts) != 2 or not all(p.isdecimal() for p in parts):
        raise ContractError(f"schema_version: {version!r} is not 'major.minor'")
    ours = [int(part) for part in SCHEMA_VERSION.split(".")]
    if int(parts[0]) != ours[0]:
        raise ContractError(
            f"schema_version: {version} has another major version than {SCHEMA_VERSION}, the one "
            f"this package reads; install the version of tutelage that wrote the file"
        )
    return int(parts[1]) > ours[1]


def _encode(value: Any, kind: Any, path: str) -> Any:
    if is_dataclass(kind):
        return {
            name: _encode(getattr(value, name), inner, _join(path, name))
            for name, inner in _keys(cast(type, kind)).items()
        }
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _encode(value, inner[0], path)
    if origin in (tuple, list):
        return [_encode(item, inner[0], f"{path}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        return {key: _encode(value[key], inner[1], _join(path, key)) for key in sorted(value)}
    if kind is float:
        if not isfinite(value):
            raise ContractError(f"{path}: {value} cannot be written; JSON has finite numbers only")
        return float(value)
    return kind(value)


def _decode(value: Any, kind: Any, path: str, newer: bool) -> Any:
    if is_dataclass(kind):
        return _decode_object(value, cast(type, kind), path, newer)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _decode(value, inner[0], path, newer)
    if origin in (tuple, list):
        _expect(isinstance(value, list), value, "a list", path)
        items = [_decode(item, inner[0], f"{path}[{i}]", newer) for i, item in enumerate(value)]
        if origin is tuple and inner[-1] is not Ellipsis:
            _expect(len(items) == len(inner), value, f"a list of {len(inner)}", path)
        return tuple(items) if origin is tuple else items
    if origin is dict:
        _expect(isinstance(value, dict), value, "an object", path)
        return {k: _decode(v, inner[1], _join(path, k), newer) for k, v in value.items()}
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _expect(number and isfinite(value), value, "a finite number", path)
        return float(value)
    _expect(type(value) is kind, value, f"of type {kind.__name__}", path)
    return value


def _decode_object(value: Any, kind: type, path: str, newer: bool) -> Any:
    _expect(isinstance(value, dict), value, "an object", path)
    known = _keys(kind)
    for name in known:
        if name not in value:
            raise ContractError(f"missing key '{_join(path, name)}'")
    for name in value:
        if name not in known and not newer:
            near = get_close_matches(name, known, 1, 0.0)[0]
            raise ContractError(f"unknown key '{_join(path, name)}'; did you mean '{near}'?")
    parts = {n: _decode(value[n], inner, _join(path, n), newer) for n, inner in known.items()}
    return kind(**parts)


@cache
def _keys(kind: type) -> dict[str, Any]:
    """Names and types of a dataclass's fields, in their order."""
    return get_type_hints(kind)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _expect(right: bool, value: object, wanted: str, path: str) -> None:
    if not right:
        raise ContractError(f"{path}: {json.dumps(value)[:60]} is not {wanted}")


def metadata(contract: Contract) -> dict[str, str]:
    """What goes into the ONNX file: the keys that existing C++ consumers read, and everything.

    The first are those of whole_body_tracking and mjlab, comma-separated, but not rounded.
    """
    columns: dict[str, list[Any]] = {
        "joint_names": [joint.name for joint in contract.joints],
        "joint_stiffness": [joint.kp for joint in contract.joints],
        "joint_damping": [joint.kd for joint in contract.joints],
        "default_joint_pos": [joint.default_pos for joint in contract.joints],
        "command_names": [command.name for command in contract.commands],
        "observation_names": [term.name for term in contract.observations],
        "action_scale": list(contract.action.scale),
    }
    texts = {
        key: ",".join(v if isinstance(v, str) else repr(float(v)) for v in values)
        for key, values in columns.items()
    }
    text = to_json(contract)
    return texts | {KEY: text, DIGEST: digest(text)}


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
