"""docs/contract.md: its robot loop runs as it stands, and it explains every key."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from tests.contracts import policy_file
from tutelage.sim2real import contract as contracts

GUIDE = (Path(__file__).parents[1] / "docs" / "contract.md").read_text()


class PaperRobot:
    """Does at once what it is told, and writes it down. Its joint order is not the policy's."""

    joint_names = ("knee", "hip")

    def __init__(self) -> None:
        self.gains: list[list[float]] = []
        self.sent: list[list[float]] = []
        self._pos = np.zeros(2)

    def set_gains(self, kp: Any, kd: Any) -> None:
        self.gains = [kp.tolist(), kd.tolist()]

    def move_slowly_to(self, pos: Any) -> None:
        self._pos = np.array(pos)

    def send_joint_targets(self, targets: Any) -> None:
        self.sent.append(targets.tolist())

    def gyroscope(self) -> list[float]:
        return [0.0, 0.0, 0.0]

    def orientation(self) -> list[float]:
        return [1.0, 0.0, 0.0, 0.0]

    def joint_positions(self) -> Any:
        return self._pos

    def joint_velocities(self) -> list[float]:
        return [0.0, 0.0]

    def joystick(self) -> list[float]:
        return [0.5]


def test_the_guides_robot_loop_runs_as_it_stands(tmp_path: Path) -> None:
    """Standing at rest the action is the graph's state: 0, then 0.1, then 0.2."""
    code = GUIDE.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/contract.md", "exec"), names)
    robot = PaperRobot()
    names["run"](robot, policy_file(tmp_path / "policy.onnx"), 0.06)
    assert robot.gains == [[30.0, 20.0], [0.5, 0.5]]
    np.testing.assert_allclose(
        robot.sent, [[-1.0, 0.5], [-0.975, 0.55], [-0.95, 0.6]], atol=1e-6
    )


def test_the_guide_explains_every_key_and_every_source() -> None:
    def keys(kind: type) -> set[str]:
        return {field.name for field in fields(kind)}

    parts = (
        contracts.Contract, contracts.JointContract, contracts.ActionContract,
        contracts.ObservationContract, contracts.HistoryContract, contracts.CameraContract,
        contracts.CommandContract, contracts.RecurrentContract, contracts.Lineage,
        contracts.Recording,
    )  # fmt: skip
    wanted = set(contracts.SOURCES).union(*map(keys, parts))
    spoken = {word for text in GUIDE.split("`")[1::2] for word in re.findall(r"\w+", text)}
    assert wanted - spoken == set()
