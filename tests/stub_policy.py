"""Policies that need no training: linear graphs with a true contract, for tests of the check."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tutelage.assets.robot import Robot
from tutelage.sim2real.contract import (
    ActionContract,
    CommandContract,
    Contract,
    HistoryContract,
    JointContract,
    Lineage,
    ObservationContract,
    Recording,
    source_sizes,
)
from tutelage.sim2real.contract_json import metadata
from tutelage.sim2real.policy_file import open_session, read_metadata
from tutelage.sim2real.runtime import Loop

Floats = NDArray[np.float64]

SOURCES = (
    "angular_velocity", "gravity", "joint_pos", "joint_vel", "last_action", "command", "gait_clock",
)  # fmt: skip


def size(robot: Robot) -> int:
    """Numbers in the observation."""
    sizes = source_sizes(len(robot.joints), 3)
    return sum(sizes[name] for name in SOURCES)


def contract(robot: Robot, graph_sha256: str) -> Contract:
    """The contract of a policy that sees every source, with a recording still to be made."""
    sizes = source_sizes(len(robot.joints), 3)
    joints = tuple(
        JointContract(
            name=j.name, default_pos=j.rest, lower=j.lower, upper=j.upper, effort=j.effort,
            speed=j.speed, kp=j.kp, kd=j.kd, armature=j.armature, friction=j.friction,
            delay=(0.0, 0.02),
        )
        for j in robot.joints
    )  # fmt: skip
    clock = {"frequency": 2.0, "stand_below": 0.1}
    observations = tuple(
        ObservationContract(
            name=name, source=name, size=sizes[name], unit="", frame="", scale=1.0, clip=None,
            delay=(0.0, 0.02), noise=0.01 if name == "joint_pos" else 0.0, bias=0.0,
            parameters=clock if name == "gait_clock" else {},
        )
        for name in SOURCES
    )  # fmt: skip
    return Contract(
        schema_version="1.0", robot=robot.name,
        mjcf_sha256=hashlib.sha256(robot.path.read_bytes()).hexdigest(),
        base=robot.base, feet=robot.feet, height=robot.height, control_dt=0.02, physics_dt=0.005,
        quaternion_order="wxyz", gravity_sign="down", opset=18, graph_sha256=graph_sha256,
        joints=joints,
        action=ActionContract(
            meaning="joint_position", reference="default", clip=10.0,
            scale=tuple(j.action_scale for j in robot.joints),
            offset=tuple(j.rest for j in robot.joints),
        ),
        observations=observations,
        history=HistoryContract(
            length=1, layout="frame_major", order="oldest_first", fill_at_reset="repeat_first"
        ),
        cameras=(),
        commands=(
            CommandContract(name="vx", unit="m/s", low=-1.0, high=1.0),
            CommandContract(name="vy", unit="m/s", low=-0.6, high=0.6),
            CommandContract(name="wz", unit="rad/s", low=-1.0, high=1.0),
        ),
        recurrent=(),
        lineage=Lineage(
            recipe="stub", task="velocity", seed=0, git_commit="0000000", simulator="none",
            versions={"numpy": np.__version__}, teacher_sha256="", checkpoint_sha256="",
            created="2026-01-01T00:00:00",
        ),
        metrics={},
        recording=Recording(resets=[], readings={}, observations=[], actions=[], targets=[]),
    )  # fmt: skip


def write(path: Path, robot: Robot, weight: Floats | None = None) -> Path:
    """A file with actions = obs @ weight; without a weight the robot stands still."""
    joints = len(robot.joints)
    weight = np.zeros((size(robot), joints)) if weight is None else weight
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["obs", "weight"], ["actions"])], "linear",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, size(robot)])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, joints])],
        [numpy_helper.from_array(weight.astype(np.float32), "weight")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    bare = model.SerializeToString()
    made = contract(robot, read_metadata(bare)[1])
    made = replace(made, recording=_record(Loop(made, open_session(bare))))
    helper.set_model_props(model, metadata(made))
    onnx.save(model, str(path))
    return path


def _record(loop: Loop) -> Recording:
    rng = np.random.default_rng(0)
    joints = len(loop.contract.joints)
    tables: dict[str, list[Any]] = {"observations": [], "actions": [], "targets": []}
    readings: dict[str, list[list[float]]] = {}
    for _ in range(5):
        now = {
            "angular_velocity": rng.normal(size=3), "gravity": np.array([0.0, 0.0, -1.0]),
            "joint_pos": rng.normal(size=joints), "joint_vel": rng.normal(size=joints),
            "command": np.array([0.5, 0.0, 0.0]),
        }  # fmt: skip
        tables["observations"].append(loop.observe(now).astype(float).tolist())
        tables["targets"].append(loop.step(now).tolist())
        tables["actions"].append(loop.output.tolist())
        for name, value in now.items():
            readings.setdefault(name, []).append(value.tolist())
    return Recording(resets=[True, *[False] * 4], readings=readings, **tables)
