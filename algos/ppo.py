"""rsl_rl's PPO, with a mask over transitions and a guard before the optimiser.

When every transition counts, the weights after any number of updates are rsl_rl's, bit for bit; a
test holds that. What differs: a transition with `extras["valid"]` false enters no loss, no
advantage, no statistic; and a loss or gradient that is not finite raises `NonFiniteLoss` before
the step. Use it in a runner's configuration as `class_name: "tutelage.algos.ppo:PPO"`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from rsl_rl.algorithms import PPO as RslRlPPO
from rsl_rl.env import VecEnv
from rsl_rl.models import MLPModel
from rsl_rl.storage import RolloutStorage
from tensordict import TensorDict
from torch import Tensor, nn

from tutelage.algos import objectives, storage
from tutelage.algos.guard import require_finite

MAX_LEARNING_RATE = 1e-2
MIN_LEARNING_RATE = 1e-5
"""Bounds of the adaptive schedule, those of rsl_rl"""


class Extent(NamedTuple):
    """How much of a batch is its own, and what of it counts; None when everything does."""

    size: int
    """Leading entries that are not mirror images"""
    mask: Tensor | None
    """(size,), or (T, n) in a recurrent batch"""
    repeated: Tensor | None
    """The same for the batch with its images"""


class Losses(NamedTuple):
    """Scalars of one minibatch."""

    total: Tensor
    reported: dict[str, Tensor]
    """By the names that rsl_rl logs them under"""
    kl: Tensor | None
    """Mean KL(old policy ‖ new policy), when the learning rate follows it"""


class PPO(RslRlPPO):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347)."""

    def __init__(
        self,
        actor: MLPModel,
        critic: MLPModel,
        rollout: RolloutStorage,
        rnd_cfg: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """`settings` are rsl_rl's; a key that it does not know is a TypeError there."""
        if rnd_cfg is not None:
            raise ValueError(
                "rnd_cfg is set, but curiosity rewards have no mask here; leave it None or use "
                'class_name "rsl_rl.algorithms:PPO"'
            )
        super().__init__(actor, critic, rollout, **settings)
        self._counts = storage.attach_flag(rollout)
        self._mask_in_use = False

    def process_env_step(
        self, obs: TensorDict, rewards: Tensor, dones: Tensor, extras: dict[str, Any]
    ) -> None:
        """Record one step; `extras["valid"]` (B,) says which transitions count, default all."""
        valid = extras.get("valid")
        self._counts[self.storage.step, :, 0] = True if valid is None else valid
        super().process_env_step(obs, rewards, dones, extras)

    def compute_returns(self, obs: TensorDict) -> None:
        """Returns and advantages of the rollout; `obs` are those after its last step."""
        st = self.storage
        self._mask_in_use = not bool(self._counts.all())
        if self._mask_in_use:
            storage.settle(st, self._counts)
        mask = self._counts if self._mask_in_use else None
        state = self.critic.get_hidden_state()
        last_values = self.critic(obs).detach()
        # the look ahead must not advance the critic's memory (rsl_rl #206)
        self.critic.reset(hidden_state=state)
        advantage = objectives.advantages(
            st.rewards, st.values, last_values, st.dones, gamma=self.gamma, lam=self.lam, mask=mask
        )
        st.returns = advantage + st.values
        st.advantages = st.returns - st.values
        if not self.normalize_advantage_per_mini_batch:
            st.advantages = objectives.standardise(st.advantages, mask)

    def update(self) -> dict[str, float]:
        """Several epochs over the rollout in minibatches; means of the losses."""
        sums: dict[str, float] = {}
        for batch in self._batches():
            for name, value in self._step(batch).items():
                sums[name] = sums.get(name, 0) + value
        seen = storage.counted(
            self.storage.observations, self._counts if self._mask_in_use else None
        )
        self.actor.update_normalization(seen)
        self.critic.update_normalization(seen)
        self.storage.clear()
        steps = self.num_learning_epochs * self.num_mini_batches
        return {name: total / steps for name, total in sums.items()}

    def _batches(self) -> Any:
        recurrent = self.actor.is_recurrent or self.critic.is_recurrent
        make = (
            self.storage.recurrent_mini_batch_generator
            if recurrent
            else self.storage.mini_batch_generator
        )
        return make(self.num_mini_batches, self.num_learning_epochs)

    def _step(self, batch: RolloutStorage.Batch) -> dict[str, float]:
        """One step of the optimiser, or NonFiniteLoss and none."""
        device = torch.device(self.device).type
        with torch.amp.autocast(device, enabled=self.use_mixed_precision, dtype=torch.bfloat16):
            losses = self._losses(batch, self._prepare(batch))
        learning_rate = self._learning_rate_after(losses.kl)
        self.optimizer.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        if self.is_multi_gpu:
            self.reduce_parameters()
        clip = nn.utils.clip_grad_norm_
        norms = {
            "gradient of the actor": clip(self.actor.parameters(), self.max_grad_norm),
            "gradient of the critic": clip(self.critic.parameters(), self.max_grad_norm),
        }
        numbers = require_finite(losses.reported | norms, self._stored())
        self.learning_rate = learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return {name: numbers[name] for name in losses.reported}

    def _prepare(self, batch: RolloutStorage.Batch) -> Extent:
        """Normalise the batch's advantages and add its mirror image, as configured."""
        size = batch.observations.batch_size[0]
        mask = storage.batch_mask(batch) if self._mask_in_use else None
        batch.observations = batch.observations.exclude(storage.COUNTS)
        if self.normalize_advantage_per_mini_batch:
            with torch.no_grad():
                column = None if mask is None else mask.unsqueeze(-1)
                batch.advantages = objectives.standardise(batch.advantages, column)
        if self.symmetry:
            self.symmetry.augment_batch(batch, size)
        copies = batch.actions.shape[0] // size
        repeated = None if mask is None else mask.repeat(copies, *(1 for _ in mask.shape[1:]))
        return Extent(size, mask, repeated)

    def _losses(self, batch: RolloutStorage.Batch, extent: Extent) -> Losses:
        size, mask, repeated = extent
        obs, (actor_state, critic_state) = batch.observations, batch.hidden_states
        self.actor(obs, masks=batch.masks, hidden_state=actor_state, stochastic_output=True)
        log_prob = self.actor.get_output_log_prob(batch.actions)
        values = self.critic(obs, masks=batch.masks, hidden_state=critic_state)
        entropy = objectives.mean(self.actor.output_entropy[:size], mask)
        kl = self._mean_kl(batch, size, mask)
        surrogate = objectives.surrogate(
            log_prob,
            batch.old_actions_log_prob.squeeze(-1),
            batch.advantages.squeeze(-1),
            clip=self.clip_param,
            mask=repeated,
        )
        value = objectives.value_error(
            values,
            batch.returns,
            batch.values,
            clip=self.clip_param if self.use_clipped_value_loss else None,
            mask=None if repeated is None else repeated.unsqueeze(-1),
        )
        total = surrogate + self.value_loss_coef * value - self.entropy_coef * entropy
        reported = {"value": value, "surrogate": surrogate, "entropy": entropy}
        if self.symmetry:
            reported["symmetry"] = self._mirror_error(batch, extent)
            if self.symmetry.use_mirror_loss:
                total = total + self.symmetry.mirror_loss_coeff * reported["symmetry"]
        return Losses(total, reported, kl)

    def _mean_kl(
        self, batch: RolloutStorage.Batch, size: int, mask: Tensor | None
    ) -> Tensor | None:
        if self.desired_kl is None or self.schedule != "adaptive":
            return None
        with torch.inference_mode():
            new = tuple(p[:size] for p in self.actor.output_distribution_params)
            kl = self.actor.get_kl_divergence(batch.old_distribution_params, new)
            return objectives.mean(kl, mask)

    def _mirror_error(self, batch: RolloutStorage.Batch, extent: Extent) -> Tensor:
        mirror, size = self.symmetry.data_augmentation_func, extent.size
        obs = batch.observations
        if not self.symmetry.use_data_augmentation:
            obs, _ = mirror(env=self.symmetry.env, obs=obs, actions=None)
        actions = self.actor(obs.detach().clone())
        _, mirrored = mirror(env=self.symmetry.env, obs=None, actions=actions[:size])
        images = actions.shape[0] // size - 1
        mask = None if extent.mask is None else extent.mask.repeat(images)
        error = objectives.mirror_error(actions[size:], mirrored[size:], mask)
        return error if self.symmetry.use_mirror_loss else error.detach()

    def _learning_rate_after(self, kl: Tensor | None) -> float:
        """rsl_rl's adaptive schedule: slower beyond twice the wanted KL, faster below half."""
        if kl is None:
            return float(self.learning_rate)
        if self.is_multi_gpu:
            torch.distributed.all_reduce(kl, op=torch.distributed.ReduceOp.SUM)
            kl.div_(self.gpu_world_size)
        rate = float(self.learning_rate)
        if self.gpu_global_rank == 0:
            if kl > self.desired_kl * 2.0:
                rate = max(MIN_LEARNING_RATE, rate / 1.5)
            elif self.desired_kl / 2.0 > kl > 0.0:
                rate = min(MAX_LEARNING_RATE, rate * 1.5)
        if self.is_multi_gpu:
            shared = torch.tensor(rate, device=self.device)
            torch.distributed.broadcast(shared, src=0)
            rate = float(shared)
        return rate

    def _stored(self) -> dict[str, Tensor]:
        """The rollout by name, for the report of a number that is not finite."""
        st = self.storage
        tensors = {name: getattr(st, name) for name in storage.FIELDS if hasattr(st, name)}
        groups = {f"observations {name}": x for name, x in st.observations.items()}
        return tensors | {"returns": st.returns, "advantages": st.advantages} | groups

    def save(self) -> dict[str, Any]:
        """rsl_rl's keys, and the memory of recurrent models amid their episodes."""
        saved: dict[str, Any] = super().save()
        saved["hidden_states"] = {
            "actor": storage.copied(self.actor.get_hidden_state()),
            "critic": storage.copied(self.critic.get_hidden_state()),
        }
        return saved

    def load(
        self, loaded_dict: dict[str, Any], load_cfg: dict[str, bool] | None, strict: bool
    ) -> bool:
        """As rsl_rl; "hidden_states" in `load_cfg`, or None for everything, resumes episodes."""
        iteration = bool(super().load(loaded_dict, load_cfg, strict))
        if (load_cfg is None or load_cfg.get("hidden_states")) and "hidden_states" in loaded_dict:
            states = loaded_dict["hidden_states"]
            for model, name in ((self.actor, "actor"), (self.critic, "critic")):
                storage.resume(model, states[name], self.storage.num_envs, self.device)
        return iteration


def augment(
    env: VecEnv, obs: TensorDict | None, actions: Tensor | None
) -> tuple[TensorDict | None, Tensor | None]:
    """A batch followed by its mirror image, through the environment's `mirror`.

    For `symmetry_cfg.data_augmentation_func: "tutelage.algos.ppo:augment"`. Either may be None.
    """
    mirrored_obs, mirrored_actions = env.mirror(obs, actions)
    both = None if obs is None else TensorDict.cat([obs, mirrored_obs], dim=0)
    return both, None if actions is None else torch.cat([actions, mirrored_actions], dim=0)
