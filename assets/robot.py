"""A robot as data: its names and numbers, and nothing that a simulator knows better.

The MJCF file named by `Robot.mjcf` holds bodies, inertias, geometry and joint axes. Everything an
actuator, a task or a deployed policy needs is here: joint order, rest pose, gains, limits. A
backend makes the actuators from these numbers, so the gains that are exported are the gains that
were simulated.

J joints, F feet, K links. SI units; angles in radians; joints in the order of `Robot.joints`,
which is the order of every joint tensor in this package, whatever the backend's own order is.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """One actuated hinge and the motor that drives it."""

    name: str
    rest: float
    """Angle in the rest pose, which is also what a zero action commands [rad]."""
    lower: float
    """Lower position limit [rad]."""
    upper: float
    """Upper position limit [rad]."""
    kp: float
    """Position gain [N·m/rad]."""
    kd: float
    """Velocity gain [N·m·s/rad]."""
    effort: float
    """Largest torque, either way [N·m]."""
    speed: float
    """Largest speed, either way [rad/s]."""
    armature: float = 0.0
    """Rotor inertia reflected to the joint [kg·m²]."""
    friction: float = 0.0
    """Dry friction [N·m]."""
    action_scale: float = 0.25
    """Change of the commanded angle for one unit of action [rad]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gait:
    """The rhythm a legged robot is taught: one clock, one phase offset for each foot."""

    frequency: float
    """Steps of each foot in a second [Hz]."""
    offsets: tuple[float, ...]
    """(F,) phase of each foot, as a fraction of the cycle."""
    duty: float
    """Fraction of the cycle for which a foot is to be on the ground."""
    swing_height: float
    """Height above the ground that the foot's origin is to reach in mid-swing [m]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """Left-right symmetry (reflection in the base's x-z plane), by name."""

    joints: tuple[str, ...]
    """(J,) for each joint, the joint whose value it takes in the mirror."""
    signs: tuple[float, ...]
    """(J,) +1 where the value keeps its sign in the mirror, -1 where it changes."""
    feet: tuple[str, ...]
    """(F,) for each foot, the foot it takes the place of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Robot:
    """A machine in its own names and numbers."""

    name: str
    mjcf: str
    """Path of the model below `assets/mjcf`, or an absolute path for a robot from elsewhere."""
    joints: tuple[Joint, ...]
    base: str
    """Name of the root body; it carries the IMU, and has a free joint unless `fixed`."""
    feet: tuple[str, ...] = ()
    """Names of the bodies that may touch the ground. The body's origin is the contact point."""
    links: tuple[str, ...] = ()
    """Names of the bodies that should not touch anything."""
    height: float
    """Height of the base's origin above flat ground, standing in the rest pose [m]."""
    mass: float
    """Published total mass [kg]."""
    gait: Gait | None = None
    mirror: Mirror | None = None
    fixed: bool = False
    """True for a robot bolted to the world (a manipulator)."""

    def __post_init__(self) -> None:
        names = [joint.name for joint in self.joints]
        if len(set(names)) != len(names):
            raise ValueError(f"robot '{self.name}' names a joint twice: {names}")
        for joint in self.joints:
            if not joint.lower <= joint.rest <= joint.upper:
                raise ValueError(
                    f"robot '{self.name}', joint '{joint.name}': rest {joint.rest} rad is outside "
                    f"its limits [{joint.lower}, {joint.upper}]"
                )
            if joint.kp < 0 or joint.kd < 0 or joint.effort <= 0 or joint.speed <= 0:
                raise ValueError(
                    f"robot '{self.name}', joint '{joint.name}': gains must not be negative and "
                    f"limits must be positive: {joint}"
                )
        if self.gait and len(self.gait.offsets) != len(self.feet):
            raise ValueError(
                f"robot '{self.name}': {len(self.gait.offsets)} gait offsets for "
                f"{len(self.feet)} feet {self.feet}"
            )
        if self.mirror:
            self._check_mirror(self.mirror, names)

    def _check_mirror(self, mirror: Mirror, names: list[str]) -> None:
        if sorted(mirror.joints) != sorted(names) or len(mirror.signs) != len(names):
            raise ValueError(f"robot '{self.name}': the mirror must name every joint once: {names}")
        if sorted(mirror.feet) != sorted(self.feet):
            raise ValueError(f"robot '{self.name}': the mirror must name every foot: {self.feet}")

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def path(self) -> Path:
        """The MJCF file on disk."""
        path = Path(self.mjcf)
        if not path.is_absolute():
            path = Path(str(files("tutelage.assets").joinpath("mjcf", self.mjcf)))
        if not path.is_file():
            raise FileNotFoundError(f"robot '{self.name}': no MJCF at {path}")
        return path
