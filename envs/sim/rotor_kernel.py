"""Multirotor physics compiled for the CPU: the equations of `rotor_model`, many at a time.

`integrate` is one environment's step on scalars; `_advance` runs it over the lanes of a tile, where
LLVM turns it into vector instructions (see `rotor_tiles`). Nothing in it branches.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from tutelage.envs.sim.rotor_tiles import (
    AIR_ROWS,
    CRAFT_ROWS,
    CURVE,
    DRAG,
    FORCE,
    INERTIA,
    INVERSE_FALL,
    INVERSE_INERTIA,
    INVERSE_MASS,
    INVERSE_RISE,
    LANES,
    PLACE_X,
    PLACE_Y,
    POSITION,
    QUATERNION,
    RATE,
    REACTION,
    ROTOR,
    STATE_ROWS,
    STRENGTH,
    TORQUE,
    VELOCITY,
    WIND,
    compiled,
    compiled_loop,
    compiled_parallel,
)

Array = NDArray[Any]
Three: TypeAlias = tuple[Any, Any, Any]
Four: TypeAlias = tuple[Any, Any, Any, Any]


@compiled
def three(a: Array, at: Any) -> Three:
    """Three rows from `at` on, of one lane."""
    n = np.uint64(LANES)
    return a[at], a[at + n], a[at + n + n]


@compiled
def four(a: Array, at: Any) -> Four:
    n = np.uint64(LANES)
    return a[at], a[at + n], a[at + n + n], a[at + n + n + n]


@compiled
def put3(a: Array, at: Any, v: Three) -> None:
    n = np.uint64(LANES)
    a[at], a[at + n], a[at + n + n] = v


@compiled
def put4(a: Array, at: Any, v: Four) -> None:
    n = np.uint64(LANES)
    a[at], a[at + n], a[at + n + n], a[at + n + n + n] = v


@compiled
def ahead3(x: Three, h: Any, d: Three) -> Three:
    return x[0] + h * d[0], x[1] + h * d[1], x[2] + h * d[2]


@compiled
def ahead4(x: Four, h: Any, d: Four) -> Four:
    return x[0] + h * d[0], x[1] + h * d[1], x[2] + h * d[2], x[3] + h * d[3]


@compiled
def ahead(x: Any, h: Any, d: Any) -> Any:
    """Quaternion, velocity, angular velocity and rotors `h` seconds along `d`."""
    q, v, w, u = x
    return ahead4(q, h, d[0]), ahead3(v, h, d[1]), ahead3(w, h, d[2]), ahead4(u, h, d[3])


@compiled
def dot4(a: Four, b: Four) -> Any:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]


@compiled
def spin_up(u: Any, command: Any, rise: Any, fall: Any) -> Any:
    """Rate of one rotor's speed; `rise`, `fall` are inverse time constants."""
    gap = command - u
    return gap * (rise if gap >= 0 else fall)


@compiled
def thrust(u: Any, curve: Three, strength: Any) -> Any:
    return strength * (curve[0] + u * (curve[1] + u * curve[2]))


@compiled
def slopes(q: Four, v: Three, w: Three, u: Four, command: Four, craft: Any, push: Any) -> Any:
    """Rates of quaternion, velocity, angular velocity and rotor speeds."""
    inverse_mass, curve, strength, x, y, reaction, lag, gyro, inverse_inertia, drag = craft
    half = type(v[0])(0.5)
    f = (
        thrust(u[0], curve, strength[0]), thrust(u[1], curve, strength[1]),
        thrust(u[2], curve, strength[2]), thrust(u[3], curve, strength[3]),
    )  # fmt: skip
    lift = (f[0] + f[1] + f[2] + f[3]) * inverse_mass
    twice = lift + lift
    dq = (
        half * (-q[1] * w[0] - q[2] * w[1] - q[3] * w[2]),
        half * (q[0] * w[0] + q[2] * w[2] - q[3] * w[1]),
        half * (q[0] * w[1] + q[3] * w[0] - q[1] * w[2]),
        half * (q[0] * w[2] + q[1] * w[1] - q[2] * w[0]),
    )
    dv = (
        twice * (q[1] * q[3] + q[0] * q[2]) + push[0][0] - drag * v[0],
        twice * (q[2] * q[3] - q[0] * q[1]) + push[0][1] - drag * v[1],
        lift - twice * (q[1] * q[1] + q[2] * q[2]) + push[0][2] - drag * v[2],
    )
    dw = (
        inverse_inertia[0] * (dot4(y, f) - gyro[0] * w[1] * w[2]) + push[1][0],
        inverse_inertia[1] * (-dot4(x, f) - gyro[1] * w[2] * w[0]) + push[1][1],
        inverse_inertia[2] * (dot4(reaction, f) - gyro[2] * w[0] * w[1]) + push[1][2],
    )
    du = (
        spin_up(u[0], command[0], lag[0], lag[1]), spin_up(u[1], command[1], lag[0], lag[1]),
        spin_up(u[2], command[2], lag[0], lag[1]), spin_up(u[3], command[3], lag[0], lag[1]),
    )  # fmt: skip
    return dq, dv, dw, du


@compiled
def clamp(x: Any, low: Any, high: Any) -> Any:
    """Within low..high; a number that is none stays none."""
    x = low if low > x else x
    return high if high < x else x


@compiled
def integrate(p: Three, q: Four, v: Three, w: Three, u: Four, command: Four, craft: Any,
              push: Any, dt: Any, floor: Any) -> Any:  # fmt: skip
    """One Runge-Kutta step of order 4 over the whole state, then what keeps it a state."""
    zero, one = type(dt)(0), type(dt)(1)
    half, sixth, third = dt * type(dt)(0.5), dt * type(dt)(1 / 6), dt * type(dt)(1 / 3)
    start, first = (q, v, w, u), slopes(q, v, w, u, command, craft, push)
    p, total = ahead3(p, sixth, v), ahead(start, sixth, first)
    there = ahead(start, half, first)
    slope = slopes(there[0], there[1], there[2], there[3], command, craft, push)
    p, total = ahead3(p, third, there[1]), ahead(total, third, slope)
    there = ahead(start, half, slope)
    slope = slopes(there[0], there[1], there[2], there[3], command, craft, push)
    p, total = ahead3(p, third, there[1]), ahead(total, third, slope)
    there = ahead(start, dt, slope)
    slope = slopes(there[0], there[1], there[2], there[3], command, craft, push)
    p = ahead3(p, sixth, there[1])
    q, v, w, u = ahead(total, sixth, slope)
    q = ahead4((zero, zero, zero, zero), one / np.sqrt(dot4(q, q)), q)
    u = (
        clamp(u[0], zero, one), clamp(u[1], zero, one),
        clamp(u[2], zero, one), clamp(u[3], zero, one),
    )  # fmt: skip
    down = p[2] < floor
    v = (zero if down else v[0], zero if down else v[1], zero if down and v[2] < zero else v[2])
    p = (p[0], p[1], floor if down else p[2])
    return p, q, v, w, u


@compiled
def craft_of(craft: Array, at: Any) -> Any:
    """One lane's numbers, as `slopes` wants them."""
    n = np.uint64(LANES)
    j = three(craft, at + np.uint64(INERTIA) * n)
    inverse_mass = craft[at + np.uint64(INVERSE_MASS) * n]
    return (
        inverse_mass,
        three(craft, at + np.uint64(CURVE) * n),
        four(craft, at + np.uint64(STRENGTH) * n),
        four(craft, at + np.uint64(PLACE_X) * n),
        four(craft, at + np.uint64(PLACE_Y) * n),
        four(craft, at + np.uint64(REACTION) * n),
        (craft[at + np.uint64(INVERSE_RISE) * n], craft[at + np.uint64(INVERSE_FALL) * n]),
        (j[2] - j[1], j[0] - j[2], j[1] - j[0]),
        three(craft, at + np.uint64(INVERSE_INERTIA) * n),
        craft[at + np.uint64(DRAG) * n] * inverse_mass,
    )


@compiled
def push_of(air: Array, at: Any, craft: Any, gravity: Any) -> Any:
    """Linear and angular acceleration from outside, the same throughout the step."""
    n = np.uint64(LANES)
    force, wind = three(air, at + np.uint64(FORCE) * n), three(air, at + np.uint64(WIND) * n)
    torque, inverse = three(air, at + np.uint64(TORQUE) * n), craft[8]
    linear = (
        force[0] * craft[0] + craft[9] * wind[0],
        force[1] * craft[0] + craft[9] * wind[1],
        force[2] * craft[0] + craft[9] * wind[2] - gravity,
    )
    return linear, (torque[0] * inverse[0], torque[1] * inverse[1], torque[2] * inverse[2])


@compiled
def set_point(action: Any) -> Any:
    """Rotor speed asked for by an action in -1..1."""
    half, one = type(action)(0.5), type(action)(1)
    return half * clamp(action, -one, one) + half


@compiled
def advance(tile: Any, state: Array, actions: Array, craft: Array, air: Array, dt: Any,
            gravity: Any, floor: Any) -> None:  # fmt: skip
    """One physics step of every lane of one tile."""
    n = np.uint64(LANES)
    s, c = tile * np.uint64(STATE_ROWS * LANES), tile * np.uint64(CRAFT_ROWS * LANES)
    e, a = tile * np.uint64(AIR_ROWS * LANES), tile * np.uint64(4 * LANES)
    for lane in range(LANES):
        k = np.uint64(lane)
        at, four_k = s + k, a + np.uint64(4) * k
        one = craft_of(craft, c + k)
        command = (
            set_point(actions[four_k]), set_point(actions[four_k + np.uint64(1)]),
            set_point(actions[four_k + np.uint64(2)]), set_point(actions[four_k + np.uint64(3)]),
        )  # fmt: skip
        p, q, v, w, u = integrate(
            three(state, at + np.uint64(POSITION) * n), four(state, at + np.uint64(QUATERNION) * n),
            three(state, at + np.uint64(VELOCITY) * n), three(state, at + np.uint64(RATE) * n),
            four(state, at + np.uint64(ROTOR) * n), command, one,
            push_of(air, e + k, one, gravity), dt, floor,
        )  # fmt: skip
        put3(state, at + np.uint64(POSITION) * n, p)
        put4(state, at + np.uint64(QUATERNION) * n, q)
        put3(state, at + np.uint64(VELOCITY) * n, v)
        put3(state, at + np.uint64(RATE) * n, w)
        put4(state, at + np.uint64(ROTOR) * n, u)


@compiled_loop
def step(state: Array, actions: Array, craft: Array, air: Array, dt: Any, gravity: Any,
         floor: Any) -> None:  # fmt: skip
    """One physics step of every tile; actions (N, 4) row after row, all else tiled."""
    for tile in range(len(state) // (STATE_ROWS * LANES)):
        advance(np.uint64(tile), state, actions, craft, air, dt, gravity, floor)


@compiled_parallel
def step_parallel(state: Array, actions: Array, craft: Array, air: Array, dt: Any, gravity: Any,
                  floor: Any) -> None:  # fmt: skip
    """The same, tiles spread over numba's threads."""
    for tile in numba.prange(len(state) // (STATE_ROWS * LANES)):
        advance(np.uint64(tile), state, actions, craft, air, dt, gravity, floor)
