"""How fast multirotors fly: physics alone and whole control steps, beside torch and, if there, l2f.

`python -m tutelage.benchmarks.rotor` measures everything in one run, in turns, with random actions,
and writes `benchmarks/results/rotor.json`. A rate is that of the best of many short windows: on a
machine that others use too, the median says how busy they were. Two threads are only measured where
two cores are to be had. l2f's own whole step does not start
again what has ended, and shows 82 numbers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from tutelage.algos import runs
from tutelage.algos.machine import describe_machine, package_versions
from tutelage.envs.quadrotor_sets import SETS
from tutelage.envs.sim import rotor_model
from tutelage.envs.sim.rotor_model import Craft
from tutelage.envs.sim.rotors import Flights, Rotors

RESULT = Path(__file__).parent / "results" / "rotor.json"
SIZES = (64, 1024, 4096, 8192)
ACTIONS = 16
"""Different random actions, used in turn"""
Work = Callable[[int], object]


def ours(count: int, threads: int) -> dict[str, Work]:
    quads, parallel = SETS["raptor"](count), threads > 1
    rotors, flights = Rotors(quads, parallel=parallel), Flights(quads, parallel=parallel)
    actions = random_actions(count)
    return {
        "physics": lambda turn: rotors.step(actions[turn % ACTIONS]),
        "whole_step": lambda turn: flights.step(actions[turn % ACTIONS]),
    }


def by_torch(count: int) -> Work:
    """The reference, which nobody would train on."""
    craft, actions = Craft.of(SETS["raptor"](count)), random_actions(count)
    x = Flights(SETS["raptor"](count)).state
    air = rotor_model.still(x)
    return lambda turn: rotor_model.step(x, actions[turn % ACTIONS], craft, air)


def by_l2f(count: int) -> dict[str, Work]:
    """l2f's vectorised `step`, and with reward, end, and observation; none where it is absent."""
    try:
        l2f: Any = importlib.import_module("l2f")
        vector: Any = getattr(l2f, f"vector{count}")
    except (ImportError, AttributeError):
        return {}
    device, rng, env = l2f.Device(), vector.VectorRng(), vector.VectorEnvironment()
    params, state, after = (
        vector.VectorParameters(), vector.VectorState(), vector.VectorState(),
    )  # fmt: skip
    vector.initialize_rng(device, rng, 0)
    vector.initialize_environment(device, env)
    vector.sample_initial_parameters(device, env, params, rng)
    vector.sample_initial_state(device, env, params, state, rng)
    actions = [np.ascontiguousarray(a.numpy()) for a in random_actions(count)]
    obs = np.zeros((count, env.OBSERVATION_DIM), np.float32)
    pay, ended = np.zeros(count, np.float32), np.zeros(count, np.bool_)

    def whole(turn: int) -> None:
        action = actions[turn % ACTIONS]
        vector.step(device, env, params, state, action, after, rng)
        vector.reward(device, env, params, state, action, after, pay, rng)
        vector.terminated(device, env, params, after, ended, rng)
        state.assign(after)
        vector.observe(device, env, params, state, obs, rng)

    return {
        "l2f_physics": lambda turn: vector.step(
            device, env, params, state, actions[turn % ACTIONS], after, rng
        ),
        "l2f_whole_step": whole,
    }


def random_actions(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(count, 4, generator=generator) * 2 - 1 for _ in range(ACTIONS)]


def best_rates(work: dict[str, Work], count: int, windows: int, window: float) -> dict[str, float]:
    """Environment steps a second in the best window of `window` seconds, in turns."""
    repeats: dict[str, int] = {}
    for name, function in work.items():
        function(0)  # compiles
        began = time.perf_counter()
        function(1)
        repeats[name] = max(1, int(window / (time.perf_counter() - began)))
    best = dict.fromkeys(work, 0.0)
    for _ in range(windows):
        for name, function in work.items():
            began = time.perf_counter()
            for turn in range(repeats[name]):
                function(turn)
            taken = time.perf_counter() - began
            best[name] = max(best[name], count * repeats[name] / taken)
    return best


def measure(sizes: tuple[int, ...], windows: int, window: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    machine = describe_machine()
    rates: list[dict[str, Any]] = []
    for threads in (1, 2) if machine["cores"] > 1 else (1,):
        numba.set_num_threads(threads)
        for count in sizes:
            work = ours(count, threads)
            if threads == 1:
                work |= {"torch_physics": by_torch(count)} | by_l2f(count)
            found = best_rates(work, count, windows, window)
            rates.append({"threads": threads, "environments": count, "steps_per_second": found})
    return {
        "rates": rates,
        "windows": windows,
        "window_seconds": window,
        "machine": machine,
        "packages": package_versions(),
        "git": runs.git_state(Path(runs.__file__).parent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--window", type=float, default=0.01, help="length of a window [s]")
    chosen = parser.parse_args()
    result = measure(tuple(chosen.sizes), chosen.windows, chosen.window)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for row in result["rates"]:
        for name, rate in row["steps_per_second"].items():
            print(f"{row['threads']} threads {row['environments']:5} {name:14} {rate:10.3g} /s")
    print(RESULT)


if __name__ == "__main__":
    main()
