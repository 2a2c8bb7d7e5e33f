"""Export: what is written is what was trained, and what was trained is what the robot runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage import assets, envs
from tutelage.envs.env import Env
from tutelage.envs.sim.mujoco_cpu import MujocoCpu
from tutelage.envs.sim.protocol import Scene
from tutelage.policies.encoder import ENCODERS
from tutelage.policies.mlp import Mlp
from tutelage.policies.model import Model, exportable
from tutelage.sim2real import export as exporting
from tutelage.sim2real.contract import Contract
from tutelage.sim2real.export import ExportError, Origin, export
from tutelage.sim2real.policy_file import open_session, read_metadata
from tutelage.sim2real.runtime import Loop, Policy, PolicyError

HISTORY = {"mlp": 4, "tcn": 16, "gru": 1}
TASK = "toy-flat"


@cache
def _env(history: int, clean: bool = False) -> Env:
    """Two environments of the toy; `clean`: readings without noise, bias and delay."""
    task = envs.TASKS[TASK]()
    if clean:
        terms = {
            name: replace(term, noise=0.0, bias=0.0, delay=(0.0, 0.0))
            for name, term in task.proprio.items()
        }
        task = replace(task, proprio=terms)
    # One thread: the pool's wake-ups cost more than two environments do.
    sim = MujocoCpu(Scene(robot=task.robot, dt=task.physics_dt), 2, threads=1)
    return Env(task, sim, seed=3, history=history)


def _model(env: Env, encoder: str, *, normalise: bool = True, group: str = "") -> Model:
    """A student whose normaliser has learnt and whose weights are far from their beginning."""
    torch.manual_seed(1)
    history = HISTORY.get(encoder, 1)
    obs = env.get_observations()
    group = group or ("history" if history > 1 else "proprio")
    size: dict[str, object] = {"width": 24}
    if history > 1:
        size["history"] = history
    model = Model(
        obs, {"student": [group]}, "student", env.num_actions, hidden_dims=(32, 16),
        obs_normalization=normalise, encoder=encoder,
        encoder_cfg=None if encoder == "none" else size,
    )  # fmt: skip
    for _ in range(20):
        model.update_normalization(obs)
        obs, *_ = env.step(torch.randn(env.num_envs, env.num_actions))
    with torch.no_grad():
        for parameter in model.mlp.parameters():
            parameter.mul_(1.5)
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    env = _env(1)
    folder = tmp_path_factory.mktemp("export")
    (folder / "model_7.pt").write_bytes(b"weights")
    (folder / "teacher.pt").write_bytes(b"teacher")
    origin = Origin(
        recipe="toy", seed=3, checkpoint=folder / "model_7.pt", teacher=folder / "teacher.pt"
    )
    return export(
        _model(env, "gru"), env, folder / "deep" / "policy.onnx", origin=origin, steps=60,
        metrics={"velocity_error": 1 / 3},
    )  # fmt: skip


@pytest.fixture(scope="module")
def contract(file: Path) -> Contract:
    return Policy(file).contract


def _readings(env: Env) -> dict[str, Any]:
    """What perfect sensors of the first environment say, joints by name."""
    state, names = env.sim.state, env.task.robot.joint_names
    return {
        "angular_velocity": state.ang_vel_b[0].numpy(),
        "gravity": state.gravity_b[0].numpy(),
        "joint_pos": dict(zip(names, state.joint_pos[0].tolist(), strict=True)),
        "joint_vel": dict(zip(names, state.joint_vel[0].tolist(), strict=True)),
        "command": env.context().command[0].numpy(),
    }


# -------------------------------------------------------------------------------- the same policy


@pytest.mark.parametrize("normalise", [True, False], ids=["normalised", "raw"])
@pytest.mark.parametrize("encoder", ["mlp", "tcn", "gru"])
def test_the_robot_runs_what_was_trained(encoder: str, normalise: bool, tmp_path: Path) -> None:
    """200 steps in closed loop, reset at 40, step 0 included.

    The graph on the environment's observation equals torch to 1e-5; the runtime, which builds the
    observation itself, has the same observation, action and joint targets.
    """
    env = _env(HISTORY[encoder], clean=True)
    model = _model(env, encoder, normalise=normalise)
    path = export(model, env, tmp_path / "policy.onnx", steps=10, recorded=4)
    policy, graph = Policy(path), _Graph(path)
    everywhere = torch.ones(env.num_envs, dtype=torch.bool)
    env.reset()
    model.reset()
    for step in range(200):
        if step == 40:
            env.reset()
            model.reset(everywhere)
            policy.reset()
            graph.reset()
        obs, readings, where = env.get_observations(), _readings(env), f"step {step}"
        vector = obs[model.obs_groups[0]][:1].numpy()
        np.testing.assert_allclose(policy.observe(readings), vector[0], atol=2e-5, err_msg=where)
        with torch.no_grad():
            action = model(obs)
        want = action[0].numpy()
        np.testing.assert_allclose(graph(vector), want, atol=1e-5, rtol=1e-5, err_msg=where)
        targets = policy.step(readings)
        np.testing.assert_allclose(policy.output, want, atol=1e-4, err_msg=where)
        done = env.step(torch.tensor(policy.output).float().expand(2, -1))[2]
        if done[0]:
            policy.reset()
            graph.reset()
        else:
            np.testing.assert_allclose(targets, env._target[0].numpy(), atol=1e-6)
        model.reset(done)


class _Graph:
    """The graph of a file, fed with observations that are already made."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path.read_bytes())
        self._recurrent = Policy(path).contract.recurrent
        self.reset()

    def reset(self) -> None:
        self._states = {r.input: np.zeros(r.shape, np.float32) for r in self._recurrent}

    def __call__(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        actions, *after = self._session.run(None, {"obs": vector, **self._states})
        self._states = {r.input: s for r, s in zip(self._recurrent, after, strict=True)}
        action: NDArray[np.float32] = actions[0]
        return action


def test_the_first_action_after_a_reset_is_a_fresh_policys(file: Path) -> None:
    env, policy = _env(1), Policy(file)
    readings = _readings(env)
    for _ in range(5):
        policy.step(readings)
    policy.reset()
    np.testing.assert_array_equal(policy.step(readings), Policy(file).step(readings))


def test_the_exported_motors_are_those_that_were_simulated(tmp_path: Path) -> None:
    """Torque recomputed from the contract, on 100 random states of the Go2."""
    task = envs.TASKS["go2-flat"]()
    robot, generator = task.robot, torch.Generator().manual_seed(0)
    env = envs.build(task, num_envs=2)
    loop = Loop(_contract_of(env), None, joint_order=robot.joint_names[::-1])
    env.close()
    sim = MujocoCpu(Scene(robot=robot), 100)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(100, len(robot.joints), generator=generator)

    lower = torch.tensor([joint.lower for joint in robot.joints])
    upper = torch.tensor([joint.upper for joint in robot.joints])
    pos, vel = lower + (upper - lower) * draw(0, 1), draw(-10, 10)
    target = pos + draw(-2.0, 2.0)
    pose = torch.tensor([0.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0]).expand(100, 7)
    sim.reset(torch.ones(100, dtype=torch.bool), pose, torch.zeros(100, 6), pos, vel)
    sim.step(target, 1)
    flipped = [t.flip(-1).numpy() for t in (target, pos, vel)]
    want = sim.state.joint_torque.numpy()[:, ::-1]
    np.testing.assert_allclose(loop.torques(*flipped), want, atol=1e-3)
    limit = np.array([joint.effort for joint in robot.joints])[::-1]
    limited = np.isclose(np.abs(want), limit)
    assert 0.05 < limited.mean() < 0.7, "torques on both sides of the limit are to be tried"
    sim.close()


def _contract_of(env: Env) -> Contract:
    model = _model(env, "none")
    policy = exportable(model)
    graph = exporting._graph(policy)
    return exporting._contract(env, policy, graph, "proprio", Origin(), {})


# -------------------------------------------------------------------------------- what is said


def test_the_contract_says_what_the_task_and_the_robot_say(contract: Contract) -> None:
    task, robot = envs.TASKS[TASK](), assets.robot("toy")
    assert contract.joint_names == ("left_arm_joint", "right_arm_joint")
    assert [(j.kp, j.kd, j.effort) for j in contract.joints] == [(3.0, 0.1, 1.0)] * 2
    assert contract.action.scale == (0.5, 0.5)
    assert contract.joints[0].delay == (0.0, 0.02)
    assert (contract.control_dt, contract.physics_dt) == (0.02, 0.005)
    assert [term.name for term in contract.observations] == list(task.proprio)
    by_name = {term.name: term for term in contract.observations}
    assert (by_name["joint_vel"].scale, by_name["joint_vel"].noise) == (0.1, 1.0)
    assert by_name["gravity"].bias == 0.02
    assert by_name["gait_clock"].parameters == {"frequency": 2.0, "stand_below": 0.1}
    assert [command.name for command in contract.commands] == ["vx", "vy", "wz"]
    assert contract.commands[0].high == 0.3
    assert [(r.input, r.output) for r in contract.recurrent] == [("h_in", "h_out")]
    assert contract.mjcf_sha256 == sha256(robot.path.read_bytes()).hexdigest()
    assert contract.metrics == {"velocity_error": 1 / 3}


def test_the_lineage_names_the_files_by_their_hashes(contract: Contract) -> None:
    lineage = contract.lineage
    assert lineage.checkpoint_sha256 == sha256(b"weights").hexdigest()
    assert lineage.teacher_sha256 == sha256(b"teacher").hexdigest()
    assert (lineage.recipe, lineage.task, lineage.seed) == ("toy", TASK, 3)
    assert lineage.versions["torch"] == torch.__version__


def test_the_recording_has_a_reset_in_its_middle(contract: Contract) -> None:
    recording = contract.recording
    assert len(recording.resets) == 32
    assert recording.resets[0]
    assert recording.resets[16]
    assert len({tuple(row) for row in recording.observations}) == 32


def test_history_is_told_from_the_observations_size(tmp_path: Path) -> None:
    env = _env(4)
    path = export(_model(env, "mlp"), env, tmp_path / "p.onnx", steps=4, recorded=2)
    contract = Policy(path).contract
    assert contract.history.length == 4
    assert contract.observation_size == 4 * env.proprio.size
    assert contract.recurrent == ()


def test_the_file_is_a_valid_graph_that_says_nothing_about_the_machine(file: Path) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 18
    data = file.read_bytes()
    assert str(Path(exporting.__file__).parents[1]).encode() not in data
    assert str(file.parent).encode() not in data
    assert len(data) < 200_000


def test_a_student_of_the_usual_size_stays_below_a_megabyte(tmp_path: Path) -> None:
    env = envs.make("go2-flat", num_envs=2)
    model = Model(
        env.get_observations(), {"student": ["proprio"]}, "student", 12, hidden_dims=(128, 64),
        obs_normalization=True, encoder="gru", encoder_cfg={"width": 128},
    )  # fmt: skip
    path = export(model, env, tmp_path / "p.onnx", steps=4)
    assert path.stat().st_size < 1_000_000
    env.close()


def test_two_exports_cannot_be_mixed(file: Path, tmp_path: Path) -> None:
    env = _env(1)
    other = export(_model(env, "gru", normalise=False), env, tmp_path / "o.onnx", steps=4)
    mixed = onnx.load(other)
    entries, _ = read_metadata(file.read_bytes())
    onnx.helper.set_model_props(mixed, entries)
    onnx.save(mixed, str(tmp_path / "mixed.onnx"))
    with pytest.raises(PolicyError, match="contract and graph come from two exports"):
        Policy(tmp_path / "mixed.onnx")


# -------------------------------------------------------------------------------- side effects


def test_exporting_leaves_environment_and_model_as_they_were(tmp_path: Path) -> None:
    env = _env(1)
    model = _model(env, "gru")
    model.train()
    model(env.get_observations())
    before, weights = env.snapshot(), {k: v.clone() for k, v in model.state_dict().items()}
    memory = _memory(model)
    export(model, env, tmp_path / "p.onnx", steps=6, recorded=4)
    after = env.snapshot()
    assert before.keys() == after.keys()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert model.training
    assert torch.equal(memory, _memory(model))


def _memory(model: Model) -> Tensor:
    state = model.get_hidden_state()
    assert isinstance(state, Tensor)
    return state.clone()


def test_nothing_is_left_where_export_fails(tmp_path: Path) -> None:
    env = _env(1)
    with pytest.raises(ExportError):
        export(_model(env, "none", group="critic"), env, tmp_path / "p.onnx")
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("group", ["privileged", "critic"])
def test_a_policy_that_sees_what_only_a_simulator_knows_is_refused(
    group: str, tmp_path: Path
) -> None:
    env = _env(1)
    with pytest.raises(ExportError, match=rf"\['{group}'\].*linear_velocity.*export a student"):
        export(_model(env, "none", group=group), env, tmp_path / "p.onnx")


def test_an_environment_without_the_policys_history_is_refused(tmp_path: Path) -> None:
    model = _model(_env(4), "mlp")
    with pytest.raises(ExportError, match=r"this environment has 0; make it with history=4"):
        export(model, _env(1), tmp_path / "p.onnx")


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    env = _env(1)
    model = _model(env, "gru")
    with torch.no_grad():
        next(model.mlp.parameters())[0, 0] = float("nan")
    with pytest.raises(ExportError, match=r"not finite: mlp\.0\.weight"):
        export(model, env, tmp_path / "p.onnx")


class Moody(Mlp):
    """Adds one where the sum of its input is negative: a branch that tracing does not see."""

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        latent, after = super().forward(x, state)
        return (latent + 10.0 if float(x.sum()) < 0 else latent), after


@pytest.fixture
def _moody() -> Iterator[None]:
    registry: Mapping[str, Any] = ENCODERS
    assert isinstance(registry, dict)
    registry["moody"] = Moody
    yield
    del registry["moody"]


@pytest.mark.usefixtures("_moody")
def test_a_graph_that_differs_from_torch_is_refused_with_the_step(tmp_path: Path) -> None:
    env = _env(1)
    with pytest.raises(ExportError, match=r"'actions' of torch and onnxruntime differ by .* step"):
        export(_model(env, "moody", normalise=False), env, tmp_path / "p.onnx")
