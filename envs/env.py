"""A Task on a Simulator: the `VecEnv` that rsl_rl trains on.

A control step: pushes that are due, physics, failures, rewards, new commands, resets, observations.
Between entry and exit of `step` nothing looks at a tensor's value on the host: resets, draws and
pushes are masks. Observations are those after the resets, as rsl_rl expects.

Numbers that are not finite, and failures of the physics engine, stay in their environment: it is
reset, its transition is marked in `extras["valid"]` so that algorithms leave it out of every loss,
and `Health/invalid` counts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from tutelage.envs.groups import Group, History
from tutelage.envs.mirror import mirror
from tutelage.envs.rotations import from_yaw
from tutelage.envs.sim.protocol import Simulator
from tutelage.envs.state import Context, State
from tutelage.envs.task import Memory, Observation, Task, Term
from tutelage.envs.terms.events import Events
from tutelage.envs.tiles import Tiles

DIVERGED = 1e6
"""No position [m, rad], velocity [m/s, rad/s] or force [N, N·m] of a robot is as large as this"""


class _Part(Protocol):
    """What an environment is made of, as snapshots see it."""

    def snapshot(self) -> dict[str, Tensor]: ...

    def restore(self, snapshot: Mapping[str, Tensor]) -> None: ...


class Env(VecEnv):
    """`num_envs` copies of a task; made by `tutelage.envs.make`."""

    def __init__(self, task: Task, sim: Simulator, *, seed: int = 0, history: int = 1) -> None:
        _check(task, sim)
        if history < 1:
            raise ValueError(f"history must be at least 1 frame, not {history}")
        self.task, self.sim, self.seed = task, sim, seed
        self.num_envs, self.device = sim.num_envs, sim.device
        self.num_actions = len(task.robot.joints)
        self.max_episode_length = round(task.episode / task.control_dt)
        self.cfg = {"task": task.name, "seed": seed, "num_envs": self.num_envs}
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._constants()
        self._buffers()
        self._memories = _memories(task)
        self.command = task.command(self.num_envs, self.device, self._generator)
        self._events = Events(task.events, sim, self._generator)
        self.tiles = Tiles(task, sim, self._generator)
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._reset(everywhere)
        self._groups(history)
        for term in self._memories.values():
            term.reset(everywhere)  # of having been asked once for its shape
        self._observe(everywhere)

    def _constants(self) -> None:
        joints, device = self.task.robot.joints, self.device
        self._lift = torch.tensor([0.0, 0.0, self.task.robot.height], device=device)
        self._rest = torch.tensor([joint.rest for joint in joints], device=device)
        self._lower = torch.tensor([joint.lower for joint in joints], device=device)
        self._upper = torch.tensor([joint.upper for joint in joints], device=device)
        self._action_scale = torch.tensor([joint.action_scale for joint in joints], device=device)
        weights = [reward.weight * self.task.control_dt for reward in self.task.rewards.values()]
        self._weights = torch.tensor(weights, device=device)

    def _buffers(self) -> None:
        count, device = self.num_envs, self.device
        self.episode_length_buf = torch.zeros(count, dtype=torch.long, device=device)
        self._actions = torch.zeros(3, count, self.num_actions, device=device)
        self._target = torch.zeros(count, self.num_actions, device=device)
        self._last_joint_vel = torch.zeros(count, self.num_actions, device=device)
        self._sums = torch.zeros(count, len(self.task.rewards), device=device)
        self._ended = torch.zeros(count, len(self.task.rewards) + 1, device=device)

    def _groups(self, history: int) -> None:
        context, task, device = self.context(), self.task, self.sim.device

        def group(terms: Mapping[str, Observation]) -> Group:
            sizes = {name: _width(name, o, context) for name, o in terms.items()}
            return Group(
                terms, sizes, self.num_envs, device, self._generator,
                control_dt=task.control_dt, physics_dt=task.physics_dt,
            )

        self.proprio, self.privileged = group(task.proprio), group(task.privileged)
        self._history = (
            History(history, self.num_envs, self.proprio.size, device) if history > 1 else None
        )
        for kind, terms in _scalar_terms(task).items():
            for name, term in terms.items():
                _check_scalar(kind, name, term(context))

    # ---------------------------------------------------------------- the control step

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """actions (B, A) -> observations, rewards (B,), dones (B,), extras.

        extras: time_outs (B,) bool, valid (B,) bool, log: name -> () tensor.
        """
        self._events.step(self.task.control_dt)
        self._act(actions)
        self.episode_length_buf = self.episode_length_buf + 1
        context = self.context()
        invalid = _not_finite(context.state) | context.state.faulty
        failures = {name: term(context) for name, term in self.task.terminations.items()}
        failed = torch.stack([invalid, *failures.values()]).any(0)
        timed_out = (self.episode_length_buf >= self.max_episode_length) & ~failed
        done = failed | timed_out
        reward = self._reward(context, invalid)
        log = self._log(context, done, failures, invalid)
        self.command.step(self.task.control_dt)
        self.tiles.update(done & ~invalid, context, self._ended[:, 0])
        self._reset(done)
        self._observe(done)
        extras = {"time_outs": timed_out, "valid": ~invalid, "log": log}
        return self._obs, reward, done, extras

    def _act(self, actions: Tensor) -> None:
        action = actions.clamp(-self.task.action_clip, self.task.action_clip)
        self._actions = torch.stack((action, self._actions[0], self._actions[1]))
        self._last_joint_vel = self.sim.state.joint_vel
        self._target = self._rest + self._action_scale * action
        self.sim.step(self._target, self.task.decimation)

    def context(self) -> Context:
        """What terms look at now."""
        state = self.sim.state
        base_ground, foot_ground = self.tiles.heights(state)
        return Context(
            state=state,
            last_joint_vel=self._last_joint_vel,
            command=self.command.value,
            action=self._actions[0],
            last_action=self._actions[1],
            last_last_action=self._actions[2],
            target=self._target,
            time=self.episode_length_buf * self.task.control_dt,
            dt=self.task.control_dt,
            dynamics=self._events.dynamics,
            base_height=state.root_pos_w[:, 2] - base_ground,
            foot_height=state.foot_pos_w[..., 2] - foot_ground,
            rest=self._rest,
            lower=self._lower,
            upper=self._upper,
            sense=self.sim.sense,
        )

    def _reward(self, context: Context, invalid: Tensor) -> Tensor:
        terms = [reward.term(context) for reward in self.task.rewards.values()]
        values = torch.stack(terms, dim=-1) * self._weights
        values = torch.where(invalid[:, None], torch.zeros_like(values), values)
        self._sums = self._sums + values
        return values.sum(-1)

    def _log(
        self, context: Context, done: Tensor, failures: Mapping[str, Tensor], invalid: Tensor
    ) -> dict[str, Tensor]:
        """What the logger averages. Episode sums are those of each environment's last episode."""
        ended = torch.cat((self._tracked(), self._sums / self.task.episode), dim=-1)
        self._ended = torch.where(done[:, None], ended, self._ended)
        means = self._ended.mean(0)
        log = {f"Episode_Reward/{name}": means[i + 1] for i, name in enumerate(self.task.rewards)}
        valid = ~invalid
        count = valid.sum().clamp(min=1)
        for name, term in self.task.metrics.items():
            value = torch.where(valid, term(context), 0.0)
            log[f"Metrics/{name}"] = value.sum() / count
        for name, failed in failures.items():
            log[f"Episode_Termination/{name}"] = failed.float().mean()
        log["Health/invalid"] = invalid.float().sum()
        return log | self.tiles.log() | {f"Health/{k}": v for k, v in self.sim.metrics.items()}

    def _tracked(self) -> Tensor:
        """Share of the `track` reward of a whole perfect episode earned so far. (B, 1)"""
        names = list(self.task.rewards)
        if "track" not in names:
            return self._sums.new_zeros(self.num_envs, 1)
        column = names.index("track")
        best = self.task.rewards["track"].weight * self.task.episode
        return self._sums[:, column : column + 1] / best

    # ---------------------------------------------------------------- resets and observations

    def _reset(self, mask: Tensor) -> None:
        """Begin new episodes where masked (B,)."""
        count, joints = self.num_envs, self.num_actions
        unit = torch.rand(
            (count, 2 * joints + 1), generator=self._generator, device=self.device
        )
        noise = (2 * unit - 1) * self.task.reset_noise
        joint_pos = (self._rest + noise[:, :joints]).clamp(self._lower, self._upper)
        joint_vel = noise[:, joints : 2 * joints]
        heading = from_yaw((2 * unit[:, -1] - 1) * torch.pi)
        pose = torch.cat((self.tiles.place(mask) + self._lift, heading), dim=-1)
        self._events.reset(mask)  # first, so that the state after the reset is of the new physics
        self.sim.reset(mask, pose, torch.zeros(count, 6, device=self.device), joint_pos, joint_vel)
        self.command.widen(self.tiles.share)
        self.command.reset(mask)
        # `where`, not a product with 0: what is forgotten may not be a number.
        self.episode_length_buf = torch.where(mask, 0, self.episode_length_buf)
        self._actions = torch.where(mask[None, :, None], 0.0, self._actions)
        self._target = torch.where(mask[:, None], joint_pos, self._target)
        self._last_joint_vel = torch.where(mask[:, None], joint_vel, self._last_joint_vel)
        self._sums = torch.where(mask[:, None], 0.0, self._sums)
        for term in self._memories.values():
            term.reset(mask)

    def _observe(self, fresh: Tensor) -> None:
        context = self.context()
        self.proprio.reset(fresh)
        raw, hidden = self.proprio.raw(context), self.privileged.raw(context)
        proprio, privileged = self.proprio.sensed(raw, fresh), self.privileged.clean(hidden)
        groups = {
            "proprio": proprio,
            "privileged": privileged,
            "critic": torch.cat((self.proprio.clean(raw), privileged), dim=-1),
        }
        if self._history:
            groups["history"] = self._history(proprio, fresh)
        self._obs = TensorDict(groups, batch_size=[self.num_envs], device=self.device)

    def get_observations(self) -> TensorDict:
        return self._obs

    def reset(self) -> tuple[TensorDict, dict[str, Any]]:
        """Begin a new episode everywhere."""
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._reset(everywhere)
        self._observe(everywhere)
        return self._obs, {}

    # ---------------------------------------------------------------- mirror, snapshots

    def mirror(
        self, obs: TensorDict | None, actions: Tensor | None
    ) -> tuple[TensorDict | None, Tensor | None]:
        """Observations and actions as the robot's mirror image has them (not appended)."""
        if self.task.robot.mirror is None:
            raise ValueError(f"robot '{self.task.robot.name}' has no mirror")
        flipped = None
        if obs is not None:
            flipped = TensorDict(
                {
                    key: value[..., self._mirrors[key][0]] * self._mirrors[key][1]
                    if key in self._mirrors
                    else value
                    for key, value in obs.items()
                },
                batch_size=obs.batch_size,
            )
        order, signs = self._mirrors["actions"]
        return flipped, None if actions is None else actions[..., order] * signs

    @cached_property
    def _mirrors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Places and signs for each group and for actions, by name."""
        robot = self.task.robot

        def kinds(group: Group) -> list[tuple[str, int]]:
            return [(term.mirror, group.sizes[name]) for name, term in group.terms.items()]

        proprio, privileged = kinds(self.proprio), kinds(self.privileged)
        pairs = {
            "proprio": mirror(robot, proprio),
            "privileged": mirror(robot, privileged),
            "critic": mirror(robot, proprio + privileged),
            "actions": mirror(robot, [("joints", self.num_actions)]),
        }
        if self._history:
            frames = self._obs["history"].shape[-1] // self.proprio.size
            pairs["history"] = mirror(robot, proprio * frames)
        return {key: (o.to(self.device), s.to(self.device)) for key, (o, s) in pairs.items()}

    _TENSORS = ("episode_length_buf", "_actions", "_target", "_last_joint_vel", "_sums", "_ended")

    def _parts(self) -> dict[str, _Part]:
        parts: dict[str, _Part] = {
            "command": self.command, "events": self._events, "tiles": self.tiles,
            "proprio": self.proprio, **self._memories,
        }
        return parts | ({"history": self._history} if self._history else {})

    def snapshot(self) -> dict[str, Tensor]:
        """All that decides the future, as tensors; exact on the CPU."""
        saved = {f"env/{name}": getattr(self, name).clone() for name in self._TENSORS}
        saved["env/generator"] = self._generator.get_state()
        saved |= {f"obs/{key}": value.clone() for key, value in self._obs.items()}
        saved |= {f"sim/{key}": value for key, value in self.sim.snapshot().items()}
        for part, thing in self._parts().items():
            saved |= {f"{part}/{key}": v.clone() for key, v in thing.snapshot().items()}
        return saved

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Go back to a snapshot of an environment of the same task and size."""
        split: dict[str, dict[str, Tensor]] = {}
        for name, value in snapshot.items():
            part, _, key = name.partition("/")
            split.setdefault(part, {})[key] = value
        parts = self._parts()
        missing = [p for p in ("env", "obs", "sim") if p not in split]
        missing += [p for p, thing in parts.items() if p not in split and thing.snapshot()]
        if missing or ("history" in split) != ("history" in parts):
            raise ValueError(
                f"the snapshot holds {sorted(split)}, this environment has "
                f"{sorted({'env', 'obs', 'sim', *parts})}: another task or history"
            )
        if split["env"]["episode_length_buf"].shape != self.episode_length_buf.shape:
            raise ValueError(
                f"the snapshot is of {len(split['env']['episode_length_buf'])} environments, "
                f"this is of {self.num_envs}"
            )
        for name in self._TENSORS:
            setattr(self, name, split["env"][name].clone().to(self.device))
        self._generator.set_state(split["env"]["generator"].cpu())
        self.sim.restore(split["sim"])
        for part, thing in parts.items():
            thing.restore(split.get(part, {}))
        self._obs = TensorDict(
            {key: value.clone() for key, value in split["obs"].items()},
            batch_size=[self.num_envs], device=self.device,
        )

    def close(self) -> None:
        self.sim.close()


def _not_finite(state: State) -> Tensor:
    """Where a number is not finite, or so large that it is on its way there. (B,) bool"""
    parts = (state.root_pos_w, state.root_quat_w, state.lin_vel_b, state.ang_vel_b,
             state.joint_pos, state.joint_vel, state.joint_torque, state.foot_vel_w.flatten(1),
             state.foot_force_w.flatten(1))
    return ~(torch.cat(parts, dim=-1).abs().amax(-1) < DIVERGED)


def _width(name: str, observation: Observation, context: Context) -> int:
    """Number of columns of a term, found by asking it once."""
    value = observation.term(context)
    if value.dim() != 2 or len(value) != len(context.time):
        raise ValueError(
            f"observation '{name}' returned shape {tuple(value.shape)}; it must be (B, n)"
        )
    return value.shape[1]


def _scalar_terms(task: Task) -> dict[str, Mapping[str, Term]]:
    """The terms that return one number for each environment, by kind and name."""
    return {
        "reward": {name: reward.term for name, reward in task.rewards.items()},
        "termination": task.terminations,
        "metric": task.metrics,
    }


def _check_scalar(kind: str, name: str, value: Tensor) -> None:
    """A term of shape (B, 1) would silently spread to (B, B) beside the others."""
    if value.dim() != 1:
        raise ValueError(f"{kind} '{name}' returned shape {tuple(value.shape)}; it must be (B,)")
    if kind == "termination" and value.dtype != torch.bool:
        raise ValueError(f"termination '{name}' returned {value.dtype}; it must be torch.bool")


def _memories(task: Task) -> dict[str, Memory]:
    """The terms that remember, by kind and name."""
    observed = {"proprio": task.proprio, "privileged": task.privileged}
    kinds = _scalar_terms(task) | {
        kind: {name: o.term for name, o in terms.items()} for kind, terms in observed.items()
    }
    found: dict[str, Memory] = {}
    for kind, terms in kinds.items():
        for name, term in terms.items():
            if isinstance(term, Memory):
                found[f"{kind}.{name}"] = term
    return found


def _check(task: Task, sim: Simulator) -> None:
    """Refuse a task the simulator cannot serve, before anything is built."""
    needed = {str(event.field) for event in task.events.values() if event.field}
    needed |= {type(sensor).__name__ for sensor in task.sensors.values()}
    missing = sorted(needed - sim.supports)
    if missing:
        raise ValueError(
            f"task '{task.name}' needs {missing}, which {type(sim).__name__} does not have; it "
            f"has {sorted(sim.supports)}"
        )
