"""DAgger: a student imitates a frozen teacher on the states that the mixture of both visits.

Ross et al. 2011 (arXiv:1011.0686), with the whole data set replaced by the last rollout, as is
usual with simulators that never tire. Use it in a runner's configuration as
`class_name: "tutelage.algos.dagger:DAgger"`. Beside rsl_rl's `Distillation` it has: a share of
environments in which the teacher acts, a mask over transitions, minibatches over environments (so
that a recurrent student still sees time in order), a memory handed over exactly between windows,
updates and runs, a guard before the optimiser, and no keyword that it silently ignores.

By default the student acts by its mean. That is what will be deployed, so those are the states it
must be right on; and a squared loss never trains the std, whose initial value would then decide
how far the rollouts stray.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from rsl_rl.env import VecEnv
from rsl_rl.models import MLPModel
from rsl_rl.storage import RolloutStorage
from rsl_rl.utils import (
    reduce_gradients_in_buckets,
    resolve_class,
    resolve_obs_groups,
    resolve_optimizer,
)
from tensordict import TensorDict
from torch import Tensor, nn

from tutelage.algos import objectives, sequence, storage
from tutelage.algos.behaviour import Linear, Mixture
from tutelage.algos.checkpoint import check_observations
from tutelage.algos.guard import require_finite


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """A runner's `algorithm` section. What rsl_rl has too is named as there."""

    num_learning_epochs: int = 2
    num_mini_batches: int = 4
    """Each holds some environments over the whole rollout"""
    gradient_length: int = 12
    """Control steps through which the gradient flows back, and after which the optimiser steps"""
    learning_rate: float = 1e-3
    max_grad_norm: float | None = 1.0
    optimizer: str = "adam"
    loss_type: str = "mse"
    """One of `objectives.IMITATION`"""
    beta: tuple[float, float, int] | list[float] = (1.0, 0.0, 50)
    """Share of environments where the teacher acts: from, to, over this many iterations"""
    segment: int | None = None
    """Control steps for which the choice of who acts stands; None: a rollout"""
    exploration_std: float | None = 0.0
    """Noise on the student's mean when it acts; None: a sample of its own distribution, as in
    rsl_rl's `Distillation`"""
    grad_reduce_bucket_mb: float = 25

    def __post_init__(self) -> None:
        for name in ("num_learning_epochs", "num_mini_batches", "gradient_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.loss_type not in objectives.IMITATION:
            known = sorted(objectives.IMITATION)
            raise ValueError(f"loss_type {self.loss_type!r} is none of {known}")
        if len(self.beta) != 3:
            raise ValueError(f"beta is {self.beta}; it must be (from, to, iterations)")


class DAgger:
    """Student: any rsl_rl or tutelage model. Teacher: any, never trained here."""

    def __init__(
        self,
        student: MLPModel,
        teacher: MLPModel,
        rollout: RolloutStorage,
        settings: Settings,
        *,
        device: str = "cpu",
        multi_gpu_cfg: dict[str, Any] | None = None,
    ) -> None:
        """An untaught student; `load` the teacher before the first rollout."""
        _require_std(student, settings)
        if settings.num_mini_batches > rollout.num_envs:
            raise ValueError(
                f"num_mini_batches={settings.num_mini_batches} of {rollout.num_envs} environments"
            )
        self.settings = settings
        self.device = device
        self.multi_gpu_cfg = multi_gpu_cfg
        self.student = student.to(device)
        self.teacher = teacher.to(device).requires_grad_(False).eval()
        self.teacher_loaded = False
        self.storage = rollout
        self.transition = RolloutStorage.Transition()
        self.learning_rate = settings.learning_rate
        make_optimizer = resolve_optimizer(settings.optimizer)
        self.optimizer = make_optimizer(student.parameters(), lr=settings.learning_rate)
        self.error = objectives.IMITATION[settings.loss_type]
        start, end, over = settings.beta
        share = Linear(start, end, int(over))
        self.behaviour = Mixture(rollout.num_envs, share, settings.segment, device)
        self.iteration = 0
        self._counts = storage.attach_flag(rollout)
        self._memory_at_start: storage.Memory = None

    # ---------------------------------------------------------------- rollout

    def act(self, obs: TensorDict) -> Tensor:
        """The teacher's action where the mixture says so, elsewhere the student's. (B, A)"""
        if not self.teacher_loaded:
            raise RuntimeError(
                "the teacher has its random initial weights; load a checkpoint first: "
                'load(checkpoint, {"teacher": True}, strict=True)'
            )
        begins = self.storage.step == 0
        if begins:
            self._memory_at_start = storage.copied(self.student.get_hidden_state())
        with torch.no_grad():
            label = self.teacher(obs)
            action = self._student_action(obs)
        teacher_acts = self.behaviour.choose(self.iteration, begins).unsqueeze(-1)
        self.transition.observations = obs
        self.transition.privileged_actions = label
        self.transition.actions = torch.where(teacher_acts, label, action)
        executed: Tensor = self.transition.actions
        return executed

    def _student_action(self, obs: TensorDict) -> Tensor:
        # a stochastic call sets the distribution, whose std the runner logs
        noise = self.settings.exploration_std
        sample: Tensor = self.student(obs, stochastic_output=True)
        if noise is None or self.student.distribution is None:
            mean = sample
        else:
            mean = self.student.output_mean
        return mean + noise * torch.randn_like(mean) if noise else mean

    def process_env_step(
        self, obs: TensorDict, rewards: Tensor, dones: Tensor, extras: dict[str, Any]
    ) -> None:
        """Record one step; `extras["valid"]` (B,) says which transitions count, default all."""
        valid = extras.get("valid")
        self._counts[self.storage.step, :, 0] = True if valid is None else valid
        self.transition.rewards = rewards
        self.transition.dones = dones
        self.storage.add_transition(self.transition)
        self.transition.clear()
        self.student.reset(dones)
        self.teacher.reset(dones)

    def compute_returns(self, obs: TensorDict) -> None:
        """Nothing: imitation needs no returns."""

    # ---------------------------------------------------------------- learning

    def update(self) -> dict[str, float]:
        """Several epochs over the rollout; means of the losses, and the share of the teacher."""
        all_count = bool(self._counts.all())
        if not all_count:
            storage.settle(self.storage, self._counts)
        mask = None if all_count else self._counts.squeeze(-1)
        start = storage.copied(self._memory_at_start)
        total, weight = 0.0, 0
        for envs in self._minibatches():
            state = storage.of_envs(start, envs)
            for window in self._windows():
                error, state = self._step(window, envs, state, mask)
                steps = window.stop - window.start
                total, weight = total + error * steps, weight + steps
        flag = None if all_count else self._counts
        self.student.update_normalization(storage.counted(self.storage.observations, flag))
        self.storage.clear()
        beta = self.behaviour.share(self.iteration)
        self.iteration += 1
        return {"behavior": total / weight, "beta": beta}

    def _minibatches(self) -> Iterator[storage.Envs]:
        """In every epoch the same minibatches, drawn anew in each update."""
        epochs, count = self.settings.num_learning_epochs, self.settings.num_mini_batches
        if count == 1:
            yield from [slice(None)] * epochs
            return
        order = torch.randperm(self.storage.num_envs, device=self.device)
        yield from order.tensor_split(count) * epochs

    def _windows(self) -> Iterator[slice]:
        steps, length = self.storage.num_transitions_per_env, self.settings.gradient_length
        for start in range(0, steps, length):
            yield slice(start, min(start + length, steps))

    def _step(
        self, window: slice, envs: storage.Envs, state: storage.Memory, mask: Tensor | None
    ) -> tuple[float, storage.Memory]:
        """One step of the optimiser on a stretch of time; the error, and the memory after it."""
        st = self.storage
        obs = st.observations[window, envs]
        dones = st.dones[window, envs].squeeze(-1).bool()
        means, state = sequence.run(self.student, obs, dones, state)
        std = self.student.output_std if self.error is objectives.negative_log_likelihood else None
        errors = self.error(means, st.privileged_actions[window, envs], std)
        error = objectives.mean(errors, None if mask is None else mask[window, envs])
        self.optimizer.zero_grad()
        # a sum over time of means over environments, as rsl_rl accumulates it
        (error * len(means)).backward()  # type: ignore[no-untyped-call]
        if self.multi_gpu_cfg is not None:
            self._reduce_gradients(self.multi_gpu_cfg)
        limit = self.settings.max_grad_norm
        norm = nn.utils.clip_grad_norm_(
            self.student.parameters(), math.inf if limit is None else limit
        )
        numbers = require_finite(
            {"behavior": error, "gradient of the student": norm}, self._stored()
        )
        self.optimizer.step()
        return numbers["behavior"], storage.each(Tensor.detach, state)

    def _reduce_gradients(self, multi_gpu_cfg: dict[str, Any]) -> None:
        size = self.settings.grad_reduce_bucket_mb
        reduce_gradients_in_buckets(self.student.parameters(), multi_gpu_cfg["world_size"], size)

    def _stored(self) -> dict[str, Tensor]:
        """The rollout by name, for the report of a number that is not finite."""
        st = self.storage
        groups = {f"observations {name}": x for name, x in st.observations.items()}
        return {"actions": st.actions, "labels": st.privileged_actions} | groups

    def broadcast_parameters(self) -> None:
        """Give every process the first one's student and teacher."""
        for model in (self.student, self.teacher):
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, src=0)

    def train_mode(self) -> None:
        """The student learns; the teacher never does."""
        self.student.train()
        self.teacher.eval()

    def eval_mode(self) -> None:
        """Neither learns."""
        self.student.eval()
        self.teacher.eval()

    def get_policy(self) -> MLPModel:
        """The student."""
        return self.student

    # ---------------------------------------------------------------- checkpoints

    def save(self) -> dict[str, Any]:
        """rsl_rl's keys, and what goes on in the running episodes."""
        return {
            "student_state_dict": self.student.state_dict(),
            "teacher_state_dict": self.teacher.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "behaviour": {"iteration": self.iteration} | self.behaviour.snapshot(),
            "hidden_states": {
                "student": storage.copied(self.student.get_hidden_state()),
                "teacher": storage.copied(self.teacher.get_hidden_state()),
            },
        }

    def load(
        self, loaded_dict: dict[str, Any], load_cfg: dict[str, bool] | None, strict: bool
    ) -> bool:
        """Take over a teacher from PPO, or a student's run to go on with.

        `load_cfg` names what to take of: student, teacher, optimizer, behaviour, hidden_states,
        iteration. None takes the teacher of a PPO checkpoint, and all of a student's.
        """
        parts = ("student", "teacher", "optimizer", "behaviour", "hidden_states", "iteration")
        from_ppo = "actor_state_dict" in loaded_dict
        if load_cfg is None:
            load_cfg = {"teacher": True} if from_ppo else dict.fromkeys(parts, True)
        if unknown := sorted(set(load_cfg) - set(parts)):
            raise ValueError(f"load_cfg has {unknown}; what can be loaded is {sorted(parts)}")
        if load_cfg.get("teacher"):
            self._load_teacher(loaded_dict, from_ppo, strict)
        if load_cfg.get("student"):
            self.student.load_state_dict(loaded_dict["student_state_dict"], strict=strict)
        if load_cfg.get("optimizer"):
            self.optimizer.load_state_dict(loaded_dict["optimizer_state_dict"])
            self.learning_rate = self.optimizer.param_groups[0]["lr"]
        if load_cfg.get("behaviour"):
            self.iteration = int(loaded_dict["behaviour"]["iteration"])
            self.behaviour.restore(loaded_dict["behaviour"])
        if load_cfg.get("hidden_states"):
            for name, model in (("student", self.student), ("teacher", self.teacher)):
                state = loaded_dict["hidden_states"][name]
                storage.resume(model, state, self.storage.num_envs, self.device)
        return bool(load_cfg.get("iteration", False))

    def _load_teacher(self, loaded: dict[str, Any], from_ppo: bool, strict: bool) -> None:
        """Weights and normaliser; ValueError if they were trained on other observations."""
        name = "actor" if from_ppo else "teacher"
        infos = loaded.get("infos")
        if isinstance(infos, dict) and "obs_groups" in infos and "obs_sizes" in infos:
            shapes = {k: list(v.shape[2:]) for k, v in self.storage.observations.items()}
            theirs = infos | {"obs_groups": {"teacher": infos["obs_groups"][name]}}
            check_observations({"teacher": list(self.teacher.obs_groups)}, shapes, theirs)
        weights = loaded[f"{name}_state_dict"]
        _require_same_shapes(self.teacher, weights)
        self.teacher.load_state_dict(weights, strict=strict)
        self.teacher.eval()
        self.teacher_loaded = True

    @staticmethod
    def construct_algorithm(
        obs: TensorDict, env: VecEnv, cfg: dict[str, Any], device: str
    ) -> DAgger:
        """Build both models, the storage and the algorithm from a runner's configuration."""
        if cfg.get("torch_compile_mode") is not None:
            raise ValueError("torch_compile_mode is set, but DAgger does not compile its models")
        algorithm_class, settings = resolve_class(cfg["algorithm"])
        cfg["obs_groups"] = resolve_obs_groups(obs, cfg["obs_groups"], ["student", "teacher"])
        models = []
        for name in ("student", "teacher"):
            model_class, choices = resolve_class(cfg[name])
            models.append(model_class(obs, cfg["obs_groups"], name, env.num_actions, **choices))
        shape = [env.num_actions]
        rollout = RolloutStorage(
            "distillation", env.num_envs, cfg["num_steps_per_env"], obs, shape, device
        )
        made: DAgger = algorithm_class(
            *models, rollout, Settings(**settings), device=device, multi_gpu_cfg=cfg["multi_gpu"]
        )
        return made


def _require_std(student: MLPModel, settings: Settings) -> None:
    """rsl_rl's runner logs the policy's std, and dies late and obscurely where there is none."""
    ours = hasattr(student, "sequence")
    likelihood = settings.loss_type == "nll"
    if student.distribution is None and (
        settings.exploration_std is None or likelihood or not ours
    ):
        raise ValueError(
            "the student has no distribution, which its std is taken from; give it a "
            "distribution_cfg, or use tutelage.policies.model:Model with loss_type mse or huber"
        )
    if likelihood and not ours:
        raise ValueError(
            "loss_type nll needs the std along a sequence; use tutelage.policies.model:Model"
        )


def _require_same_shapes(model: MLPModel, weights: dict[str, Tensor]) -> None:
    own = model.state_dict()
    wrong = [
        f"{name} is {list(weights[name].shape)} in the checkpoint, {list(own[name].shape)} here"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if wrong:
        raise ValueError(
            f"the teacher's checkpoint does not fit observations {list(model.obs_groups)} and "
            f"network of this run: {'; '.join(wrong)}"
        )
