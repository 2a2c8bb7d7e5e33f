"""Writes a student as one ONNX file that carries its contract and its proof.

Nothing in the contract is typed by hand: it is read from the task, the robot and the graph. Before
the file appears, three ways of running the policy have agreed over a sequence with a reset in the
middle: the model as it was trained, its exportable form in torch, and the graph in onnxruntime;
and the runtime has replayed the recording from the finished file.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos import runs
from tutelage.algos.machine import package_versions
from tutelage.envs.env import Env
from tutelage.envs.sim.protocol import Field
from tutelage.envs.task import Command, Task
from tutelage.policies.exportable import Exportable
from tutelage.policies.model import Model, exportable
from tutelage.sim2real.contract import (
    SCHEMA_VERSION,
    ActionContract,
    CommandContract,
    Contract,
    HistoryContract,
    JointContract,
    Lineage,
    ObservationContract,
    Recording,
    RecurrentContract,
    readings_needed,
)
from tutelage.sim2real.contract_json import metadata
from tutelage.sim2real.policy_file import open_session, read_metadata
from tutelage.sim2real.runtime import Loop, Policy

OPSET = 18
PARITY_TOLERANCE = 1e-5
"""Largest difference between torch and onnxruntime, relative where an action exceeds 1"""
SENSED = ("proprio", "history")
"""Observation groups that a robot can supply"""


class ExportError(ValueError):
    """A policy that must not be exported, with the reason."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the contract says about where the policy comes from."""

    recipe: str = ""
    seed: int = 0
    checkpoint: Path | None = None
    teacher: Path | None = None


def export(
    model: Model,
    env: Env,
    path: Path,
    *,
    origin: Origin | None = None,
    metrics: Mapping[str, float] | None = None,
    steps: int = 200,
    recorded: int = 32,
) -> Path:
    """Write `model` to `path`, or raise ExportError.

    Args:
        model: A student: it reads `proprio` or `history`, nothing else.
        env: Of the student's task, made with its history; any number of environments. It is left
            as it was found.
        origin: Recipe, seed and the files whose hashes go into the contract.
        metrics: Numbers that the policy reached, kept in the contract.
        steps: Control steps over which torch and onnxruntime are compared.
        recorded: Control steps of the recording.
    """
    group = _sensed_group(model, env)
    policy = exportable(model)
    _check_finite(policy)
    graph = _graph(policy)
    contract = _contract(env, policy, graph, group, origin or Origin(), metrics or {})
    session = open_session(graph)
    before = env.snapshot()
    try:
        _compare(model, policy, session, env, group, steps)
        recording = _record(Loop(contract, session), env, recorded)
    finally:
        env.restore(before)
    contract = replace(contract, recording=recording)
    return _write(graph, contract, path)


def _write(graph: bytes, contract: Contract, path: Path) -> Path:
    """The file appears whole, and only after the runtime has accepted it."""
    proto = onnx.load_from_string(graph)
    onnx.helper.set_model_props(proto, metadata(contract))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(proto.SerializeToString())
        Policy(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


# -------------------------------------------------------------------------------- the policy


def _sensed_group(model: Model, env: Env) -> str:
    """The one observation group that the policy reads, refused where a robot cannot supply it."""
    groups: list[str] = list(model.obs_groups)
    hidden = [group for group in groups if group not in SENSED]
    if hidden:
        raise ExportError(
            f"the policy reads the groups {hidden}, with {list(env.task.privileged)}, which only a "
            f"simulator knows; export a student, which reads one of {list(SENSED)}"
        )
    if len(groups) != 1:
        raise ExportError(f"the policy reads {groups}; it must read one of {list(SENSED)}")
    group, obs = groups[0], env.get_observations()
    wanted = model.encoder.history * env.proprio.size
    size = obs[group].shape[-1] if group in set(obs.keys()) else 0
    if size != model.encoder.size or size % env.proprio.size:
        raise ExportError(
            f"the policy reads {model.encoder.size} numbers of '{group}' where this environment "
            f"has {size}; make it with history={model.encoder.history} ({wanted} numbers)"
        )
    return group


def _check_finite(policy: Exportable) -> None:
    bad = [name for name, value in policy.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise ExportError(f"parameters that are not finite: {', '.join(bad)}")


def _graph(policy: Exportable) -> bytes:
    """The ONNX graph, for one robot; without the exporter's notes, which name files of ours."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # The tracing exporter is called deprecated, but writes one small file with a plain GRU
        # node; the newer one writes the weights beside it and takes nine seconds.
        warnings.simplefilter("ignore")
        file = Path(folder) / "graph.onnx"
        torch.onnx.export(
            policy, policy.dummy_inputs, file, input_names=policy.input_names,
            output_names=policy.output_names, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
        proto = onnx.load(file)
    proto.producer_name = "tutelage"
    for node in proto.graph.node:
        node.doc_string = ""
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    return data


# -------------------------------------------------------------------------------- the contract


def _contract(
    env: Env,
    policy: Exportable,
    graph: bytes,
    group: str,
    origin: Origin,
    metrics: Mapping[str, float],
) -> Contract:
    """Everything but the recording."""
    task, robot = env.task, env.task.robot
    frames = env.get_observations()[group].shape[-1] // env.proprio.size
    return Contract(
        schema_version=SCHEMA_VERSION,
        robot=robot.name,
        mjcf_sha256=_hash(robot.path),
        base=robot.base,
        feet=robot.feet,
        height=robot.height,
        control_dt=task.control_dt,
        physics_dt=task.physics_dt,
        quaternion_order="wxyz",
        gravity_sign="down",
        opset=OPSET,
        graph_sha256=read_metadata(graph)[1],
        joints=_joints(task),
        action=_action(task),
        observations=_observations(env),
        history=HistoryContract(
            length=frames, layout="frame_major", order="oldest_first", fill_at_reset="repeat_first"
        ),
        cameras=(),
        commands=_commands(env.command),
        recurrent=_recurrent(policy),
        lineage=_lineage(env, origin),
        metrics={name: float(value) for name, value in sorted(metrics.items())},
        recording=Recording(resets=[], readings={}, observations=[], actions=[], targets=[]),
    )


def _joints(task: Task) -> tuple[JointContract, ...]:
    delays = [event for event in task.events.values() if event.field is Field.ACTION_DELAY]
    low = min((event.low[0] for event in delays), default=0.0) * task.physics_dt
    high = max((event.high[0] for event in delays), default=0.0) * task.physics_dt
    return tuple(
        JointContract(
            name=joint.name,
            default_pos=float(joint.rest),
            lower=float(joint.lower),
            upper=float(joint.upper),
            effort=float(joint.effort),
            speed=float(joint.speed),
            kp=float(joint.kp),
            kd=float(joint.kd),
            armature=float(joint.armature),
            friction=float(joint.friction),
            delay=(low, high),
        )
        for joint in task.robot.joints
    )


def _action(task: Task) -> ActionContract:
    return ActionContract(
        meaning="joint_position",
        reference="default",
        scale=tuple(float(joint.action_scale) for joint in task.robot.joints),
        offset=tuple(float(joint.rest) for joint in task.robot.joints),
        clip=float(task.action_clip),
    )


def _commands(command: Command) -> tuple[CommandContract, ...]:
    parts = zip(command.names, command.units, command.low, command.high, strict=True)
    return tuple(
        CommandContract(name=name, unit=unit, low=float(low), high=float(high))
        for name, unit, low, high in parts
    )


def _observations(env: Env) -> tuple[ObservationContract, ...]:
    return tuple(
        ObservationContract(
            name=name,
            source=term.source,
            size=env.proprio.sizes[name],
            unit=term.unit,
            frame=term.frame,
            scale=float(term.scale),
            clip=None if term.clip is None else float(term.clip),
            delay=(float(term.delay[0]), float(term.delay[1])),
            noise=float(term.noise),
            bias=float(term.bias),
            parameters={key: float(value) for key, value in sorted(term.parameters.items())},
        )
        for name, term in env.task.proprio.items()
    )


def _recurrent(policy: Exportable) -> tuple[RecurrentContract, ...]:
    names = zip(policy.input_names[1:], policy.output_names[1:], strict=True)
    return tuple(
        RecurrentContract(
            input=into, output=out, shape=tuple(state.shape), initial=0.0, reset="episode"
        )
        for (into, out), state in zip(names, policy.dummy_inputs[1:], strict=True)
    )


def _lineage(env: Env, origin: Origin) -> Lineage:
    git = runs.git_state(Path(runs.__file__).parent)
    return Lineage(
        recipe=origin.recipe,
        task=env.task.name,
        seed=origin.seed,
        git_commit=git["commit"] + ("-dirty" if git["dirty"] else ""),
        simulator=type(env.sim).__name__,
        versions=dict(sorted(package_versions().items())),
        teacher_sha256=_hash(origin.teacher),
        checkpoint_sha256=_hash(origin.checkpoint),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _hash(path: Path | None) -> str:
    return "" if path is None else sha256(path.read_bytes()).hexdigest()


# -------------------------------------------------------------------------------- the proof


def _compare(
    model: Model, policy: Exportable, session: Any, env: Env, group: str, steps: int
) -> None:
    """Model, exportable form and graph over `steps` noisy observations, reset in the middle."""
    device = next(model.parameters()).device
    state = start = policy.dummy_inputs[1:]
    seen, done, ours = [], [], []
    env.reset()
    for step in range(steps):
        obs = env.get_observations()[group][:1].cpu()
        inputs = zip(policy.input_names, (obs, *state), strict=True)
        graph = session.run(None, {name: value.numpy() for name, value in inputs})
        with torch.no_grad():
            output = policy(obs, *state)
        for name, ours_now, theirs in zip(policy.output_names, output, graph, strict=True):
            _close(f"'{name}' of torch and onnxruntime", step, ours_now.numpy(), theirs)
        ended = bool(env.step(_everywhere(output[0], env))[2][0])
        if step == steps // 2 - 1 and not ended:
            env.reset()
            ended = True
        state = start if ended else tuple(output[1:])
        seen.append(obs)
        done.append([ended])
        ours.append(output[0])
    sequence = TensorDict({group: torch.stack(seen)}, batch_size=[steps, 1]).to(device)
    with torch.no_grad():
        trained, _ = model.sequence(sequence, torch.tensor(done, device=device))
    for step, (action, exported) in enumerate(zip(trained.cpu(), ours, strict=True)):
        _close("'actions' of the model and its exported form", step, action.numpy(), exported)


def _everywhere(action: Tensor, env: Env) -> Tensor:
    """The first environment's action (1, A) for all of them, which do not matter here."""
    return action.expand(env.num_envs, -1).to(env.device)


def _close(what: str, step: int, one: NDArray[Any], other: NDArray[Any] | Tensor) -> None:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    gap = float((np.abs(a - b) / np.maximum(1.0, np.abs(a))).max())
    if not gap <= PARITY_TOLERANCE:
        raise ExportError(
            f"{what} differ by {gap:.3g} in step {step}; allowed is {PARITY_TOLERANCE:g}"
        )


def _record(loop: Loop, env: Env, steps: int) -> Recording:
    """Clean readings of the first environment, and what the runtime makes of them."""
    needed = readings_needed(loop.contract)
    rows: dict[str, list[list[float]]] = {name: [] for name in needed}
    resets, observations, actions, targets = [], [], [], []
    env.reset()
    fresh = True
    for step in range(steps):
        if fresh:
            loop.reset()
        resets.append(fresh)
        now = {name: value for name, value in _readings(env).items() if name in needed}
        for name, value in now.items():
            rows[name].append(value)
        observations.append(_short(loop.observe(now)))
        targets.append(loop.step(now).tolist())
        actions.append(_short(loop.output))
        action = torch.tensor(loop.output, dtype=torch.float32).unsqueeze(0)
        fresh = bool(env.step(_everywhere(action, env))[2][0])
        if step == steps // 2 - 1 and not fresh:
            env.reset()
            fresh = True
    return Recording(
        resets=resets, readings=rows, observations=observations, actions=actions, targets=targets
    )


def _readings(env: Env) -> dict[str, list[float]]:
    """What perfect sensors of the first environment say."""
    state = env.sim.state
    tensors = {
        "angular_velocity": state.ang_vel_b,
        "gravity": state.gravity_b,
        "joint_pos": state.joint_pos,
        "joint_vel": state.joint_vel,
        "command": env.command.value,
    }
    return {name: _short(value[0].cpu().numpy()) for name, value in tensors.items()}


def _short(values: NDArray[Any]) -> list[float]:
    """The shortest decimals that read back as the same float32 numbers; keeps the file small."""
    return [float(str(value)) for value in values.astype(np.float32)]
