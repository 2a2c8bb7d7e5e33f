"""The published simulator and the published policy as independent checks, where they are installed.

`pip install l2f==2.0.18` builds for about 11 minutes with 3.3 GB of memory; set OMP_NUM_THREADS=1.
`pip install foundation-policy==1.0.2` is small.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.envs.quadrotor_sets import PLATFORMS, RAPTOR
from tutelage.envs.quadrotors import join
from tutelage.envs.sim.rotors import Flights, Rotors

COUNT = 64
PARTS = ("position", "orientation", "linear_velocity", "angular_velocity", "rpm")


def l2f_state(state: Any) -> Tensor:
    """State of l2f's environments as `rotor_model` lays it out. (N, 17)"""
    rows = [np.concatenate([getattr(one, part) for part in PARTS]) for one in state.states]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def test_a_step_is_that_of_l2f() -> None:
    """Every copy is l2f's Crazyflie, without disturbance: its defaults."""
    l2f = pytest.importorskip("l2f", reason="l2f 2.0.18 is not installed")
    vector = getattr(l2f, f"vector{COUNT}")
    device, rng, env = l2f.Device(), vector.VectorRng(), vector.VectorEnvironment()
    params, state, after = vector.VectorParameters(), vector.VectorState(), vector.VectorState()
    vector.initialize_rng(device, rng, 0)
    vector.initialize_environment(device, env)
    vector.sample_initial_parameters(device, env, params, rng)
    vector.sample_initial_state(device, env, params, state, rng)
    rotors = Rotors(join([PLATFORMS["crazyflie"]()] * COUNT))
    for number in range(20):
        rotors.put(torch.ones(COUNT, dtype=torch.bool), l2f_state(state))
        generator = torch.Generator().manual_seed(number)
        action = torch.rand(COUNT, 4, generator=generator) * 2 - 1
        vector.step(device, env, params, state, np.ascontiguousarray(action.numpy()), after, rng)
        rotors.step(action)
        expected = l2f_state(after)
        gap = (rotors.state - expected).abs() / expected.abs().clamp(min=1.0)
        assert gap.max() < 1e-6
        state.assign(after)


def test_the_published_policy_falls_as_often_as_published() -> None:
    """4.2 % of quadrotors drawn as RAPTOR's, in 5 s, disturbed; give or take 0.7 %."""
    reason = "foundation-policy 1.0.2 is not installed"
    pytest.importorskip("foundation_policy", reason=reason)
    module: Any = importlib.import_module("foundation_policy")
    policy = module.QuadrotorPolicy()
    shares = []
    for seed in (1001, 1002, 1003, 1004):
        flights = Flights(RAPTOR.sample(1024, seed), seed=seed, again=False)
        obs, fallen = flights.reset(), torch.zeros(1024, dtype=torch.bool)
        policy.reset()
        for _ in range(500):
            action = policy.evaluate_step(np.ascontiguousarray(obs[:, :22].numpy()))
            outcome = flights.step(torch.from_numpy(np.ascontiguousarray(action, np.float32)))
            obs, fallen = outcome.obs, fallen | outcome.fallen
        shares.append(fallen.float().mean().item())
    assert sum(shares) / len(shares) == pytest.approx(0.042, abs=0.007)
