"""Batches of flying multirotors on the CPU: physics alone, or whole episodes.

Tensors go in and out without copies where their memory allows it. What a step returns is therefore
valid until the next one, and is to be cloned by who keeps it.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.envs.quadrotors import GRAVITY, Quadrotors
from tutelage.envs.sim import rotor_episode, rotor_kernel
from tutelage.envs.sim.rotor_rules import Rules
from tutelage.envs.sim.rotor_tiles import (
    AIR_ROWS,
    CRAFT_ROWS,
    LANES,
    STATE_ROWS,
    craft_rows,
    pack,
    tiles,
    unpack,
    write,
)

Array = NDArray[Any]
DTYPES: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}


class Rotors:
    """N multirotors at rest at the origin; physics and nothing else."""

    def __init__(
        self,
        quadrotors: Quadrotors,
        *,
        dt: float = 0.01,
        floor: float = float("-inf"),
        dtype: torch.dtype = torch.float32,
        parallel: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype}; the kernels are compiled for {list(DTYPES)}")
        if not len(quadrotors):
            raise ValueError("there is no quadrotor to fly")
        self.count = len(quadrotors)
        self._padded = tiles(self.count) * LANES
        self._dtype = DTYPES[dtype]
        self._parallel = parallel
        state = np.zeros((self.count, STATE_ROWS))
        state[:, 3] = 1.0
        air = np.zeros((self.count, AIR_ROWS))
        air[:, 6:] = quadrotors.wind
        self._state, self._air = pack(state, self._dtype), pack(air, self._dtype)
        self._craft = pack(craft_rows(quadrotors), self._dtype)
        self._actions = np.zeros((self._padded, 4), self._dtype)
        self._physics = tuple(self._dtype(number) for number in (dt, GRAVITY, floor))

    def step(self, actions: Tensor) -> None:
        """One physics step under actions (N, 4), -1 for rotors off and 1 for full speed."""
        run = rotor_kernel.step_parallel if self._parallel else rotor_kernel.step
        run(self._state, self._flat(actions), self._craft, self._air, *self._physics)

    def _flat(self, actions: Tensor) -> Array:
        """Actions row after row, in the kernel's precision, for whole tiles."""
        if actions.shape != (self.count, 4):
            raise ValueError(f"actions are {tuple(actions.shape)}, not ({self.count}, 4)")
        given = actions.detach().numpy()
        ready = given.dtype == self._dtype and given.flags.c_contiguous
        if ready and self.count == self._padded:
            return given.reshape(-1)
        self._actions[: self.count] = given
        return self._actions.reshape(-1)

    @property
    def state(self) -> Tensor:
        """A copy, as `rotor_model` lays it out. (N, 17)"""
        return torch.from_numpy(unpack(self._state, STATE_ROWS, self.count))

    @property
    def air(self) -> Tensor:
        """A copy: force (3) [N] and wind (3) [m/s] in the world, torque (3) [N·m] in the body,
        in the order force, torque, wind. (N, 9)"""
        return torch.from_numpy(unpack(self._air, AIR_ROWS, self.count))

    def put(self, mask: Tensor, state: Tensor) -> None:
        """Set the state of the masked (N,) to their line of `state` (N, 17)."""
        write(self._state, STATE_ROWS, mask.numpy(), state.numpy())

    def blow(self, mask: Tensor, air: Tensor) -> None:
        """Set what acts from outside on the masked (N,) to their line of `air` (N, 9)."""
        write(self._air, AIR_ROWS, mask.numpy(), air.numpy())

    def refit(self, mask: Tensor, quadrotors: Quadrotors) -> None:
        """Give the masked (N,) the numbers of their one among N `quadrotors`; wind stays.

        This is how a payload drops or a propeller chips in flight.
        """
        write(self._craft, CRAFT_ROWS, mask.numpy(), craft_rows(quadrotors))

    def snapshot(self) -> dict[str, Tensor]:
        """Everything that decides the future, as tensors that torch.save can write."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._memory().items()}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Go back to a snapshot; the future is then the same, bit for bit."""
        memory = self._memory()
        if snapshot.keys() != memory.keys():
            raise ValueError(f"the snapshot holds {sorted(snapshot)}, not {sorted(memory)}")
        for name, array in memory.items():
            array[...] = snapshot[name].numpy()

    def _memory(self) -> dict[str, Array]:
        return {"state": self._state, "air": self._air, "craft": self._craft}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a control step shows. Views, valid until the next step."""

    obs: Tensor
    """`rotor_model.observe`, of the new episode where one began. (N, 26)"""
    reward: Tensor
    """(N,)"""
    fallen: Tensor
    """Where an episode ended early. (N,) bool"""
    late: Tensor
    """Where an episode reached the horizon. (N,) bool"""


class Flights(Rotors):
    """N multirotors that hover in episodes; what ends is started again, unless `again` is off."""

    def __init__(
        self,
        quadrotors: Quadrotors,
        *,
        rules: Rules | None = None,
        seed: int = 0,
        again: bool = True,
        dtype: torch.dtype = torch.float32,
        parallel: bool = False,
    ) -> None:
        rules = rules or Rules()
        super().__init__(quadrotors, dt=rules.dt, floor=rules.floor, dtype=dtype, parallel=parallel)
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed is {seed}; it is a number of 64 bits, 0 or more")
        self.rules, self._seed = rules, np.uint64(seed)
        self._last = np.zeros(self._padded * 4, self._dtype)
        self._target = np.zeros(self._padded * rotor_episode.TARGET_ROWS, self._dtype)
        self._steps = np.zeros(self._padded, np.int32)
        self._episodes = np.zeros(self._padded, np.uint32)
        self._obs = np.zeros((self._padded, rotor_episode.OBSERVED), self._dtype)
        self._reward = np.zeros(self._padded, self._dtype)
        self._fallen, self._late = np.zeros((2, self._padded), np.bool_)
        self._settings = np.array(
            (*self._physics, *astuple(rules.reward), *astuple(rules.limits), *astuple(rules.start)),
            self._dtype,
        )
        self._again = again
        self.reset()

    def _bodies(self) -> tuple[Array, ...]:
        return self._state, self._craft, self._air, self._last, self._target

    def step(self, actions: Tensor) -> Outcome:  # type: ignore[override]
        """One control step under actions (N, 4)."""
        run = rotor_episode.step_parallel if self._parallel else rotor_episode.step
        shown = (self._obs.reshape(-1), self._reward, self._fallen, self._late)
        clocks = (self._steps, self._episodes)
        run(
            self._bodies(), self._flat(actions), clocks, shown, self._settings, self.rules.horizon,
            self._again, self._seed,
        )  # fmt: skip
        return Outcome(
            *(torch.from_numpy(array[: self.count])
              for array in (self._obs, self._reward, self._fallen, self._late))
        )  # fmt: skip

    def reset(self, mask: Tensor | None = None) -> Tensor:
        """Start the masked (N,) again, or all; everybody's observation. (N, 26)"""
        chosen = np.ones(self._padded, np.bool_)
        if mask is not None:
            chosen[self.count :], chosen[: self.count] = False, mask.numpy()
        clocks = (self._steps, self._episodes)
        rotor_episode.begin_where(
            chosen, self._bodies(), clocks, self._obs.reshape(-1), self._settings, self._seed
        )
        return torch.from_numpy(self._obs[: self.count])

    def aim(self, target: Tensor) -> None:
        """Where to be from the next step on: position and velocity. (N, 6) [m, m/s], world"""
        self._target[:] = pack(target.numpy(), self._dtype)

    @property
    def steps(self) -> Tensor:
        """Steps since each episode began. (N,) int32, a view"""
        return torch.from_numpy(self._steps[: self.count])

    def _memory(self) -> dict[str, Array]:
        return super()._memory() | {
            "last": self._last,
            "target": self._target,
            "steps": self._steps,
            "episodes": self._episodes,
            "obs": self._obs,
        }
