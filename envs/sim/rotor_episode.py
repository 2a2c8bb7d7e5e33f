"""A whole control step compiled: physics, pay, end, new start and observation, tile by tile.

Each loop over lanes runs while the tile is still in the innermost cache. Ends are rare, so their
environments are started again one at a time; the rest is vectorised like the physics.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from tutelage.envs.sim.rotor_draws import start
from tutelage.envs.sim.rotor_kernel import advance, ahead4, clamp, dot4, four, put4, three
from tutelage.envs.sim.rotor_tiles import (
    CRAFT_ROWS,
    LANES,
    POSITION,
    QUATERNION,
    RATE,
    REACH,
    ROTOR,
    STATE_ROWS,
    VELOCITY,
    compiled,
    compiled_loop,
    compiled_parallel,
)

Array = NDArray[Any]
OBSERVED = 26
"""What `rotor_model.observe` returns: 22 for the student, then the rotor speeds"""
TARGET_ROWS = 6
PHYSICS, PAY, LIMITS, BEGIN = 0, 3, 8, 11
"""Where an array of all settings holds dt, gravity and floor; pay weights; limits; start"""


@compiled
def small_asin(z: Any) -> Any:
    """arcsin for 0 <= z <= 1, as a fraction of polynomials that vectorises.

    Coefficients of FDLIBM's e_asin.c (Sun Microsystems, 1993); relative error below 2e-16.
    """
    t = type(z)
    big = z > t(0.5)
    y = np.sqrt(t(0.5) - t(0.5) * z) if big else z
    x = y * y
    p = t(-4.00555345006794114027e-02) + x * (
        t(7.91534994289814532176e-04) + x * t(3.47933107596021167570e-05)
    )
    p = x * (
        t(1.66666666666666657415e-01)
        + x * (t(-3.25565818622400915405e-01) + x * (t(2.01212532134862925881e-01) + x * p))
    )
    q = t(2.02094576023350569471e00) + x * (
        t(-6.88283971605453293030e-01) + x * t(7.70381505559019352791e-02)
    )
    near = y + y * p / (t(1) + x * (t(-2.40339491173441421878e00) + x * q))
    return t(1.57079632679489661923) - near - near if big else near


@compiled
def beyond(x: Any, limit: Any) -> Any:
    """Whether any of three is outside -limit..limit, or none."""
    return not (abs(x[0]) <= limit and abs(x[1]) <= limit and abs(x[2]) <= limit)


@compiled
def away(p: Any, goal: Any) -> Any:
    return p[0] - goal[0], p[1] - goal[1], p[2] - goal[2]


@compiled
def judge(tile: Any, state: Array, actions: Array, craft: Array, last: Array, target: Array,
          paid: Array, fell: Array, weights: Any, limits: Any) -> None:  # fmt: skip
    """Pay and early end of every lane; the action becomes the last one."""
    n = np.uint64(LANES)
    s, c = tile * np.uint64(STATE_ROWS * LANES), tile * np.uint64(CRAFT_ROWS * LANES)
    a, t, first = tile * np.uint64(4) * n, tile * np.uint64(TARGET_ROWS) * n, tile * n
    for lane in range(LANES):
        k = np.uint64(lane)
        at, f = s + k, a + np.uint64(4) * k
        one = type(weights[0])(1)
        act = (
            clamp(actions[f], -one, one), clamp(actions[f + np.uint64(1)], -one, one),
            clamp(actions[f + np.uint64(2)], -one, one),
            clamp(actions[f + np.uint64(3)], -one, one),
        )  # fmt: skip
        change = ahead4(act, -one, four(last, a + k))
        put4(last, a + k, act)
        off = away(three(state, at + np.uint64(POSITION) * n), three(target, t + k))
        distance = np.sqrt(off[0] * off[0] + off[1] * off[1] + off[2] * off[2])
        turn = state[at + np.uint64(QUATERNION + 3) * n]
        heading = small_asin(np.sqrt(abs(turn) * type(one)(0.5)))
        pay = weights[0] - weights[1] * distance - (weights[2] + weights[2]) * heading
        pay -= weights[3] * np.sqrt(dot4(change, change))
        end = (
            beyond(off, limits[0] * craft[c + k + np.uint64(REACH) * n])
            | beyond(three(state, at + np.uint64(VELOCITY) * n), limits[1])
            | beyond(three(state, at + np.uint64(RATE) * n), limits[2])
        )
        paid[first + k] = weights[4] if end else pay
        fell[first + k] = end


@compiled
def count(tile: Any, steps: Array, fell: Array, late: Array, horizon: Any) -> bool:
    """Advance the clocks; whether any lane is at its end."""
    n = np.uint64(LANES)
    ends = 0
    for lane in range(LANES):
        k = tile * n + np.uint64(lane)
        steps[k] += 1
        late[k] = (steps[k] >= horizon) & (not fell[k])
        ends += late[k] | fell[k]
    return bool(ends > 0)


@compiled
def show(tile: Any, state: Array, last: Array, target: Array, obs: Array) -> None:
    """Observation of every lane, (LANES, OBSERVED) row after row."""
    n = np.uint64(LANES)
    s, a, t = tile * np.uint64(STATE_ROWS * LANES), tile * np.uint64(4) * n, tile * np.uint64(6) * n
    for lane in range(LANES):
        k = np.uint64(lane)
        at, o = s + k, (tile * n + k) * np.uint64(OBSERVED)
        p = away(three(state, at + np.uint64(POSITION) * n), three(target, t + k))
        v = away(three(state, at + np.uint64(VELOCITY) * n), three(target, t + k + n + n + n))
        w, act = three(state, at + np.uint64(RATE) * n), four(last, a + k)
        u = four(state, at + np.uint64(ROTOR) * n)
        q0, x, y, z = four(state, at + np.uint64(QUATERNION) * n)
        one = type(x)(1)
        x2, y2, z2 = x + x, y + y, z + z
        line3(obs, o, p)
        line3(obs, o + np.uint64(3), (one - y2 * y - z2 * z, x2 * y - z2 * q0, x2 * z + y2 * q0))
        line3(obs, o + np.uint64(6), (x2 * y + z2 * q0, one - x2 * x - z2 * z, y2 * z - x2 * q0))
        line3(obs, o + np.uint64(9), (x2 * z - y2 * q0, y2 * z + x2 * q0, one - x2 * x - y2 * y))
        line3(obs, o + np.uint64(12), v)
        line3(obs, o + np.uint64(15), w)
        line4(obs, o + np.uint64(18), act)
        line4(obs, o + np.uint64(22), ahead4((-one, -one, -one, -one), one + one, u))


@compiled
def line3(a: Array, at: Any, v: Any) -> None:
    """Three numbers side by side."""
    a[at], a[at + np.uint64(1)], a[at + np.uint64(2)] = v


@compiled
def line4(a: Array, at: Any, v: Any) -> None:
    a[at], a[at + np.uint64(1)], a[at + np.uint64(2)], a[at + np.uint64(3)] = v


@compiled
def fly(tile: Any, bodies: Any, actions: Array, clocks: Any, shown: Any, settings: Array,
        horizon: Any, again: Any, seed: Any) -> None:  # fmt: skip
    """One control step of one tile."""
    state, craft, air, last, target = bodies
    steps, episode = clocks
    obs, paid, fell, late = shown
    s = settings
    advance(tile, state, actions, craft, air, s[PHYSICS], s[PHYSICS + 1], s[PHYSICS + 2])
    weights = (s[PAY], s[PAY + 1], s[PAY + 2], s[PAY + 3], s[PAY + 4])
    limits = (s[LIMITS], s[LIMITS + 1], s[LIMITS + 2])
    judge(tile, state, actions, craft, last, target, paid, fell, weights, limits)
    if count(tile, steps, fell, late, horizon) and again:
        for lane in range(LANES):
            k = tile * np.uint64(LANES) + np.uint64(lane)
            if fell[k] or late[k]:
                steps[k] = 0
                start(k, state, craft, air, last, target, episode, s[BEGIN:], seed)
    show(tile, state, last, target, obs)


@compiled_loop
def step(bodies: Any, actions: Array, clocks: Any, shown: Any, settings: Array, horizon: Any,
         again: Any, seed: Any) -> None:  # fmt: skip
    """One control step of every tile.

    bodies: state, craft, air, last action, target, all tiled; actions (N, 4) row after row;
    clocks: steps and episodes so far, (N,); shown: what the step writes, observations (N, OBSERVED)
    row after row, pay, early end, late end, (N,); settings as PHYSICS etc. say; `again` to start
    again what has ended. N fills whole tiles.
    """
    for tile in range(len(clocks[0]) // LANES):
        fly(np.uint64(tile), bodies, actions, clocks, shown, settings, horizon, again, seed)


@compiled_parallel
def step_parallel(bodies: Any, actions: Array, clocks: Any, shown: Any, settings: Array,
                  horizon: Any, again: Any, seed: Any) -> None:  # fmt: skip
    """The same, tiles spread over numba's threads."""
    for tile in numba.prange(len(clocks[0]) // LANES):
        fly(np.uint64(tile), bodies, actions, clocks, shown, settings, horizon, again, seed)


@compiled_loop
def begin_where(mask: Array, bodies: Any, clocks: Any, obs: Array, settings: Array,
                seed: Any) -> None:  # fmt: skip
    """New episodes for the masked environments (N,), and everybody's observation."""
    state, craft, air, last, target = bodies
    for k in range(len(mask)):
        if mask[k]:
            clocks[0][k] = 0
            start(np.uint64(k), state, craft, air, last, target, clocks[1], settings[BEGIN:], seed)
    for tile in range(len(mask) // LANES):
        show(np.uint64(tile), state, last, target, obs)
