"""A gated recurrent unit on one frame: the default encoder of a student."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.policies.protocol import Encoder, State


class Gru(Encoder):
    """One GRU layer; the state is its hidden vector, zero when an episode begins.

    The sequence is a loop over the cell, the input's share of the gates computed for all steps at
    once. Measured on one core at T=24, B=512, 47 numbers in, width 128, 1 % dones, forward and
    backward: this loop 125 ms, torch's GRUCell 121 ms, a hand-written backward 136 ms, nn.GRU
    without any reset 122 ms, nn.GRU over split and padded episodes (rsl_rl's way) 169 ms. So the
    loop costs nothing, and only it can reset in the middle. Plain operations, because neither
    GRUCell nor GRU exports with the same roundings as it trains.
    """

    state_names = ("h",)

    def __init__(self, size: int, *, width: int = 128, history: int = 1) -> None:
        """`size` numbers in, `width` numbers of memory and of latent."""
        super().__init__(size, latent=width, history=history)
        self.width = width
        self.input = nn.Linear(size, 3 * width)
        self.hidden = nn.Linear(width, 3 * width)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5)

    def initial(self, batch: int) -> State:
        """Zeros. (1, B, width)"""
        return (self.hidden.weight.new_zeros(1, batch, self.width),)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, n) to latent (B, width)."""
        h = self._cell(self.input(x), state[0][0])
        return h, (h.unsqueeze(0),)

    def sequence(
        self, x: Tensor, state: State, dones: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """T steps; `unbind`, since the gradient of x[t] would be a full-size tensor for each t."""
        h = state[0][0]
        ends = None if dones is None else dones.reshape(*x.shape[:2], 1).bool()
        latents = []
        for t, gates in enumerate(self.input(x).unbind()):
            h = self._cell(gates, h)
            latents.append(h)
            if ends is not None:
                h = h.masked_fill(ends[t], 0.0)
        return torch.stack(latents), (h.unsqueeze(0),)

    def _cell(self, x: Tensor, h: Tensor) -> Tensor:
        """Reset, update and candidate gates (Cho et al. 2014), in the form of torch's GRU."""
        reset_x, update_x, new_x = x.chunk(3, -1)
        reset_h, update_h, new_h = self.hidden(h).chunk(3, -1)
        candidate = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return candidate + torch.sigmoid(update_x + update_h) * (h - candidate)
