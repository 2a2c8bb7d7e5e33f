"""What every encoder is: history to latent, its memory held by whoever calls it.

B environments, T steps, n numbers in the input, L in the latent. An encoder keeps nothing between
calls. What it must remember goes in and comes out as `State`, a tuple of tensors (1, B, size): the
layout rsl_rl stores and the one `h_in`/`h_out` have in an exported file. So training, the
simulator and the robot run the same function.

An image encoder joins without a wider interface: its input x is an image (B, C, height, width)
instead of (B, n), its latent is appended to the frame that the encoder of proprioception reads,
and its input and states carry its name in the exported file ("depth", "depth_h_in"). A camera
slower than the controller holds its last image (or the caller keeps the last latent), so that
every network still runs once in each control step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]
"""What an encoder remembers: one (1, B, size) for each of its `state_names`; () for none"""


class Encoder(nn.Module, ABC):
    """History to latent."""

    state_names: tuple[str, ...] = ()
    """One name for each tensor of the state, e.g. ("h",); empty: the encoder has no memory"""

    def __init__(self, size: int, *, latent: int, history: int = 1) -> None:
        """`size` numbers in, made of `history` equal frames, oldest first; `latent` numbers out."""
        super().__init__()
        if history < 1 or size < 1 or size % history:
            raise ValueError(
                f"{type(self).__name__}: an input of {size} numbers is not made of "
                f"history={history} equal frames"
            )
        self.size = size
        self.latent = latent
        self.history = history
        self.frame = size // history
        """Numbers in one frame; the newest is x[..., -frame:]"""

    @abstractmethod
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, n) and the memory before it to latent (B, L) and the memory after.

        Without memory, x may have any leading dimensions.
        """

    def sequence(
        self, x: Tensor, state: State, dones: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """T steps: x (T, B, n) to latent (T, B, L) and the memory that step T would start from.

        `dones` (T, B) has rsl_rl's meaning: dones[t] is true where an episode ended with step t, so
        that step t + 1 starts from the initial state. None: no episode ends.
        """
        if not self.state_names:
            return self.forward(x, state)
        latents = []
        for t in range(x.shape[0]):
            latent, state = self(x[t], state)
            latents.append(latent)
            if dones is not None:
                state = self.reset(state, dones[t])
        return torch.stack(latents), state

    def initial(self, batch: int) -> State:
        """The state in which an episode begins, for `batch` environments."""
        return ()

    def reset(self, state: State, dones: Tensor) -> State:
        """The state with the environments of `dones` (B,) at the beginning of an episode.

        A selection, not a product with 1 - done: a NaN must not survive the reset.
        """
        mask = dones.reshape(-1, 1).bool()
        fresh = self.initial(mask.shape[0])
        return tuple(torch.where(mask, f, s) for f, s in zip(fresh, state, strict=True))
