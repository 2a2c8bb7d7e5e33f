"""Student and teacher networks as rsl_rl models, and the form of them that is exported.

In an rsl_rl configuration:

    "student": {
        "class_name": "tutelage.policies.model:Model",
        "encoder": "gru", "encoder_cfg": {"width": 128},     # mlp, tcn: also "history": H
        "hidden_dims": [128, 64], "activation": "elu", "obs_normalization": True,
        "distribution_cfg": {
            "class_name": "tutelage.policies.model:BoundedGaussian",
            "init_std": 0.2, "std_range": (0.05, 1.0),
        },
    }

observation -> normaliser -> encoder -> [latent, newest frame] -> MLP -> action. The head reads the
newest frame beside the latent, so the encoder has only to add what the past tells.

Two ways to run a `Model`:

* one step, the memory kept inside, as rsl_rl does: `model(obs)` then `model.reset(dones)`;
* a sequence, the memory kept by the caller: `actions, state = model.sequence(obs, dones, state)`.

They agree, and so does `exportable(model)`, which sim2real/export.py writes to a file.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from rsl_rl.models import MLPModel
from rsl_rl.modules import HiddenState
from rsl_rl.modules.distribution import GaussianDistribution
from rsl_rl.utils import unpad_trajectories
from tensordict import TensorDict
from torch import Tensor, nn

from tutelage.policies.encoder import ENCODERS, State
from tutelage.policies.exportable import exportable, scriptable

__all__ = ["BoundedGaussian", "Hidden", "Model", "exportable"]

Hidden = Tensor | State | None
"""A state as it may be handed over: None for the initial one, one tensor (1, B, size), a tuple"""


class BoundedGaussian(GaussianDistribution):
    """A Gaussian whose std is inside `std_range` whatever the optimiser does to its parameter.

    rsl_rl's own clamps too, but its gradient is zero outside the range, where the parameter then
    stays or wanders for ever, and NaN passes through a clamp. Here the gradient passes through the
    clamp, a NaN counts as `init_std`, and `project()`, which `Model.update_normalization` calls at
    the end of each rsl_rl update, puts the parameter itself back inside.
    """

    def __init__(
        self,
        output_dim: int,
        init_std: float = 1.0,
        std_range: tuple[float, float] = (0.05, 1.5),
        std_type: str = "scalar",
        learn_std: bool = True,
    ) -> None:
        """One std for each of `output_dim` actions; `std_type` is "scalar" or "log"."""
        low, high = std_range
        if not 1e-6 <= low <= init_std <= high < float("inf"):
            raise ValueError(
                f"init_std={init_std} and std_range=({low}, {high}): "
                "expected 1e-6 <= low <= init_std <= high < inf"
            )
        super().__init__(output_dim, init_std, (low, high), std_type, learn_std)
        self.init_std = init_std

    def update(self, mlp_output: Tensor) -> None:
        """Set the distribution from the MLP's output, the mean. (..., A)"""
        self._distribution = torch.distributions.Normal(
            mlp_output, self.current_std().expand_as(mlp_output)
        )

    def current_std(self) -> Tensor:
        """The std that the parameter stands for. (A,)"""
        low, high = self.std_range
        if self.std_type == "log":
            low_log, high_log = self.log_std_range
            raw = _inside(self.log_std_param, low_log, high_log, math.log(self.init_std)).exp()
        else:
            raw = self.std_param
        return _inside(raw, low, high, self.init_std)

    def project(self) -> None:
        """Put the parameter itself inside the range, so that it can leave a bound at once."""
        with torch.no_grad():
            if self.std_type == "log":
                self.log_std_param.copy_(self.current_std().log())
            else:
                self.std_param.copy_(self.current_std())

    @property
    def std(self) -> Tensor:
        """The std; before the first `update`, the one it would have. (..., A)"""
        if self._distribution is None:
            return self.current_std()
        return self._distribution.stddev


def _inside(value: Tensor, low: float, high: float, default: float) -> Tensor:
    """`value` clamped, NaN replaced by `default`, with the gradient of an unclamped value."""
    finite = torch.nan_to_num(value, nan=default, posinf=high, neginf=low)
    # The bracket is exactly zero, so the clamped number itself comes out, not a rounding of it.
    return finite.clamp(low, high).detach() + (finite - finite.detach())


class Model(MLPModel):
    """rsl_rl's MLP model with an encoder between the normaliser and the MLP.

    One step (rsl_rl's calls; B environments, A actions):

    * `model(obs) -> (B, A)`: the mean, or with `stochastic_output=True` a sample, after which
      `output_mean`, `output_std`, `get_output_log_prob` speak of that step. Advances the memory.
    * `reset(dones)`: environments where `dones` (B,) begin a new episode; `reset()`: all of them;
      `reset(hidden_state=h)`: go on from `h`. `get_hidden_state() -> h`, `detach_hidden_state()`.
    * `model(obs, masks, hidden_state)`: rsl_rl's padded trajectories in a recurrent PPO update.

    A sequence (for algorithms that keep their own memory; what the model holds is not touched):

    * `sequence(obs, dones, state) -> (actions (T, B, A), state)`; obs a TensorDict (T, B), dones
      (T, B) as stored by rsl_rl: dones[t] ends an episode with step t. The distribution is set, so
      `output_std` is (T, B, A). The state that comes out is where step T would start from; detach
      it (`tuple(s.detach() for s in state)`) to cut the gradient.
    * `initial(B) -> state`.

    `output_std` exists without a distribution too; it is then zero, as rsl_rl's runner logs it.
    The normaliser learns in `update_normalization` only: in train mode, unless
    `freeze_normalization()` was called. It divides by std + 0.01, so 0.01 is the floor of the std.
    """

    def __init__(
        self,
        obs: TensorDict,
        obs_groups: dict[str, list[str]],
        obs_set: str,
        output_dim: int,
        hidden_dims: tuple[int, ...] | list[int] = (256, 128),
        activation: str = "elu",
        obs_normalization: bool = False,
        distribution_cfg: dict[str, object] | None = None,
        encoder: str = "none",
        encoder_cfg: dict[str, object] | None = None,
    ) -> None:
        """As rsl_rl's `MLPModel`; `encoder` is one of ENCODERS, `encoder_cfg` its arguments."""
        if encoder not in ENCODERS:
            raise ValueError(f"encoder {encoder!r} is none of {sorted(ENCODERS)}")
        _, size = self._get_obs_dim(obs, obs_groups, obs_set)
        built = ENCODERS[encoder](size, **(encoder_cfg or {}))
        self._head_size = built.latent + built.frame
        super().__init__(
            obs,
            obs_groups,
            obs_set,
            output_dim,
            hidden_dims,
            activation,
            obs_normalization,
            distribution_cfg,
        )
        self.encoder = built
        self.is_recurrent = bool(built.state_names)
        self.normalization_frozen = False
        self._output_dim = output_dim
        self._state: State | None = None

    def _get_latent_dim(self) -> int:
        return self._head_size

    def get_latent(
        self, obs: TensorDict, masks: Tensor | None = None, hidden_state: Hidden = None
    ) -> Tensor:
        """What the MLP reads: encoder's latent, newest frame. (..., L + frame)"""
        x = super().get_latent(obs)
        if not self.is_recurrent:
            return self._head_input(self.encoder(x, ())[0], x)
        if masks is not None:
            latent, _ = self.encoder.sequence(x, self._entering(x.shape[1], hidden_state))
            unpadded: Tensor = unpad_trajectories(self._head_input(latent, x), masks)
            return unpadded
        state = self._entering(x.shape[0], self._state if hidden_state is None else hidden_state)
        latent, self._state = self.encoder(x, state)
        return self._head_input(latent, x)

    def sequence(
        self, obs: TensorDict, dones: Tensor | None = None, state: Hidden = None
    ) -> tuple[Tensor, State]:
        """Mean actions (T, B, A) of T steps from `state`, and the state after them."""
        x = super().get_latent(obs)
        latent, after = self.encoder.sequence(x, self._entering(x.shape[1], state), dones)
        output = self.mlp(self._head_input(latent, x))
        if self.distribution is None:
            return output, after
        self.distribution.update(output)
        return self.distribution.deterministic_output(output), after

    def initial(self, batch: int) -> State:
        """The state in which an episode begins. Each (1, batch, size)"""
        return self.encoder.initial(batch)

    def reset(self, dones: Tensor | None = None, hidden_state: Hidden = None) -> None:
        """Begin an episode in the environments of `dones` (B,); without it, in all."""
        if dones is None:
            self._state = None if hidden_state is None else _as_state(hidden_state)
        elif hidden_state is not None:
            raise ValueError("reset takes dones or a hidden_state, not both")
        elif self._state is not None:
            self._state = self.encoder.reset(self._state, dones)

    def get_hidden_state(self) -> HiddenState:
        """The memory in rsl_rl's form; None before the first step and without memory."""
        if not self._state:
            return None
        return cast(HiddenState, self._state[0] if len(self._state) == 1 else self._state)

    def detach_hidden_state(self, dones: Tensor | None = None) -> None:
        """Cut the gradient through the memory, in the environments of `dones` (B,) or in all."""
        if self._state is None:
            return
        if dones is None:
            self._state = tuple(s.detach() for s in self._state)
        else:
            cut = dones.reshape(-1, 1).bool()
            self._state = tuple(torch.where(cut, s.detach(), s) for s in self._state)

    @property
    def output_std(self) -> Tensor:
        """The std of the current output distribution (..., A); zeros (A,) without one."""
        if self.distribution is None:
            zeros: Tensor = next(self.parameters()).new_zeros(self._output_dim)
            return zeros
        std: Tensor = self.distribution.std
        return std

    def update_normalization(self, obs: TensorDict) -> None:
        """Learn from observations of any leading dimensions, and put the std inside its bounds."""
        if isinstance(self.distribution, BoundedGaussian):
            self.distribution.project()
        if self.obs_normalization and not self.normalization_frozen:
            super().update_normalization(obs.reshape(-1))

    def freeze_normalization(self, frozen: bool = True) -> None:
        """Stop (or let go on) the learning of the normaliser, in train mode too."""
        self.normalization_frozen = frozen

    def as_jit(self) -> nn.Module:
        """For rsl_rl's `export_policy_to_jit`: the memory inside, `reset()` to clear it."""
        return scriptable(self)

    def as_onnx(self, verbose: bool = False) -> nn.Module:
        """For rsl_rl's `export_policy_to_onnx`: the memory as inputs and outputs."""
        return exportable(self)

    def _head_input(self, latent: Tensor, x: Tensor) -> Tensor:
        return torch.cat([latent, x[..., -self.encoder.frame :]], -1)

    def _entering(self, batch: int, hidden: Hidden) -> State:
        """The state to start from, checked; usable in autograd though inference made it."""
        if hidden is None:
            return self.encoder.initial(batch)
        state = _as_state(hidden)
        for name, s in zip(self.encoder.state_names, state, strict=True):
            if s.shape[1] != batch:
                raise ValueError(
                    f"state {name!r} is of {s.shape[1]} environments, the observation of {batch}; "
                    "call reset() before changing their number"
                )
        if torch.is_grad_enabled():
            state = tuple(s.clone() if s.is_inference() else s for s in state)
        return state


def _as_state(hidden: Tensor | State) -> State:
    return (hidden,) if isinstance(hidden, Tensor) else tuple(hidden)
