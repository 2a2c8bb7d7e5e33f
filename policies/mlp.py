"""A multi-layer perceptron over a stacked history."""

from __future__ import annotations

from rsl_rl.modules import MLP
from torch import Tensor

from tutelage.policies.protocol import Encoder, State


class Mlp(Encoder):
    """All frames at once through fully connected layers; no memory of its own."""

    def __init__(
        self,
        size: int,
        *,
        history: int = 1,
        width: int = 128,
        hidden: tuple[int, ...] | list[int] = (256,),
        activation: str = "elu",
    ) -> None:
        """`size` = history * frame numbers in, `width` numbers out."""
        super().__init__(size, latent=width, history=history)
        self.layers = MLP(size, width, hidden, activation, last_activation=activation)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(..., n) to (..., width)."""
        return self.layers(x), state
