"""Random numbers by counting, and the state an episode starts from, compiled.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) turns a counter
(environment, episode, block, 0) under a key (the seed) into four 32-bit numbers. A draw thus hangs
on nothing but these: neither on what other environments do, nor on threads, nor on a generator's
state that a snapshot would have to carry.
"""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.envs.sim.rotor_tiles import (
    AIR_ROWS,
    CRAFT_ROWS,
    FORCE,
    FORCE_STD,
    LANES,
    REACH,
    ROTOR,
    STATE_ROWS,
    compiled,
    compiled_call,
)

Array = NDArray[Any]
ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
LOW = np.uint64(0xFFFFFFFF)
HALF_WORD = np.uint64(32)


@compiled
def philox(a: Any, b: Any, c: Any, d: Any, key: Any) -> tuple[Any, Any, Any, Any]:
    """Four 32-bit numbers for a counter of four, all kept in 64-bit words."""
    low, high = key & LOW, key >> HALF_WORD
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, c = (second >> HALF_WORD) ^ b ^ low, (first >> HALF_WORD) ^ d ^ high
        b, d = second & LOW, first & LOW
        low, high = (low + WEYL[0]) & LOW, (high + WEYL[1]) & LOW
    return a, b, c, d


@compiled
def unit(bits: Any, one: Any) -> Any:
    """In 0..1 without 1; the same number in single and in double precision."""
    return type(one)(bits >> np.uint64(8)) * type(one)(2.0**-24)


@compiled
def four_units(env: Any, episode: Any, block: int, seed: Any, one: Any) -> Any:
    a, b, c, d = philox(env, episode, np.uint64(block), np.uint64(0), seed)
    return unit(a, one), unit(b, one), unit(c, one), unit(d, one)


@compiled
def spread(u: Any, size: Any) -> Any:
    """From 0..1 to -size..size."""
    return (u + u - type(u)(1)) * size


@compiled_call
def start(env: Any, state: Array, craft: Array, air: Array, last: Array, target: Array,
          episode: Array, begin: Array, seed: Any) -> None:  # fmt: skip
    """Put one environment, counted through all tiles, at the beginning of its next episode.

    The last action is what would have held the rotors at their speeds.
    """
    n = np.uint64(LANES)
    tile, lane = env // n, env % n
    s, a = tile * np.uint64(STATE_ROWS) * n + lane, tile * np.uint64(4) * n + lane
    c, e = tile * np.uint64(CRAFT_ROWS) * n + lane, tile * np.uint64(AIR_ROWS) * n + lane
    t = tile * np.uint64(6) * n + lane
    episode[env] += np.uint32(1)
    guidance, box, box_in_reaches, angle = begin[0], begin[1], begin[2], begin[3]
    velocity, rate, rotor, force = begin[4], begin[5], begin[6], begin[7]
    one = type(angle)(1)
    now = np.uint64(episode[env])
    u0 = four_units(env, now, 0, seed, one)
    u1 = four_units(env, now, 1, seed, one)
    u2 = four_units(env, now, 2, seed, one)
    u3 = four_units(env, now, 3, seed, one)
    u4 = four_units(env, now, 4, seed, one)
    u5 = four_units(env, now, 5, seed, one)
    thrown = type(one)(0) if u0[0] < guidance else one
    box = thrown * (box + box_in_reaches * craft[c + np.uint64(REACH) * n])
    half = thrown * u1[2] * angle * type(one)(0.5)
    level = spread(u1[1], one)
    out, turn = np.sqrt(one - level * level) * np.sin(half), u1[0] * type(one)(2 * pi)
    values = (
        spread(u0[1], box), spread(u0[2], box), spread(u0[3], box),
        np.cos(half), out * np.cos(turn), out * np.sin(turn), level * np.sin(half),
        spread(u2[0], thrown * velocity), spread(u2[1], thrown * velocity),
        spread(u2[2], thrown * velocity), spread(u2[3], thrown * rate),
        spread(u3[0], thrown * rate), spread(u3[1], thrown * rate),
        u3[2] * rotor, u3[3] * rotor, u4[0] * rotor, u4[1] * rotor,
    )  # fmt: skip
    for row in range(STATE_ROWS):
        state[s + np.uint64(row) * n] = values[row]
    for row in range(3):
        state[s + np.uint64(row) * n] += target[t + np.uint64(row) * n]
    for row in range(4):
        u = state[s + np.uint64(ROTOR + row) * n]
        last[a + np.uint64(row) * n] = u + u - one
    std = force * craft[c + np.uint64(FORCE_STD) * n]
    first, second = normals(u4[2], u4[3])
    third, _ = normals(u5[0], u5[1])
    air[e + np.uint64(FORCE) * n] = std * first
    air[e + np.uint64(FORCE + 1) * n] = std * second
    air[e + np.uint64(FORCE + 2) * n] = std * third


@compiled
def normals(u: Any, turn: Any) -> tuple[Any, Any]:
    """Two independent normal draws from two uniform ones (Box and Muller, 1958)."""
    radius = np.sqrt(type(u)(-2) * np.log(type(u)(1) - u))
    return radius * np.cos(turn * type(u)(2 * pi)), radius * np.sin(turn * type(u)(2 * pi))
