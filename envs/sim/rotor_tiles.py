"""How a batch of quadrotors lies in memory: tiles of LANES environments, quantity after quantity.

In a tile every quantity (a "row") is LANES numbers side by side, one for each environment, so one
machine instruction works on 8 or 16 environments at once. The lane count and the number of rows are
compile-time constants: with those LLVM sees constant distances and vectorises the loop over lanes;
with a stride that is only known when it runs it does not (2 million instead of 100 million steps/s
on one core).

An array of R rows for N environments is flat, of length tiles(N) * R * LANES. The last tile is
filled up with copies of the last environment, which are simulated and never shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from tutelage.envs.quadrotors import Quadrotors

Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])

LANES = 32
"""Environments in a tile"""

POSITION, QUATERNION, VELOCITY, RATE, ROTOR = 0, 3, 7, 10, 13
STATE_ROWS = 17
"""Position (3) and velocity (3) in the world, quaternion (4) body to world, angular velocity (3) in
the body, rotor speeds (4) in 0..1"""

FORCE, TORQUE, WIND = 0, 3, 6
AIR_ROWS = 9
"""What acts from outside: force (3) [N] and wind (3) [m/s] in the world, torque (3) [N·m] in the
body"""

INVERSE_MASS, CURVE, STRENGTH, PLACE_X, PLACE_Y, REACTION = 0, 1, 4, 8, 12, 16
INVERSE_RISE, INVERSE_FALL, INERTIA, INVERSE_INERTIA, DRAG = 20, 21, 22, 25, 28
REACH, FORCE_STD = 29, 30
CRAFT_ROWS = 31
"""The quadrotor's own numbers, inverted where the equations divide by them; REACH is the distance
from rotor to centre [m], FORCE_STD belongs to the draw at the start of an episode"""

FAST = frozenset({"contract", "reassoc", "nsz", "arcp"})
"""Freedoms the compiler may take. Not `nnan` and `ninf`: a number that is none must be seen, and
end its episode."""


def compiled(function: F) -> F:
    """`function` as machine code within its caller."""
    return _jit(function, forceinline=True)


def compiled_call(function: F) -> F:
    """`function` as machine code that may stay a call: for what is rare."""
    return _jit(function)


def compiled_loop(function: F) -> F:
    """`function` as machine code, kept on disk where a folder can be written to; one thread."""
    return _jit(function, cache=True)


def compiled_parallel(function: F) -> F:
    """The same with `numba.prange` spread over numba's threads."""
    return _jit(function, cache=True, parallel=True)


def _jit(function: F, cache: bool = False, **options: Any) -> F:
    options |= {"nogil": True, "fastmath": set(FAST), "error_model": "numpy"}
    try:
        made: Any = numba.njit(cache=cache, **options)(function)
    except RuntimeError:  # numba found no place for its cache
        made = numba.njit(**options)(function)
    return made  # type: ignore[no-any-return]


def tiles(count: int) -> int:
    """Tiles that hold `count` environments."""
    return -(-count // LANES)


def pack(rows: Array, dtype: type[np.floating[Any]]) -> Array:
    """(N, R) numbers as one flat array of tiles."""
    count = tiles(len(rows))
    full = np.concatenate((rows, np.repeat(rows[-1:], count * LANES - len(rows), axis=0)))
    tiled = full.reshape(count, LANES, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(tiled, dtype=dtype).ravel()


def unpack(flat: Array, rows: int, count: int) -> Array:
    """(N, R) copy of the first `count` environments of a flat array."""
    return flat.reshape(-1, rows, LANES).transpose(0, 2, 1).reshape(-1, rows)[:count]


def write(flat: Array, rows: int, mask: Array, values: Array) -> None:
    """Set all rows of the masked (N,) environments to their line of `values` (N, R)."""
    tile, lane = np.divmod(np.flatnonzero(mask), LANES)
    flat.reshape(-1, rows, LANES)[tile, :, lane] = values[mask]


def craft_rows(quadrotors: Quadrotors) -> NDArray[np.float64]:
    """(N, CRAFT_ROWS) numbers of `quadrotors`."""
    q = quadrotors
    columns = (
        1 / q.mass, q.curve, q.strength, q.place[..., 0], q.place[..., 1], q.reaction,
        1 / q.rise, 1 / q.fall, q.inertia, 1 / q.inertia, q.drag, q.reach, q.force_std,
    )  # fmt: skip
    return np.column_stack(columns)
