"""The runtime: from named readings to joint targets, and what it refuses to run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contracts import OBSERVATION, READINGS, graph, policy_file, recorded, small, write
from tutelage.sim2real import contract as contracts
from tutelage.sim2real.contract import Contract, Recording
from tutelage.sim2real.contract_json import metadata
from tutelage.sim2real.policy_file import open_session, read_metadata
from tutelage.sim2real.runtime import (
    SOURCES,
    Loop,
    Policy,
    PolicyError,
    ReadingError,
    gravity_from_quaternion,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return policy_file(tmp_path / "policy.onnx")


def _loop(contract: Contract, gain: float = 10.0) -> Loop:
    return Loop(contract, open_session(graph(contract.observation_size, gain=gain)))


# -------------------------------------------------------------------------------- observation


def test_every_source_of_the_contract_can_be_computed() -> None:
    assert set(SOURCES) == set(contracts.SOURCES)
    assert set(contracts.source_sizes(2, 1)) == set(contracts.SOURCES)


def test_the_observation_is_the_terms_scaled_and_clipped_in_order(file: Path) -> None:
    np.testing.assert_allclose(Policy(file).observe(READINGS), OBSERVATION, atol=1e-7)


def test_observing_keeps_nothing(file: Path) -> None:
    policy = Policy(file)
    first = policy.observe(READINGS)
    np.testing.assert_array_equal(policy.observe(READINGS), first)


def test_a_permuted_contract_gives_a_permuted_observation() -> None:
    contract = small()
    order = [3, 0, 6, 5, 1, 4, 2]
    terms = tuple(contract.observations[i] for i in order)
    parts = np.split(np.array(OBSERVATION), np.cumsum([3, 3, 2, 2, 2, 1]))
    got = _loop(replace(contract, observations=terms)).observe(READINGS)
    np.testing.assert_allclose(got, np.concatenate([parts[i] for i in order]), atol=1e-7)


def test_the_clock_runs_with_the_steps_and_stops_while_standing(file: Path) -> None:
    """2.5 Hz and 0.02 s: a step is a twentieth of a turn, five are a quarter."""
    policy = Policy(file)
    for _ in range(5):
        policy.step(READINGS)
    np.testing.assert_allclose(policy.observe(READINGS)[-2:], [1.0, 0.0], atol=1e-7)
    standing = READINGS | {"command": [0.1]}
    np.testing.assert_array_equal(policy.observe(standing)[-2:], [0.0, 0.0])
    policy.reset()
    np.testing.assert_allclose(policy.observe(READINGS)[-2:], [0.0, 1.0], atol=1e-7)


def test_history_is_frames_oldest_first_filled_with_the_first() -> None:
    loop = _loop(small(history=3))
    frames = []
    for speed in (0.2, 0.3, 0.4, 0.5):
        readings = READINGS | {"command": [speed]}
        frames.append(loop.observe(readings).reshape(3, 15))
        loop.step(readings)
    column = 12
    assert [frame[:, column].tolist() for frame in np.round(frames, 6).astype(float)] == [
        pytest.approx([0.2, 0.2, 0.2]),
        pytest.approx([0.2, 0.2, 0.3]),
        pytest.approx([0.2, 0.3, 0.4]),
        pytest.approx([0.3, 0.4, 0.5]),
    ]
    loop.reset()
    first = loop.observe(READINGS | {"command": [0.7]}).reshape(3, 15)
    assert first[:, column].tolist() == pytest.approx([0.7, 0.7, 0.7])


def test_lying_on_the_left_side_gravity_points_to_the_left() -> None:
    """Rolled by -90 degrees about x, the base's y axis points down."""
    half = np.sqrt(0.5)
    np.testing.assert_allclose(gravity_from_quaternion([half, -half, 0, 0]), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(gravity_from_quaternion([2, 0, 0, 0]), [0, 0, -1], atol=1e-12)
    # Pitched nose down by 90 degrees, the base's x axis points down.
    np.testing.assert_allclose(gravity_from_quaternion([half, 0, half, 0]), [1, 0, 0], atol=1e-12)


# -------------------------------------------------------------------------------- action


def test_targets_are_offset_plus_scale_times_the_clipped_action(file: Path) -> None:
    """The graph returns (2, -5); -5 is clipped to -2: 0.5 + 0.5 * 2 and -1 - 0.25 * 2."""
    policy = Policy(file)
    np.testing.assert_allclose(policy.step(READINGS), [1.5, -1.5], atol=1e-6)
    np.testing.assert_allclose(policy.output, [2.0, -5.0], atol=1e-6)
    np.testing.assert_allclose(policy.action, [2.0, -2.0], atol=1e-6)
    np.testing.assert_allclose(policy.observe(READINGS)[10:12], [2.0, -2.0], atol=1e-6)


def test_recurrent_state_is_carried_and_cleared_by_a_reset(file: Path) -> None:
    """The graph adds its state to the action and a tenth to the state."""
    policy = Policy(file)
    still = READINGS | {"joint_pos": [0.5, -1.0]}
    for want in (0.0, 0.1, 0.2):
        policy.step(still)
        np.testing.assert_allclose(policy.output, [want, want], atol=1e-6)
    policy.reset()
    policy.step(still)
    np.testing.assert_array_equal(policy.output, [0.0, 0.0])


def test_the_callers_joint_order_changes_nothing_but_the_order(file: Path) -> None:
    ours, theirs = Policy(file), Policy(file, joint_order=["knee", "hip"])
    swapped = READINGS | {"joint_pos": [-1.5, 0.7], "joint_vel": [2.0, 1.0]}
    for _ in range(5):
        np.testing.assert_array_equal(theirs.step(swapped), ours.step(READINGS)[::-1])
        np.testing.assert_array_equal(theirs.action, ours.action)
    assert theirs.default_pos.tolist() == [-1.0, 0.5]
    assert theirs.kp.tolist() == [30.0, 20.0]


def test_joints_may_be_given_by_name_among_others(file: Path) -> None:
    named: Any = READINGS | {
        "joint_pos": {"knee": -1.5, "hand": 9.0, "hip": 0.7},
        "joint_vel": {"hip": 1.0, "knee": 2.0},
        "battery": [0.9],
    }
    np.testing.assert_allclose(Policy(file).observe(named), OBSERVATION, atol=1e-7)


@pytest.mark.parametrize(
    "order", [["hip"], ["hip", "ankle"], ["hip", "knee", "knee"], ["hip", "knee", "hand"]]
)
def test_a_joint_order_that_is_not_the_policys_joints_is_refused(
    file: Path, order: list[str]
) -> None:
    with pytest.raises(PolicyError, match="joint_order must name each joint of the policy once"):
        Policy(file, joint_order=order)


def test_torques_are_the_motors_law_within_the_effort(file: Path) -> None:
    """hip: 20 * (1 - 0.7) - 0.5 * 2 = 5; knee: 30 * (-1.5) = -45, limited to -10."""
    policy = Policy(file, joint_order=["knee", "hip"])
    got = policy.torques(targets=[-2.0, 1.0], joint_pos=[-0.5, 0.7], joint_vel=[0.0, 2.0])
    np.testing.assert_allclose(got, [-10.0, 5.0], atol=1e-9)


# -------------------------------------------------------------------------------- bad readings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gravity": [0.0, 0.0]}, r"'gravity' has shape \(2,\); it must be \(3,\)"),
        ({"gravity": [0.0, 0.0, -9.81]}, "gravity is a unit vector"),
        ({"joint_pos": [0.1, float("nan")]}, "'joint_pos' is not finite"),
        ({"joint_pos": {"hip": 0.1}}, r"'joint_pos' lacks the joints \['knee'\]"),
        ({"joint_pos": [1e39, 0.0]}, "an observation is too large"),
        ({"command": [1.0, 0.0]}, "'command' has shape"),
        ({"command": {"speed": 1.0}}, "'command' has shape"),
    ],
)
def test_a_bad_reading_is_refused_and_leaves_the_policy_as_it_was(
    file: Path, changes: dict[str, Any], message: str
) -> None:
    policy = Policy(file)
    policy.step(READINGS)
    before, action = policy.observe(READINGS), policy.action
    with pytest.raises(ReadingError, match=message):
        policy.step(READINGS | changes)
    np.testing.assert_array_equal(policy.observe(READINGS), before)
    assert policy.action is action


@pytest.mark.parametrize("name", READINGS)
def test_a_missing_reading_is_named(file: Path, name: str) -> None:
    with pytest.raises(ReadingError, match=rf"missing readings \['{name}'\]; needed are"):
        Policy(file).step({key: value for key, value in READINGS.items() if key != name})


# -------------------------------------------------------------------------------- bad files


def test_contract_and_graph_of_two_exports_are_refused(tmp_path: Path) -> None:
    """The two graphs differ in nothing but a name, so shapes and replay would not tell."""
    mixed = write(
        tmp_path / "mixed.onnx", graph(name="other"), metadata(recorded(small(), graph()))
    )
    with pytest.raises(PolicyError, match="made for another graph"):
        Policy(mixed)


@pytest.mark.parametrize("table", ["observations", "actions", "targets", "readings"])
def test_a_changed_recording_is_refused_with_the_step_and_the_entry(
    tmp_path: Path, table: str
) -> None:
    contract = recorded(small(), graph())
    recording = contract.recording
    if table == "readings":
        rows = [list(row) for row in recording.readings["joint_pos"]]
        rows[2][1] += 0.01
        changed = replace(recording, readings=recording.readings | {"joint_pos": rows})
    else:
        rows = [list(row) for row in getattr(recording, table)]
        rows[2][1] += 0.001
        changes: dict[str, Any] = {table: rows}
        changed = replace(recording, **changes)
    path = write(
        tmp_path / "p.onnx", graph(), metadata(replace(contract, recording=changed))
    )
    entry = {
        "observations": r"angular_velocity\[1\]", "readings": r"joint_pos\[1\]",
        "actions": "knee", "targets": "knee",
    }[table]  # fmt: skip
    with pytest.raises(PolicyError, match=rf"replaying the recording fails: in step 2 .*{entry}"):
        Policy(path)


def test_a_changed_action_scale_is_seen_by_the_recording(tmp_path: Path) -> None:
    contract = recorded(small(), graph())
    action = replace(contract.action, scale=(0.55, 0.25))
    path = write(tmp_path / "p.onnx", graph(), metadata(replace(contract, action=action)))
    with pytest.raises(PolicyError, match=r"in step 0 the joint target 'hip' is 1\.6, recorded"):
        Policy(path)


@pytest.mark.parametrize("key", ["joint_stiffness", "action_scale", "joint_names"])
def test_keys_for_other_consumers_must_agree_with_the_contract(tmp_path: Path, key: str) -> None:
    entries = metadata(recorded(small(), graph()))
    for changed in (entries | {key: "20.0,31.0"}, {k: v for k, v in entries.items() if k != key}):
        with pytest.raises(PolicyError, match=f"'{key}' is missing or contradicts"):
            Policy(write(tmp_path / "p.onnx", graph(), changed))


def test_a_file_without_a_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"p\.onnx: carries no contract"):
        Policy(write(tmp_path / "p.onnx", graph(), {"author": "me"}))


def test_a_graph_with_other_inputs_than_the_contracts_is_refused(tmp_path: Path) -> None:
    contract = recorded(small(), graph())
    wrong = graph(size=16)
    entries = metadata(replace(contract, graph_sha256=read_metadata(wrong)[1]))
    with pytest.raises(PolicyError, match=r"inputs are .*\(1, 16\).* contract's are .*\(1, 15\)"):
        Policy(write(tmp_path / "p.onnx", wrong, entries))


def test_a_policy_that_needs_a_camera_is_refused(tmp_path: Path) -> None:
    camera = contracts.CameraContract(
        name="depth", kind="depth", width=8, height=8, intrinsics=(4.0, 4.0, 4.0, 4.0),
        parent="base", position=(0.0, 0.0, 0.0), quaternion=(1.0, 0.0, 0.0, 0.0),
        crop=(0, 0, 0, 0), near=0.1, far=3.0, scale=1.0, offset=0.0, rate=30.0, delay=(0.0, 0.0),
    )  # fmt: skip
    entries = metadata(replace(recorded(small(), graph()), cameras=(camera,)))
    with pytest.raises(PolicyError, match=r"needs images \['depth'\]"):
        Policy(write(tmp_path / "p.onnx", graph(), entries))


def test_a_file_cut_anywhere_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for size in [0, 1, 7, *range(50, len(data), 997), len(data) - 1]:
        file.write_bytes(data[:size])
        with pytest.raises(PolicyError):
            Policy(file)


def test_a_file_with_a_flipped_bit_is_refused(file: Path) -> None:
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(len(data), size=300):
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        with pytest.raises(PolicyError):
            Policy(file)


def test_an_edited_contract_is_refused(tmp_path: Path) -> None:
    entries = metadata(recorded(small(), graph()))
    edited = entries["tutelage"].replace('"control_dt":0.02', '"control_dt":0.01')
    assert edited != entries["tutelage"]
    with pytest.raises(PolicyError, match="changed after export"):
        Policy(write(tmp_path / "p.onnx", graph(), entries | {"tutelage": edited}))


def test_a_graph_that_returns_no_number_is_not_obeyed() -> None:
    loop = _loop(small(), gain=3e38)
    with pytest.raises(PolicyError, match="the graph returned"):
        loop.step(READINGS | {"joint_pos": [10.0, 0.0]})


def test_the_empty_recording_of_an_unfinished_contract_is_refused(tmp_path: Path) -> None:
    nothing = Recording(resets=[], readings={}, observations=[], actions=[], targets=[])
    contract = replace(recorded(small(), graph()), recording=nothing)
    with pytest.raises(PolicyError, match="recording"):
        Policy(write(tmp_path / "p.onnx", graph(), metadata(contract)))


# -------------------------------------------------------------------------------- the robot's side


def test_measuring_latency_leaves_the_policy_as_it_was(file: Path) -> None:
    policy = Policy(file)
    policy.step(READINGS)
    before = policy.observe(READINGS)
    latency = policy.bench(50)
    assert 0 < latency.p50 <= latency.p99 <= latency.worst
    np.testing.assert_array_equal(policy.observe(READINGS), before)


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "mujoco", "onnx", "rsl_rl", "tensordict"}:
            raise ImportError(f"{name} is not on this robot")
        return None

sys.meta_path.insert(0, Blocker())
from tutelage.sim2real.runtime import Policy

policy = Policy(sys.argv[1])
targets = policy.step({
    "angular_velocity": [0, 0, 0], "gravity": [0, 0, -1], "joint_pos": [0.7, -1.5],
    "joint_vel": [0, 0], "command": [0.5],
})
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"torch", "mujoco", "onnx", "rsl_rl", "tensordict"}, loaded
assert not {name for name in sys.modules if name.startswith("tutelage.envs")}
print(targets.tolist())
"""


def test_the_runtime_runs_where_neither_torch_nor_mujoco_is(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1.5, -1.5]"
