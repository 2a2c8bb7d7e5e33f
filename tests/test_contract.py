"""The contract: nothing lost on the way through JSON, nothing defaulted, nothing misspelt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from tests.contracts import graph, recorded, small
from tutelage.sim2real.contract import (
    CameraContract,
    Contract,
    ContractError,
    JointContract,
    validate,
)
from tutelage.sim2real.contract_json import from_json, metadata, to_json

CAMERA = CameraContract(
    name="depth", kind="depth", width=64, height=48, intrinsics=(50.0, 50.0, 32.0, 24.0),
    parent="base", position=(0.3, 0.0, 0.1), quaternion=(0.5, -0.5, 0.5, -0.5), crop=(0, 0, 0, 0),
    near=0.1, far=3.0, scale=1.0, offset=0.0, rate=30.0, delay=(0.02, 0.06),
)  # fmt: skip
CONTRACT = replace(recorded(small(), graph()), cameras=(CAMERA,))
TEXT = to_json(CONTRACT)


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key of nested objects; of a list, those of its first and last item."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key)
            yield from _paths(inner, (*at, key))
    elif isinstance(value, list) and value:
        for i in sorted({0, len(value) - 1}):
            yield from _paths(value[i], (*at, i))


def _name(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


FREE = ("lineage.versions.", "metrics.")
"""Objects whose keys are names, which may be any."""
PATHS = list(_paths(json.loads(TEXT)))
REQUIRED = [path for path in PATHS if not _name(path).startswith(FREE)]


def _changed(path: tuple[str | int, ...], change: Any) -> str:
    data = json.loads(TEXT)
    place = data
    for part in path[:-1]:
        place = place[part]
    change(place, path[-1])
    return json.dumps(data)


# -------------------------------------------------------------------------------- round trip


def test_a_round_trip_through_json_is_exact() -> None:
    again = from_json(TEXT)
    assert again == CONTRACT
    assert to_json(again) == TEXT


@pytest.mark.parametrize("number", [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, 25.0, 1e-7])
def test_a_number_survives_to_the_last_bit(number: float) -> None:
    joint = replace(CONTRACT.joints[0], armature=number)
    again = from_json(to_json(replace(CONTRACT, joints=(joint, CONTRACT.joints[1]))))
    assert again.joints[0].armature.hex() == number.hex()


def test_a_whole_number_written_for_a_float_reads_back_as_a_float() -> None:
    text = to_json(replace(CONTRACT, height=1))
    assert text == to_json(replace(CONTRACT, height=1.0))
    assert isinstance(from_json(text).height, float)


def test_equal_contracts_make_equal_texts_whatever_the_order_of_their_names() -> None:
    one = replace(CONTRACT, metrics={"a": 1.0, "b": 2.0})
    assert to_json(one) == to_json(replace(CONTRACT, metrics={"b": 2.0, "a": 1.0}))


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_a_number_that_is_not_finite_is_neither_written_nor_read(number: float) -> None:
    with pytest.raises(ContractError, match=r"metrics\.success"):
        to_json(replace(CONTRACT, metrics={"success": number}))
    text = _changed(("height",), lambda place, key: place.update({key: number}))
    with pytest.raises(ContractError, match=r"height.*finite"):
        from_json(text)


# -------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("path", REQUIRED, ids=_name)
def test_a_missing_key_is_refused_and_named(path: tuple[str | int, ...]) -> None:
    text = _changed(path, lambda place, key: place.pop(key))
    with pytest.raises(ContractError) as caught:
        from_json(text)
    assert f"missing key '{_name(path)}'" in str(caught.value)


def test_the_keys_that_are_tried_are_all_there_are() -> None:
    names = {_name(path) for path in REQUIRED}
    assert {"joints[1].kp", "recording.readings.gravity", "cameras[0].far"} <= names
    assert len(names) > 100


@pytest.mark.parametrize("path", REQUIRED, ids=_name)
def test_a_value_of_another_type_is_refused_and_named(path: tuple[str | int, ...]) -> None:
    text = _changed(path, lambda place, key: place.update({key: {"a": []}}))
    with pytest.raises(ContractError) as caught:
        from_json(text)
    assert str(path[-1]) in str(caught.value)


@pytest.mark.parametrize("value", [True, "20", None])
def test_only_a_number_is_a_number(value: object) -> None:
    text = _changed(("joints", 1, "kp"), lambda place, key: place.update({key: value}))
    with pytest.raises(ContractError, match=r"joints\[1\]\.kp: .* is not a finite number"):
        from_json(text)


def test_an_unknown_key_is_refused_with_the_nearest_name() -> None:
    text = _changed(("action", "scales"), lambda place, key: place.update({key: [1.0, 1.0]}))
    with pytest.raises(ContractError, match=r"unknown key 'action.scales'; did you mean 'scale'\?"):
        from_json(text)


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0"])
def test_another_major_version_is_refused(version: str) -> None:
    text = _changed(("schema_version",), lambda place, key: place.update({key: version}))
    with pytest.raises(ContractError, match="another major version"):
        from_json(text)


@pytest.mark.parametrize("version", ["one", "1", "1.0.0", 1.0, ""])
def test_a_version_that_is_none_is_refused(version: object) -> None:
    text = _changed(("schema_version",), lambda place, key: place.update({key: version}))
    with pytest.raises(ContractError, match="schema_version"):
        from_json(text)


def test_a_newer_minor_version_may_say_more_but_not_less() -> None:
    data = json.loads(TEXT) | {"schema_version": "1.7", "weather": "rain"}
    assert from_json(json.dumps(data)).schema_version == "1.7"
    del data["base"]
    with pytest.raises(ContractError, match="missing key 'base'"):
        from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"contract"'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="JSON"):
        from_json(text)


# -------------------------------------------------------------------------------- sense


def _joint(**changes: Any) -> Contract:
    first: JointContract = replace(CONTRACT.joints[0], **changes)
    return replace(CONTRACT, joints=(first, *CONTRACT.joints[1:]))


def _term(index: int, **changes: Any) -> Contract:
    terms = list(CONTRACT.observations)
    terms[index] = replace(terms[index], **changes)
    return replace(CONTRACT, observations=tuple(terms))


WRONG: dict[str, Contract] = {
    "joints[0].kd: -0.1 is negative": _joint(kd=-0.1),
    "joints[0].effort: 0.0 is not positive": _joint(effort=0.0),
    "joints[0].default_pos: 0.5 is outside": _joint(upper=0.4),
    "joints: 'knee' occurs twice": _joint(name="knee"),
    "joints: 'a,b' is empty or holds a comma": _joint(name="a,b"),
    "joints[0].delay": _joint(delay=(0.02, 0.0)),
    "action.scale: 1 numbers for 2 joints": replace(
        CONTRACT, action=replace(CONTRACT.action, scale=(0.5,))
    ),
    "action.offset: is not the default pose": replace(
        CONTRACT, action=replace(CONTRACT.action, offset=(0.5, 1.0))
    ),
    "action.reference: unknown 'current'": replace(
        CONTRACT, action=replace(CONTRACT.action, reference="current")
    ),
    "observations[1].source: unknown 'lin_vel'": _term(1, source="lin_vel"),
    "observations[1].size: 4 where 'gravity' has 3": _term(1, size=4),
    "missing key 'observations[6].parameters.stand_below'": _term(
        6, parameters={"frequency": 2.0}
    ),
    "unknown key 'observations[1].parameters.frequency'": _term(1, parameters={"frequency": 2.0}),
    "cameras[0].near: 3.0 is not below far": replace(
        CONTRACT, cameras=(replace(CAMERA, near=3.0),)
    ),
    "observations[0].clip: 0.0": _term(0, clip=0.0),
    "history.order: unknown 'newest_first'": replace(
        CONTRACT, history=replace(CONTRACT.history, order="newest_first")
    ),
    "history.length: 0": replace(CONTRACT, history=replace(CONTRACT.history, length=0)),
    "quaternion_order: unknown 'xyzw'": replace(CONTRACT, quaternion_order="xyzw"),
    "commands[0]: low 2.0 is above high 1.0": replace(
        CONTRACT, commands=(replace(CONTRACT.commands[0], low=2.0),)
    ),
    "recurrent[0].reset: unknown 'never'": replace(
        CONTRACT, recurrent=(replace(CONTRACT.recurrent[0], reset="never"),)
    ),
    "control_dt: 0.02 is no multiple": replace(CONTRACT, physics_dt=0.003),
    "recording.resets: must begin with true": replace(
        CONTRACT, recording=replace(CONTRACT.recording, resets=[False, True, True, True])
    ),
    "recording.actions: is not 4 rows of 2": replace(
        CONTRACT, recording=replace(CONTRACT.recording, actions=[[0.0, 0.0]])
    ),
    "recording.observations: is not 4 rows of 30": replace(
        CONTRACT, history=replace(CONTRACT.history, length=2)
    ),
    "recording.readings.gravity: is not 4 rows of 3": replace(
        CONTRACT,
        recording=replace(
            CONTRACT.recording,
            readings=CONTRACT.recording.readings | {"gravity": [[0.0, -1.0]] * 4},
        ),
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_parts_that_do_not_fit_each_other_are_refused_by_name(message: str) -> None:
    with pytest.raises(ContractError) as caught:
        validate(WRONG[message])
    assert message in str(caught.value)
    with pytest.raises(ContractError):
        from_json(to_json(WRONG[message]))


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ContractError, match=r"quaternion_order.*kp"):
        validate(replace(_joint(kp=-1.0), quaternion_order="xyzw"))


# -------------------------------------------------------------------------------- metadata


def test_existing_consumers_find_their_keys_at_full_precision() -> None:
    joint = replace(CONTRACT.joints[0], kp=1 / 3)
    found = metadata(replace(CONTRACT, joints=(joint, CONTRACT.joints[1])))
    assert found["joint_names"] == "hip,knee"
    assert found["joint_stiffness"] == "0.3333333333333333,30.0"
    assert found["joint_damping"] == "0.5,0.5"
    assert found["default_joint_pos"] == "0.5,-1.0"
    assert found["action_scale"] == "0.5,0.25"
    assert found["command_names"] == "speed"
    assert found["observation_names"].startswith("angular_velocity,gravity,joint_pos,")
    assert from_json(found["tutelage"]).joints[0].kp == 1 / 3
