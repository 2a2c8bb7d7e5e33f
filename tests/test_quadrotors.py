from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tutelage.envs.quadrotor_sets import PLATFORMS, RAPTOR, SETS, TRAINING_SEED, Drawn, platforms
from tutelage.envs.quadrotors import CORNERS, SPIN, Distribution, join

MANY = 20_000


def test_a_crazyflie_has_the_published_thrust_and_agility() -> None:
    quad = PLATFORMS["crazyflie"]()
    assert quad.thrust_to_weight[0] == pytest.approx(1.4675, abs=1e-4)  # 4 * 0.110129 / 0.300186
    assert quad.torque_to_inertia[0] == pytest.approx(463.1, abs=0.1)
    lift = 4 * quad.curve[0] @ [1.0, quad.hover[0], quad.hover[0] ** 2]
    assert lift == pytest.approx(0.0306 * 9.81)
    assert quad.hover[0] == pytest.approx(0.80612, abs=1e-5)


def test_the_speed_at_which_l2f_has_a_crazyflie_hover_does_not_carry_it() -> None:
    quad = PLATFORMS["crazyflie"]()
    lift = 4 * quad.curve[0] @ [1.0, 0.7261389721508553, 0.7261389721508553**2]
    assert lift / (quad.mass[0] * 9.81) == pytest.approx(0.834, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "published", "low", "high"),
    [
        ("x500", 0.5549636212401485, 0.0, 1.0),
        ("x500_gazebo", 0.749141384950337, 0.0, 1.0),
        ("fs", 0.44905530730868937, 0.3, 0.7),
        ("race", 0.13095934350152208, 0.1, 0.2),
    ],
)
def test_platforms_hover_at_the_published_rotor_speed(
    name: str, published: float, low: float, high: float
) -> None:
    hover = PLATFORMS[name]().hover[0]
    assert low + hover * (high - low) == pytest.approx(published, rel=1e-12)


def test_the_five_inch_racer_has_its_published_thrust() -> None:
    quad = PLATFORMS["racer_5_inch"]()
    assert quad.thrust_to_weight[0] == pytest.approx(3.3)
    assert quad.reach[0] == pytest.approx(0.15)
    assert quad.torque_to_inertia[0] == pytest.approx(0.15 * 3.3 * 0.85 * 9.81 / 4 / 0.001)


def test_platforms_come_in_turn() -> None:
    quads = platforms(9)
    assert len(quads) == 9
    assert quads.mass[7] == quads.mass[0] == 0.0306


def test_draws_follow_the_published_law() -> None:
    quads = RAPTOR.sample(MANY, 3)
    t2w, t2i = quads.thrust_to_weight, quads.torque_to_inertia
    assert t2w.mean() == pytest.approx(3.25, abs=0.03)
    assert t2w.std() == pytest.approx(3.5 / 12**0.5, abs=0.02)
    assert (t2i.min(), t2i.max()) == pytest.approx((40, 1200), abs=1)
    assert t2i.mean() == pytest.approx(620, abs=8)
    middle = (0.02 ** (1 / 3) + 5 ** (1 / 3)) / 2
    assert np.cbrt(quads.mass).mean() == pytest.approx(middle, abs=0.01)
    assert np.median(quads.mass) == pytest.approx(0.97, abs=0.03)
    assert quads.rise.mean() == pytest.approx(0.065, abs=5e-4)
    assert quads.fall.mean() == pytest.approx(0.165, abs=2e-3)
    np.testing.assert_allclose(quads.inertia[:, 1] / quads.inertia[:, 0], 1.02416, atol=1e-5)
    np.testing.assert_allclose(quads.inertia[:, 2] / quads.inertia[:, 0], 1.85413, atol=1e-5)


def test_rotors_are_a_tenth_further_in_than_the_mass_says_as_published() -> None:
    quads = RAPTOR.sample(MANY, 4)
    factor = quads.reach / (np.sqrt(2) * 0.028 * np.cbrt(quads.mass / 0.0306))
    # f ~ N(-0.1, 0.1): a sixth of the draws are positive
    assert (factor > 1).mean() == pytest.approx(0.1587, abs=0.01)
    assert np.median(factor) == pytest.approx(1 / 1.1, abs=0.003)
    assert (np.sign(quads.place) == CORNERS).all()


def test_the_disturbance_is_a_few_percent_of_the_weight() -> None:
    quads = RAPTOR.sample(MANY, 5)
    share = quads.force_std / (quads.mass * 9.81)
    assert np.median(share) == pytest.approx(0.028, abs=0.001)
    assert np.quantile(share, 0.9) == pytest.approx(0.107, abs=0.003)
    assert share.max() < 0.2039  # 0.3 * 4 * 5 / 3 / 9.81


def test_every_drawn_quadrotor_can_hover() -> None:
    quads = SETS["raptor"](4096)
    assert ((quads.hover > 0) & (quads.hover < 1)).all()


def test_the_reaction_of_a_rotor_opposes_that_of_its_neighbours() -> None:
    assert (np.sign(RAPTOR.sample(10, 0).reaction) == SPIN).all()


def test_a_larger_sample_begins_with_the_smaller_one() -> None:
    small, large = RAPTOR.sample(64, 7), RAPTOR.sample(256, 7)
    np.testing.assert_array_equal(small.inertia, large[:64].inertia)


def test_laws_that_differ_in_one_range_agree_in_the_rest() -> None:
    base, other = RAPTOR.sample(64, 7), replace(RAPTOR, rise=(0.2, 0.3)).sample(64, 7)
    np.testing.assert_array_equal(base.inertia, other.inertia)
    np.testing.assert_array_equal(base.force_std, other.force_std)
    assert (other.rise >= 0.2).all()


def test_held_out_sets_are_what_their_names_say() -> None:
    assert SETS["low_torque"](256).torque_to_inertia.max() < 150
    assert SETS["slow_motors"](256).rise.min() >= 0.07
    assert SETS["heavy"](256).mass.min() >= 5
    wind = np.linalg.norm(SETS["wind"](256).wind, axis=1)
    assert 2 <= wind.min() <= wind.max() <= 7
    assert (SETS["raptor"](8).wind == 0).all()


def test_no_set_shares_a_seed_with_another_or_with_training() -> None:
    seeds = [made.seed for made in SETS.values() if isinstance(made, Drawn)]
    assert len({*seeds, TRAINING_SEED}) == len(seeds) + 1


def test_a_backward_range_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="mass must be a range"):
        Distribution(mass=(5.0, 0.02))


def test_joined_quadrotors_keep_their_order_and_a_wrong_shape_is_refused() -> None:
    quads = RAPTOR.sample(3, 0)
    both = join([quads, quads[1:]])
    np.testing.assert_array_equal(both.mass[3:], quads.mass[1:])
    with pytest.raises(ValueError, match="rise of 3 quadrotors"):
        replace(quads, rise=np.ones(2))
