"""The deterministic policy with its memory as inputs and outputs: what is written to a file.

No `from __future__ import annotations` here: TorchScript reads annotations as objects.
"""

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tutelage.policies.model import Model


class Exportable(nn.Module):
    """`forward(obs (N, n), *state) -> (actions (N, A), *new_state)`; a copy, on the CPU, frozen.

    The state tensors are (1, N, size), zero at the beginning of an episode. N is `batch`.
    """

    def __init__(self, model: "Model", batch: int = 1) -> None:
        """Copy what decides the action: normaliser, encoder, MLP, mean of the distribution."""
        super().__init__()
        self.normalizer = copy.deepcopy(model.obs_normalizer)
        self.encoder = copy.deepcopy(model.encoder)
        self.mlp = copy.deepcopy(model.mlp)
        self.output: nn.Module = nn.Identity()
        if model.distribution is not None:
            self.output = model.distribution.as_deterministic_output_module()
        self.batch = batch
        self.cpu().eval().requires_grad_(False)

    def forward(self, obs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One control step."""
        x = self.normalizer(obs)
        latent, after = self.encoder(x, state)
        head = torch.cat([latent, x[..., -self.encoder.frame :]], -1)
        return (self.output(self.mlp(head)), *after)

    @property
    def input_names(self) -> list[str]:
        """obs, then h_in for each state h."""
        return ["obs", *(f"{name}_in" for name in self.encoder.state_names)]

    @property
    def output_names(self) -> list[str]:
        """actions, then h_out for each state h."""
        return ["actions", *(f"{name}_out" for name in self.encoder.state_names)]

    @property
    def dummy_inputs(self) -> tuple[Tensor, ...]:
        """A zero observation and the initial state: one value for each of `input_names`."""
        return (torch.zeros(self.batch, self.encoder.size), *self.encoder.initial(self.batch))

    def get_dummy_inputs(self) -> tuple[Tensor, ...]:
        """`dummy_inputs` by the name that rsl_rl's runner calls."""
        return self.dummy_inputs


def exportable(model: "Model", batch: int = 1) -> Exportable:
    """The model as a function of observation and state alone."""
    return Exportable(model, batch)


class _Feedforward(nn.Module):
    """Scriptable; nothing to remember."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        actions: Tensor = self.step(x)[0]
        return actions

    @torch.jit.export
    def reset(self) -> None:
        pass


class _Recurrent(nn.Module):
    """Scriptable; one state as a buffer."""

    hidden_state: Tensor

    def __init__(self, step: nn.Module, state: Tensor) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("hidden_state", state)

    def forward(self, x: Tensor) -> Tensor:
        out: tuple[Tensor, Tensor] = self.step(x, self.hidden_state)
        self.hidden_state.copy_(out[1])
        return out[0]

    @torch.jit.export
    def reset(self) -> None:
        self.hidden_state.zero_()


def scriptable(model: "Model") -> nn.Module:
    """A module for `torch.jit.script` that keeps its memory inside, for one environment."""
    policy = exportable(model)
    inputs = policy.dummy_inputs
    if len(inputs) > 2:
        raise NotImplementedError(
            f"TorchScript with {len(inputs) - 1} states ({policy.input_names[1:]}); export to ONNX"
        )
    step = cast(nn.Module, torch.jit.trace(policy, inputs))  # type: ignore[no-untyped-call]
    state = inputs[1:]
    return _Recurrent(step, state[0]) if state else _Feedforward(step)
