"""The encoders by name. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tutelage.policies.gru import Gru
from tutelage.policies.mlp import Mlp
from tutelage.policies.protocol import Encoder, State
from tutelage.policies.tcn import Tcn

__all__ = ["ENCODERS", "Blank", "Encoder", "State"]


class Blank(Encoder):
    """Nothing but the input itself, which the head reads anyway: a plain MLP policy."""

    def __init__(self, size: int) -> None:
        """`size` numbers in, none out."""
        super().__init__(size, latent=0)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """(..., n) to (..., 0)."""
        return x[..., :0], state


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "none": Blank,
    "mlp": Mlp,
    "gru": Gru,
    "tcn": Tcn,
}
"""name -> function of (size of the input, **encoder_cfg); an unknown key is a TypeError"""
