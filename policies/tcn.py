"""A causal temporal convolution over a stacked history."""

from __future__ import annotations

from itertools import pairwise

import torch
from rsl_rl.utils import resolve_nn_activation
from torch import Tensor, nn

from tutelage.policies.protocol import Encoder, State


class Tcn(Encoder):
    """Dilated causal convolutions over the frames, read out at the newest one.

    Layer i has kernel k and dilation k**i (van den Oord et al. 2016, WaveNet). Only the newest
    output is needed, and what it depends on is a tree: layer i joins k neighbouring outputs of
    layer i - 1. So the convolutions are computed with stride k, as one matrix product in each
    layer, and nothing is computed that is not used. A history that is not a power of k is filled
    up in front with its oldest frame, as the environment fills it at a reset.
    """

    def __init__(
        self,
        size: int,
        *,
        history: int = 1,
        width: int = 128,
        channels: int = 64,
        kernel: int = 4,
        activation: str = "elu",
    ) -> None:
        """`size` = history * frame numbers in, `width` numbers out."""
        super().__init__(size, latent=width, history=history)
        if kernel < 2:
            raise ValueError(f"Tcn: kernel={kernel}, must be at least 2")
        self.kernel = kernel
        depth = 0
        while kernel**depth < history:
            depth += 1
        self.padding = kernel**depth - history
        sizes = [self.frame] + [channels] * depth
        self.layers = nn.ModuleList(nn.Linear(kernel * a, b) for a, b in pairwise(sizes))
        self.readout = nn.Linear(sizes[-1], width)
        self.activation = resolve_nn_activation(activation)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(..., n) to (..., width)."""
        frames = x.reshape(*x.shape[:-1], self.history, self.frame)
        if self.padding:
            frames = torch.cat([frames[..., :1, :]] * self.padding + [frames], -2)
        length = self.history + self.padding
        for layer in self.layers:
            length //= self.kernel
            joined = frames.reshape(*x.shape[:-1], length, self.kernel * frames.shape[-1])
            frames = self.activation(layer(joined))
        return self.activation(self.readout(frames.squeeze(-2))), state
