"""Quadrotors with names: platforms with published figures, and the sets a policy is judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tutelage.envs.quadrotors import (
    CORNERS,
    CRAZYFLIE_CURVE,
    CRAZYFLIE_INERTIA,
    CRAZYFLIE_MASS,
    CRAZYFLIE_OFFSET,
    GRAVITY,
    SPIN,
    Distribution,
    Quadrotors,
    join,
)


def _platform(
    *, mass: float, inertia: tuple[float, float, float], curve: tuple[float, float, float],
    place: tuple[float, float], torque: float, rise: float, fall: float | None = None,
    speeds: tuple[float, float] = (0.0, 1.0),
) -> Quadrotors:  # fmt: skip
    """One quadrotor; `curve` is over the published speed, of which `speeds` is the usable part.

    The rotor lag is linear, so a shorter range of speeds is the same as another thrust curve.
    """
    low, span = speeds[0], speeds[1] - speeds[0]
    c0, c1, c2 = curve
    own = (c0 + low * (c1 + low * c2), span * (c1 + 2 * low * c2), span**2 * c2)
    return Quadrotors(
        mass=np.array([mass]),
        inertia=np.array([inertia]),
        curve=np.array([own]),
        strength=np.ones((1, 4)),
        place=(CORNERS * place)[None],
        reaction=torque * SPIN[None],
        rise=np.array([rise]),
        fall=np.array([fall or rise]),
        drag=np.zeros(1),
        wind=np.zeros((1, 3)),
        force_std=np.zeros(1),
    )


def crazyflie() -> Quadrotors:
    """Crazyflie 2.1, 31 g with decks (l2f parameters/dynamics/crazyflie.h, l2f 2.0.18).

    l2f states a hovering speed of 0.7261, at which this thrust curve carries 83 % of the weight;
    0.8061 carries it.
    """
    x, y, z = CRAZYFLIE_INERTIA
    c0, c1, c2 = CRAZYFLIE_CURVE
    return _platform(
        mass=CRAZYFLIE_MASS, inertia=(x, y, z), curve=(c0, c1, c2),
        place=(CRAZYFLIE_OFFSET, CRAZYFLIE_OFFSET), torque=4.665e-3,
        rise=0.05545454545454546, fall=0.24939393939393945,
    )  # fmt: skip


def x500() -> Quadrotors:
    """Holybro X500, 2.0 kg, identified from flights (l2f x500_real.h; its Jxx has lost an 'e')."""
    return _platform(
        mass=2.0, inertia=(2.1705e-2, 2.1304e-2, 0.039396244), curve=(0.0, 0.0, 15.926119900619797),
        place=(0.176776695296636, 0.176776695296636), torque=0.10847, rise=0.054,
    )  # fmt: skip


def x500_gazebo() -> Quadrotors:
    """X500 as PX4 simulates it (l2f x500_sim.h)."""
    return _platform(
        mass=2.0, inertia=(0.0216666666666666, 0.0216666666666666, 0.04), curve=(0.0, 0.0, 8.74),
        place=(0.176776695296636, 0.176776695296636), torque=0.11697849233439939, rise=0.03,
    )  # fmt: skip


def fs() -> Quadrotors:
    """A 3.35 kg quadrotor (l2f fs.h)."""
    return _platform(
        mass=3.35, inertia=(0.11361, 0.12552, 0.22822), curve=(2.55643, 0.0, 28.06559),
        place=(0.20895, 0.240666), torque=0.01492, rise=0.06532, speeds=(0.3, 0.7),
    )  # fmt: skip


def race() -> Quadrotors:
    """A 1 kg racer (l2f race.h)."""
    return _platform(
        mass=1.0, inertia=(0.0008393451220413083, 0.0014118914879009208, 0.002189767656999172),
        curve=(0.0, 0.0, 143.0), place=(0.0775, 0.0981), torque=0.005964552, rise=0.04,
        speeds=(0.1, 0.2),
    )  # fmt: skip


def soft() -> Quadrotors:
    """A 0.97 kg quadrotor with soft arms (l2f soft.h)."""
    return _platform(
        mass=0.97, inertia=(8.1547e-3, 5.2261e-3, 12.0427e-3),
        curve=(-0.13662779341843762, 4.247460030890121, 3.766033614431835), place=(0.142, 0.169),
        torque=7.065e-3, rise=0.04,
    )  # fmt: skip


def racer_5_inch() -> Quadrotors:
    """The 0.85 kg racer of Foehn et al., "Time-optimal planning for quadrotor waypoint flight".

    Science Robotics 6, 2021. Mass, inertia, diagonal arm of 0.15 m, thrust-to-weight 3.3 and torque
    constant are those of the quads/quad.yaml published with it (uzh-rpg/rpg_time_optimal). No rotor
    lag is published there: 0.04 s is taken from `race`. Thrust is taken to grow with the square of
    the rotor speed.
    """
    offset, mass = 0.15 / np.sqrt(2), 0.85
    return _platform(
        mass=mass, inertia=(0.001, 0.001, 0.0017), curve=(0.0, 0.0, 3.3 * mass * GRAVITY / 4),
        place=(offset, offset), torque=0.05, rise=0.04,
    )  # fmt: skip


PLATFORMS: dict[str, Callable[[], Quadrotors]] = {
    "crazyflie": crazyflie,
    "x500": x500,
    "x500_gazebo": x500_gazebo,
    "fs": fs,
    "race": race,
    "soft": soft,
    "racer_5_inch": racer_5_inch,
}


def platforms(count: int) -> Quadrotors:
    """`count` quadrotors, the named platforms in turn."""
    rounds = -(-count // len(PLATFORMS))
    return join([make() for make in PLATFORMS.values()] * rounds)[:count]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A set of quadrotors that anyone can draw again."""

    law: Distribution
    seed: int

    def __call__(self, count: int) -> Quadrotors:
        return self.law.sample(count, self.seed)


RAPTOR = Distribution()
"""What the published policy was trained and judged on."""
TRAINING_SEED = 0
"""Teachers and students fly quadrotors drawn from RAPTOR with this seed; no set below has it."""

SETS: dict[str, Callable[[int], Quadrotors]] = {
    "raptor": Drawn(law=RAPTOR, seed=1001),
    "low_torque": Drawn(law=replace(RAPTOR, torque_to_inertia=(40.0, 150.0)), seed=1002),
    "slow_motors": Drawn(law=replace(RAPTOR, rise=(0.07, 0.10), fall=(0.20, 0.30)), seed=1003),
    "heavy": Drawn(law=replace(RAPTOR, mass=(5.0, 10.0)), seed=1004),
    "wind": Drawn(law=replace(RAPTOR, drag=(0.1, 0.5), wind=(2.0, 7.0)), seed=1005),
    "platforms": platforms,
}
"""What a policy is judged on, by name. `raptor` is the training law with another seed; `low_torque`
and `slow_motors` are its corners in which the published policy fails; `heavy` and `wind` lie
outside it (7 m/s is the wind RAPTOR was shown in); `platforms` are not drawn at all."""
