"""The equations of motion, on numbers worked out by hand, and the compiled kernel beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import exp, pi

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.envs.quadrotor_sets import PLATFORMS, RAPTOR
from tutelage.envs.quadrotors import Quadrotors
from tutelage.envs.sim import rotor_model
from tutelage.envs.sim.rotor_model import Air, Craft
from tutelage.envs.sim.rotors import Rotors

DOUBLE = torch.float64
Fly = Callable[..., Tensor]
EVERYONE = torch.ones(1, dtype=torch.bool)


def by_reference(
    quads: Quadrotors, x: Tensor, action: Tensor, steps: int = 1, dt: float = 0.01,
    air: Tensor | None = None, floor: float = float("-inf"),
) -> Tensor:  # fmt: skip
    rows = torch.zeros(len(x), 9, dtype=DOUBLE) if air is None else air
    craft, outside = Craft.of(quads, DOUBLE), Air(*rows.split(3, dim=-1))
    for _ in range(steps):
        x = rotor_model.step(x, action, craft, outside, dt, floor)
    return x


def by_kernel(
    quads: Quadrotors, x: Tensor, action: Tensor, steps: int = 1, dt: float = 0.01,
    air: Tensor | None = None, floor: float = float("-inf"),
) -> Tensor:  # fmt: skip
    rotors = Rotors(quads, dt=dt, floor=floor, dtype=DOUBLE)
    everyone = torch.ones(len(x), dtype=torch.bool)
    rotors.put(everyone, x)
    rotors.blow(everyone, torch.zeros(len(x), 9, dtype=DOUBLE) if air is None else air)
    for _ in range(steps):
        rotors.step(action)
    return rotors.state


@pytest.fixture(params=[by_reference, by_kernel], ids=["reference", "kernel"])
def fly(request: pytest.FixtureRequest) -> Fly:
    made: Fly = request.param
    return made


def rest(rotor: float = 0.0) -> Tensor:
    """Level, at the origin. (1, 17)"""
    x = torch.zeros(1, 17, dtype=DOUBLE)
    x[:, 3], x[:, 13:] = 1.0, rotor
    return x


def same(value: float) -> Tensor:
    """One action for all rotors. (1, 4)"""
    return torch.full((1, 4), value, dtype=DOUBLE)


def unpowered(mass: float = 2.0) -> Quadrotors:
    """Inertia 0.01, 0.02, 0.025; rotors 0.1 m out along each axis that carry nothing."""
    quad = PLATFORMS["x500"]()
    return replace(
        quad, mass=np.array([mass]), inertia=np.array([[0.01, 0.02, 0.025]]),
        curve=np.zeros((1, 3)), place=np.sign(quad.place) * 0.1,
    )  # fmt: skip


def test_hover_is_an_equilibrium(fly: Fly) -> None:
    quad = PLATFORMS["crazyflie"]()
    hover = float(quad.hover[0])
    x = fly(quad, rest(hover), same(2 * hover - 1), steps=100)
    torch.testing.assert_close(x, rest(hover), atol=1e-12, rtol=0)


def test_free_fall_gains_g_times_t(fly: Fly) -> None:
    x = fly(unpowered(), rest(), same(-1.0), steps=100)
    assert x[0, 9].item() == pytest.approx(-9.81)
    assert x[0, 2].item() == pytest.approx(-9.81 / 2)


def test_a_disturbing_force_accelerates_by_f_over_m(fly: Fly) -> None:
    air = torch.tensor([[1.0, -2.0, 2 * 9.81, 0, 0, 0, 0, 0, 0]], dtype=DOUBLE)
    x = fly(unpowered(mass=2.0), rest(), same(-1.0), steps=100, air=air)
    assert x[0, 7:10].tolist() == pytest.approx([0.5, -1.0, 0.0], abs=1e-12)


def test_a_disturbing_torque_turns_by_torque_over_inertia(fly: Fly) -> None:
    air = torch.zeros(1, 9, dtype=DOUBLE)
    air[0, 3] = 0.01
    x = fly(unpowered(), rest(), same(-1.0), steps=50, air=air)
    assert x[0, 10].item() == pytest.approx(0.5)  # 0.01 / 0.01 * 0.5 s
    angle = 2 * torch.atan2(x[0, 4], x[0, 3]).item()
    assert angle == pytest.approx(0.125, abs=1e-9)


def test_a_rotor_follows_its_command_with_its_time_constants(fly: Fly) -> None:
    quad = replace(unpowered(), rise=np.array([0.05]), fall=np.array([0.2]))
    up = fly(quad, rest(), same(1.0), steps=50, dt=0.001)
    assert up[0, 13:].tolist() == pytest.approx([1 - exp(-1)] * 4, rel=1e-6)
    down = fly(quad, rest(1.0), same(-1.0), steps=200, dt=0.001)
    assert down[0, 13:].tolist() == pytest.approx([exp(-1)] * 4, rel=1e-6)


def test_actions_beyond_the_range_command_its_end(fly: Fly) -> None:
    quad = PLATFORMS["x500"]()
    assert torch.equal(fly(quad, rest(), same(3.0)), fly(quad, rest(), same(1.0)))


def test_the_left_rotors_roll_to_the_right_and_the_back_rotors_pitch_down(fly: Fly) -> None:
    quad = replace(PLATFORMS["x500"](), reaction=np.zeros((1, 4)))
    left = torch.tensor([[-1.0, -1.0, 1.0, 1.0]], dtype=DOUBLE)
    assert fly(quad, rest(), left)[0, 10] > 0
    assert fly(quad, rest(), left)[0, 11:13].tolist() == pytest.approx([0, 0], abs=1e-12)
    back = torch.tensor([[-1.0, 1.0, 1.0, -1.0]], dtype=DOUBLE)
    assert fly(quad, rest(), back)[0, 11] > 0


def test_a_rotor_turns_the_body_against_itself(fly: Fly) -> None:
    """Back right and front left have reaction +: thrust 2 * 15.926 N * 0.10847 m over Jzz."""
    x = rest()
    x[0, [14, 16]] = 1.0
    action = torch.tensor([[-1.0, 1.0, -1.0, 1.0]], dtype=DOUBLE)
    turned = fly(PLATFORMS["x500"](), x, action, steps=10, dt=0.0001)
    expected = 2 * 15.926119900619797 * 0.10847 / 0.039396244 * 0.001
    assert turned[0, 12].item() == pytest.approx(expected, rel=1e-9)


def test_angular_momentum_stays_in_the_world_without_torque(fly: Fly) -> None:
    x = rest()
    x[0, 10:13] = torch.tensor([1.0, 2.0, 3.0])
    inertia = torch.tensor([0.01, 0.02, 0.025], dtype=DOUBLE)

    def momentum(x: Tensor) -> Tensor:
        matrix = rotor_model.observe(x, same(0.0), torch.zeros(1, 6))[0, 3:12].view(3, 3)
        return matrix @ (inertia * x[0, 10:13])

    later = fly(unpowered(), x, same(-1.0), steps=2000, dt=0.001)
    assert not torch.allclose(later[0, 10:13], x[0, 10:13], atol=0.1)
    torch.testing.assert_close(momentum(later), momentum(x), atol=1e-8, rtol=0)


def test_a_quaternion_turns_as_far_as_the_rate_says(fly: Fly) -> None:
    x = rest()
    x[0, 12] = pi
    turned = fly(unpowered(), x, same(-1.0), steps=50)  # half a second: a quarter turn
    assert turned[0, 3:7].tolist() == pytest.approx([0.5**0.5, 0, 0, 0.5**0.5], abs=1e-7)
    assert turned[0, 3:7].norm().item() == pytest.approx(1.0, abs=1e-14)


def test_drag_takes_energy_until_the_wind_is_caught(fly: Fly) -> None:
    quad = replace(unpowered(mass=2.0), drag=np.array([0.5]))
    x = rest()
    x[0, 7] = 4.0
    speeds = [x[0, 7].item()]
    for _ in range(20):
        x = fly(quad, x, same(-1.0), steps=5)
        speeds.append(x[0, 7].item())
    assert all(after < before for before, after in pairwise(speeds))
    assert speeds[-1] == pytest.approx(4 * exp(-0.25), rel=1e-9)  # 0.5 / 2 * 1 s
    air = torch.tensor([[0, 0, 0, 0, 0, 0, 3.0, 0, 0]], dtype=DOUBLE)
    carried = fly(quad, rest(), same(-1.0), steps=100, air=air)
    assert carried[0, 7].item() == pytest.approx(3 * (1 - exp(-0.25)), rel=1e-9)


def test_the_floor_holds_what_falls_on_it(fly: Fly) -> None:
    x = rest()
    x[0, 2], x[0, 7] = 0.05, 1.0
    landed = fly(unpowered(), x, same(-1.0), steps=50, floor=0.0)
    assert landed[0, 2].item() == 0.0
    assert landed[0, 7:10].tolist() == [0.0, 0.0, 0.0]


def test_a_chipped_propeller_lifts_a_fifth_less(fly: Fly) -> None:
    quad = PLATFORMS["x500"]()
    chipped = replace(quad, strength=np.full((1, 4), 0.8))
    hover = float(quad.hover[0])
    x = fly(chipped, rest(hover), same(2 * hover - 1), steps=100)
    assert x[0, 9].item() == pytest.approx(-0.2 * 9.81, rel=1e-9)


def test_an_observation_shows_the_body_axes_and_the_way_from_the_target() -> None:
    x = rest(0.25)
    x[0, 3:7] = torch.tensor([0.5**0.5, 0, 0, 0.5**0.5])  # a quarter turn to the left
    x[0, :3], x[0, 7:10] = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3])
    target = torch.tensor([[1.0, 0, 0, 0.1, 0, 0]], dtype=DOUBLE)
    seen = rotor_model.observe(x, same(0.5), target)[0]
    assert seen[:3].tolist() == [0, 2, 3]
    torch.testing.assert_close(
        seen[3:12].view(3, 3), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=DOUBLE)
    )
    assert seen[12:15].tolist() == pytest.approx([0, 0.2, 0.3], abs=1e-6)
    assert seen[18:22].tolist() == [0.5] * 4
    assert seen[22:].tolist() == [-0.5] * 4


def random_flight(count: int, dtype: torch.dtype) -> tuple[Quadrotors, Tensor, Tensor]:
    """Quadrotors, their states and what blows on them."""
    quads = replace(RAPTOR, drag=(0.1, 0.5), wind=(2.0, 7.0)).sample(count, 11)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 17, generator=generator, dtype=DOUBLE)
    x[:, 3:7] /= x[:, 3:7].norm(dim=-1, keepdim=True)
    x[:, 13:] = torch.rand(count, 4, generator=generator, dtype=DOUBLE)
    air = torch.randn(count, 9, generator=generator, dtype=DOUBLE)
    air[:, :3] *= torch.from_numpy(quads.mass)[:, None]
    air[:, 3:6] *= torch.from_numpy(quads.inertia)
    return quads, x.to(dtype), air.to(dtype)


def largest_gap(dtype: torch.dtype, steps: int, parallel: bool = False) -> tuple[float, Tensor]:
    """Between kernel and reference in double: in one step, and by quantity after `steps`."""
    quads, x, air = random_flight(100, dtype)  # not a whole number of tiles
    everyone = torch.ones(100, dtype=torch.bool)
    rotors = Rotors(quads, dtype=dtype, parallel=parallel)
    rotors.put(everyone, x)
    rotors.blow(everyone, air)
    reference = x.to(DOUBLE)
    craft, outside = Craft.of(quads, DOUBLE), Air(*air.to(DOUBLE).split(3, dim=-1))
    generator, first = torch.Generator().manual_seed(1), 0.0
    for number in range(steps):
        action = torch.rand(100, 4, generator=generator, dtype=dtype) * 2.4 - 1.2
        rotors.step(action)
        reference = rotor_model.step(reference, action.to(DOUBLE), craft, outside)
        if number == 0:
            first = scaled(rotors.state, reference).max().item()
    gap = scaled(rotors.state, reference).split((3, 4, 3, 3, 4), dim=-1)
    return first, torch.stack([part.max() for part in gap])


def scaled(a: Tensor, b: Tensor) -> Tensor:
    return (a.to(DOUBLE) - b).abs() / b.abs().clamp(min=1.0)


@pytest.mark.parametrize("parallel", [False, True], ids=["serial", "parallel"])
def test_in_double_precision_the_kernel_is_the_reference(parallel: bool) -> None:
    one, many = largest_gap(DOUBLE, 100, parallel)
    assert one < 1e-14
    assert many.max() < 1e-11  # a tumbling body multiplies what rounding began


def test_in_single_precision_the_kernel_stays_close_to_the_reference() -> None:
    one, many = largest_gap(torch.float32, 100)
    assert one < 1e-6
    position, quaternion, velocity, rate, rotor = many.tolist()
    assert position < 5e-5
    assert max(quaternion, velocity) < 2e-4
    assert rate < 1e-3
    assert rotor < 1e-6
