"""A two-joint contract and its file, small enough to be computed in one's head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tutelage.sim2real.contract import (
    ActionContract,
    CommandContract,
    Contract,
    HistoryContract,
    JointContract,
    Lineage,
    ObservationContract,
    Recording,
    RecurrentContract,
)
from tutelage.sim2real.contract_json import metadata
from tutelage.sim2real.policy_file import open_session, read_metadata
from tutelage.sim2real.runtime import Loop

READINGS = {
    "angular_velocity": [0.1, 0.2, 0.3],
    "gravity": [0.0, 0.0, -1.0],
    "joint_pos": [0.7, -1.5],
    "joint_vel": [1.0, 2.0],
    "command": [0.5],
}
OBSERVATION = [0.2, 0.4, 0.6, 0.0, 0.0, -1.0, 0.2, -0.5, 0.1, 0.15, 0.0, 0.0, 0.5, 0.0, 1.0]
"""What READINGS are at the first step: angular velocity doubled, gravity, joint angles minus
(0.5, -1.0), a tenth of the joint speeds clipped to 0.15, no previous action, the command, and the
clock's sine and cosine of 0."""

_TERMS: tuple[tuple[str, int, float, float | None], ...] = (
    ("angular_velocity", 3, 2.0, None),
    ("gravity", 3, 1.0, None),
    ("joint_pos", 2, 1.0, None),
    ("joint_vel", 2, 0.1, 0.15),
    ("last_action", 2, 1.0, None),
    ("command", 1, 1.0, None),
    ("gait_clock", 2, 1.0, None),
)


def _joint(name: str, rest: float, kp: float) -> JointContract:
    return JointContract(
        name=name, default_pos=rest, lower=-2.0, upper=2.0, effort=10.0, speed=20.0, kp=kp, kd=0.5,
        armature=0.01, friction=0.1, delay=(0.0, 0.02),
    )  # fmt: skip


def small(history: int = 1) -> Contract:
    """Joints hip and knee, one command, one recurrent state; the recording is still to be made."""
    clock = {"frequency": 2.5, "stand_below": 0.1}
    return Contract(
        schema_version="1.0", robot="stick", mjcf_sha256="", base="base", feet=("foot",),
        height=0.3, control_dt=0.02, physics_dt=0.005, quaternion_order="wxyz",
        gravity_sign="down", opset=18, graph_sha256="", cameras=(),
        joints=(_joint("hip", 0.5, 20.0), _joint("knee", -1.0, 30.0)),
        action=ActionContract(
            meaning="joint_position", reference="default", scale=(0.5, 0.25), offset=(0.5, -1.0),
            clip=2.0,
        ),
        observations=tuple(
            ObservationContract(
                name=name, source=name, size=size, unit="", frame="", scale=scale, clip=clip,
                delay=(0.0, 0.02), noise=0.1, bias=0.0,
                parameters=clock if name == "gait_clock" else {},
            )
            for name, size, scale, clip in _TERMS
        ),
        history=HistoryContract(
            length=history, layout="frame_major", order="oldest_first",
            fill_at_reset="repeat_first",
        ),
        commands=(CommandContract(name="speed", unit="m/s", low=-1.0, high=1.0),),
        recurrent=(
            RecurrentContract(
                input="h_in", output="h_out", shape=(1, 1, 2), initial=0.0, reset="episode"
            ),
        ),
        lineage=Lineage(
            recipe="", task="stick-flat", seed=3, git_commit="", simulator="", versions={"b": "2"},
            teacher_sha256="", checkpoint_sha256="", created="",
        ),
        metrics={"velocity_error": 0.1 + 0.2},
        recording=Recording(resets=[], readings={}, observations=[], actions=[], targets=[]),
    )  # fmt: skip


def recorded(contract: Contract, graph: bytes, steps: int = 4) -> Contract:
    """With a recording of READINGS, reset in the middle, and the graph's hash."""
    contract = replace(contract, graph_sha256=read_metadata(graph)[1])
    loop = Loop(contract, open_session(graph))
    observations, actions, targets = [], [], []
    resets = [step in (0, steps // 2) for step in range(steps)]
    for reset in resets:
        if reset:
            loop.reset()
        observations.append(loop.observe(READINGS).astype(float).tolist())
        targets.append(loop.step(READINGS).tolist())
        actions.append(loop.output.tolist())
    rows = {name: [list(values)] * steps for name, values in READINGS.items()}
    return replace(
        contract,
        recording=Recording(
            resets=resets, readings=rows, observations=observations, actions=actions,
            targets=targets,
        ),
    )  # fmt: skip


def graph(size: int = 15, name: str = "stick", gain: float = 10.0) -> bytes:
    """actions = gain * obs[6, 7] + h, h' = h + 0.1."""
    weight = np.zeros((size, 2), np.float32)
    weight[6, 0] = weight[7, 1] = gain
    nodes = [
        helper.make_node("MatMul", ["obs", "weight"], ["seen"]),
        helper.make_node("Squeeze", ["h_in", "zero"], ["h"]),
        helper.make_node("Add", ["seen", "h"], ["actions"]),
        helper.make_node("Add", ["h_in", "tenth"], ["h_out"]),
    ]
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, name,
        [tensor("obs", TensorProto.FLOAT, [1, size]), tensor("h_in", TensorProto.FLOAT, [1, 1, 2])],
        [tensor("actions", TensorProto.FLOAT, [1, 2]),
         tensor("h_out", TensorProto.FLOAT, [1, 1, 2])],
        [numpy_helper.from_array(weight, "weight"),
         numpy_helper.from_array(np.array([0]), "zero"),
         numpy_helper.from_array(np.array([0.1], np.float32), "tenth")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def write(path: Path, graph: bytes, entries: Mapping[str, str]) -> Path:
    """A graph with this metadata, whether they belong together or not."""
    model = onnx.load_from_string(graph)
    helper.set_model_props(model, dict(entries))
    path.write_bytes(model.SerializeToString())
    return path


def policy_file(path: Path) -> Path:
    """A file that the runtime accepts."""
    return write(path, graph(), metadata(recorded(small(), graph())))
