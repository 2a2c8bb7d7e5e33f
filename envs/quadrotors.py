"""Quadrotors by their numbers: how they are drawn, and the sets they are judged on.

Rotors are counted front right, back right, back left, front left, seen from above, in a body frame
with x forward, y left, z up. Rotor speed is a fraction 0..1 of its range; a rotor's thrust is a
polynomial of it. The law of the draws and the platforms' figures are RAPTOR's and its simulator's
(rl-tools, commit e43ae4bc: src/foundation_policy/pre_training/sample_dynamics_parameters.cpp and
include/rl_tools/rl/environments/l2f), where nothing else is cited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
GRAVITY = 9.81
"""[m/s²]"""
ROTOR_NAMES = ("front_right", "back_right", "back_left", "front_left")
CORNERS = np.array([[1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
"""Signs of the rotors' places along x and y. (4, 2)"""
SPIN = np.array([-1.0, 1.0, -1.0, 1.0])
"""Signs of the rotors' reaction torques about z. (4,)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quadrotors:
    """N quadrotors, and what disturbs each of them."""

    mass: Array
    """(N,) [kg]"""
    inertia: Array
    """Principal moments about x, y, z. (N, 3) [kg·m²]"""
    curve: Array
    """Thrust of one rotor at speed u: c0 + c1 u + c2 u². (N, 3) [N]"""
    strength: Array
    """Share of that thrust which each rotor delivers; 0.8 is a chipped propeller. (N, 4)"""
    place: Array
    """Where the rotors are, forward and left of the centre of mass. (N, 4, 2) [m]"""
    reaction: Array
    """Reaction torque about z for each newton of thrust, signed. (N, 4) [m]"""
    rise: Array
    """Time constant of a rotor that speeds up. (N,) [s]"""
    fall: Array
    """Time constant of a rotor that slows down. (N,) [s]"""
    drag: Array
    """Force of the air for each m/s of speed through it. (N,) [N·s/m]"""
    wind: Array
    """Velocity of the air, world frame. (N, 3) [m/s]"""
    force_std: Array
    """Spread of the force drawn for each episode, per world axis. (N,) [N]"""

    def __post_init__(self) -> None:
        count = len(self.mass)
        shapes: dict[str, tuple[int, ...]] = {
            "inertia": (3,), "curve": (3,), "strength": (4,), "place": (4, 2), "reaction": (4,),
            "wind": (3,),
        }  # fmt: skip
        for item in fields(self):
            value, shape = getattr(self, item.name), (count, *shapes.get(item.name, ()))
            if value.shape != shape:
                raise ValueError(f"{item.name} of {count} quadrotors is {value.shape}, not {shape}")
        for name in ("mass", "inertia", "rise", "fall"):
            if not (getattr(self, name) > 0).all():
                raise ValueError(f"{name} must be positive: {getattr(self, name)}")

    def __len__(self) -> int:
        return len(self.mass)

    def __getitem__(self, which: slice | NDArray[np.bool_] | NDArray[np.int64]) -> Quadrotors:
        """Some of them, by slice, mask or indices."""
        return Quadrotors(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    @property
    def full_thrust(self) -> Array:
        """One sound rotor at full speed. (N,) [N]"""
        return np.asarray(self.curve.sum(-1))

    @property
    def thrust_to_weight(self) -> Array:
        return np.asarray(4 * self.full_thrust / (self.mass * GRAVITY))

    @property
    def reach(self) -> Array:
        """Mean distance of the rotors from the centre of mass. (N,) [m]"""
        return np.asarray(np.linalg.norm(self.place, axis=-1).mean(-1))

    @property
    def torque_to_inertia(self) -> Array:
        """RAPTOR's agility: one rotor's full thrust at the reach, over the roll inertia. [1/s²]"""
        return np.asarray(self.reach * self.full_thrust / self.inertia[:, 0])

    @property
    def hover(self) -> Array:
        """Rotor speed at which four sound rotors carry the weight. (N,)"""
        c0, c1, c2 = self.curve.T
        load = self.mass * GRAVITY / 4 - c0
        return np.asarray(2 * load / (c1 + np.sqrt(c1**2 + 4 * c2 * load)))


def join(parts: Sequence[Quadrotors]) -> Quadrotors:
    """All of them, one after another."""
    return Quadrotors(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Quadrotors)
        }
    )


CRAZYFLIE_CURVE = np.array([0.00352526, 0.01437313, 0.09223048])
"""[N], l2f parameters/dynamics/crazyflie.h as of l2f 2.0.18"""
CRAZYFLIE_INERTIA = np.array([9.416556729130406e-06, 9.644051701582312e-06, 1.745951732253285e-05])
"""[kg·m²], the same"""
CRAZYFLIE_MASS, CRAZYFLIE_OFFSET = 0.0306, 0.028
"""[kg] with three decks, [m] along each axis, the same"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """A law that quadrotors are drawn from; a pair is the range of a uniform draw.

    One draw fixes size, agility and motors one after the other, starting from a Crazyflie: the
    thrust curve and the ratios of the inertias keep its shape.
    """

    thrust_to_weight: tuple[float, float] = (1.5, 5.0)
    mass: tuple[float, float] = (0.02, 5.0)
    """[kg]; the cube root is what is uniform"""
    torque_to_inertia: tuple[float, float] = (40.0, 1200.0)
    """[1/s²]"""
    torque_constant: tuple[float, float] = (0.005, 0.05)
    """[m]"""
    rise: tuple[float, float] = (0.03, 0.10)
    """[s]"""
    fall: tuple[float, float] = (0.03, 0.30)
    """[s]"""
    size_factor: tuple[float, float] = (-0.1, 0.1)
    """Mean and standard deviation of f; rotors are 1 + f, or 1 / (1 - f) where f < 0, times as far
    out as scaling by the mass would have them. A mean of -0.1 is surely not what was meant (the
    limits of a uniform draw were), but it is what the published policy was trained and judged on"""
    force_share: tuple[float, float] = (0.0, 0.3)
    """Of the thrust left over after hovering; times mass / 3 (without g, as published) it is the
    spread of the disturbance force"""
    drag: tuple[float, float] = (0.0, 0.0)
    """[1/s], for each kilogram"""
    wind: tuple[float, float] = (0.0, 0.0)
    """Speed of a steady wind [m/s]; its heading is uniform"""

    def __post_init__(self) -> None:
        for item in fields(self):
            low, high = getattr(self, item.name)
            if item.name != "size_factor" and not 0 <= low <= high:
                raise ValueError(f"{item.name} must be a range of numbers >= 0, not {low}..{high}")

    def sample(self, count: int, seed: int) -> Quadrotors:
        """`count` quadrotors; those of a smaller count with this seed come first.

        Every quantity has a generator of its own, so that two laws which differ in one range agree
        in everything that does not follow from it.
        """

        def uniform(stream: int, limits: tuple[float, float]) -> Array:
            return np.random.default_rng([seed, stream]).uniform(*limits, count)

        t2w = uniform(0, self.thrust_to_weight)
        mass = uniform(1, (self.mass[0] ** (1 / 3), self.mass[1] ** (1 / 3))) ** 3
        f = np.random.default_rng([seed, 2]).normal(*self.size_factor, count)
        offset = CRAZYFLIE_OFFSET * np.cbrt(mass / CRAZYFLIE_MASS)
        offset = offset * np.where(f < 0, 1 / (1 - f), 1 + f)
        thrust = t2w * mass * GRAVITY / 4
        roll = sqrt(2) * offset * thrust / uniform(3, self.torque_to_inertia)
        heading = uniform(8, (0.0, 2 * np.pi))
        speed = uniform(9, self.wind)
        return Quadrotors(
            mass=mass,
            inertia=roll[:, None] * (CRAZYFLIE_INERTIA / CRAZYFLIE_INERTIA[0]),
            curve=thrust[:, None] * (CRAZYFLIE_CURVE / CRAZYFLIE_CURVE.sum()),
            strength=np.ones((count, 4)),
            place=offset[:, None, None] * CORNERS,
            reaction=np.outer(uniform(4, self.torque_constant), SPIN),
            rise=uniform(5, self.rise),
            fall=uniform(6, self.fall),
            drag=mass * uniform(10, self.drag),
            wind=np.column_stack((speed * np.cos(heading), speed * np.sin(heading), 0 * speed)),
            force_std=uniform(7, self.force_share) * (t2w - 1) * t2w * mass / 3,
        )
