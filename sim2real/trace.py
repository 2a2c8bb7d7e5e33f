"""What an episode of the check leaves behind: measured quantities over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What happened, once for each control period. T periods, J joints in contract order."""

    time: Floats
    """(T,) [s]"""
    command: Floats
    """(T, 3) vx, vy, wz"""
    velocity: Floats
    """(T, 3) forward, leftward [m/s] and yaw rate [rad/s] of the base, heading frame"""
    joint_pos: Floats
    """(T, J) [rad]"""
    joint_vel: Floats
    """(T, J) [rad/s]"""
    torque: Floats
    """(T, J) delivered in the last physics step [N·m]"""
    target: Floats
    """(T, J) what the policy asked for [rad]"""
    power: Floats
    """(T,) mean positive mechanical power of all motors in the period [W]"""
    contact: Bools
    """(T, F) whether each foot is on the ground"""
    height: Floats
    """(T,) of the base above the ground [m]"""
    tilt: Floats
    """(T,) angle between the base's z axis and the vertical [rad]"""
    push: Bools
    """(T,) whether a push acts"""
    qpos: Floats
    """(T, nq) for drawing"""
    fall: str
    """Why the episode ended early, or ''"""
    mass: float
    """Of the robot with its payload [kg]"""
