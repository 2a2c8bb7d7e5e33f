"""Follow a commanded planar velocity and yaw rate, for any robot with feet and a gait.

The rewards are those that learn fastest on few samples: velocity kernels, a gait clock that says
which foot is to be in the air (as UniLab 1.5 trains its Go2 on CPU MuJoCo in 3.7 million steps, see
`conf/ppo/task/go2_joystick_flat`), and penalties that keep the motion calm. Ranges of randomisation
are those common to published sim-to-real quadrupeds; each says its source.
"""

from __future__ import annotations

from functools import partial

from tutelage.assets.robot import Gait, Robot
from tutelage.envs.sim.protocol import Field, HeightScan
from tutelage.envs.task import Curriculum, Event, Observation, Reward, Task
from tutelage.envs.terms import observations as see
from tutelage.envs.terms import rewards as earn
from tutelage.envs.terms import terminations as end
from tutelage.envs.terms.commands import VelocityCommand
from tutelage.envs.terrain import FLAT, Terrain

STAND_BELOW = 0.1
"""A command smaller than this (norm of vx, vy, wz) asks to stand."""

LATENCY = (0.0, 0.02)
"""Range of the delay of sensor readings, and of commands [s]."""


def velocity(
    robot: Robot,
    terrain: Terrain = FLAT,
    *,
    name: str,
    speed: tuple[float, float, float] = (1.0, 0.6, 1.0),
) -> Task:
    """Track velocities up to `speed` (vx, vy [m/s], wz [rad/s])."""
    if robot.gait is None or not robot.feet:
        raise ValueError(f"robot '{robot.name}' has no feet or no gait; `velocity` needs both")
    rough = bool(terrain.kinds)
    return Task(
        name=name,
        robot=robot,
        terrain=terrain,
        sensors={"scan": HeightScan()} if rough else {},
        proprio=_proprio(robot.gait),
        privileged=_privileged(robot, rough),
        rewards=_rewards(robot, robot.gait, rough),
        terminations={
            "tilted": partial(end.tilted, angle=1.2),
            "low": partial(end.low, height=0.4 * robot.height),
        },
        metrics={"velocity_error": earn.velocity_error, "yaw_error": earn.yaw_error},
        command=partial(VelocityCommand, high=speed, stand_below=STAND_BELOW),
        events=_events(),
        curriculum=Curriculum() if rough else None,
    )


def _proprio(gait: Gait) -> dict[str, Observation]:
    """What an IMU and joint encoders give. Noise as in legged_gym's Go1/Go2 configurations."""
    clock = {"frequency": gait.frequency, "stand_below": STAND_BELOW}
    return {
        "angular_velocity": Observation(
            term=see.angular_velocity, source="angular_velocity", unit="rad/s", frame="base",
            mirror="axial", noise=0.2, delay=LATENCY,
        ),
        "gravity": Observation(
            term=see.gravity, source="gravity", unit="1", frame="base", mirror="vector",
            noise=0.05, bias=0.02, delay=LATENCY,
        ),
        "joint_pos": Observation(
            term=see.joint_pos, source="joint_pos", unit="rad", mirror="joints", noise=0.01,
            bias=0.02, delay=LATENCY,
        ),
        "joint_vel": Observation(
            term=see.joint_vel, source="joint_vel", unit="rad/s", mirror="joints", noise=1.0,
            scale=0.1, delay=LATENCY,
        ),
        "last_action": Observation(
            term=see.last_action, source="last_action", unit="1", mirror="joints"
        ),
        "command": Observation(
            term=see.command, source="command", unit="m/s, rad/s", frame="base", mirror="command"
        ),
        "gait_clock": Observation(
            term=partial(see.gait_clock, frequency=gait.frequency, stand_below=STAND_BELOW),
            source="gait_clock", unit="1", mirror="clock", parameters=clock,
        ),
    }


def _privileged(robot: Robot, rough: bool) -> dict[str, Observation]:
    """What only the simulator knows."""

    def dynamics(field: Field, mirror: str = "none", scale: float = 1.0) -> Observation:
        return Observation(
            term=partial(see.dynamics, field=field), unit="see Field", mirror=mirror, scale=scale
        )

    terms = {
        "linear_velocity": Observation(
            term=see.linear_velocity, unit="m/s", frame="base", mirror="vector"
        ),
        "base_height": Observation(term=see.base_height, unit="m"),
        "foot_height": Observation(term=see.foot_height, unit="m", mirror="feet"),
        "foot_force": Observation(
            term=see.foot_force, unit="N", frame="world", mirror="foot_vectors",
            scale=1.0 / (9.81 * robot.mass), clip=3.0,
        ),
        "friction": dynamics(Field.FRICTION),
        "mass": dynamics(Field.MASS),
        "com": dynamics(Field.COM, "vector", 10.0),
        "kp": dynamics(Field.KP, "joint_factors"),
        "kd": dynamics(Field.KD, "joint_factors"),
        "strength": dynamics(Field.STRENGTH, "joint_factors"),
        "action_delay": dynamics(Field.ACTION_DELAY),
    }
    if rough:
        terms["scan"] = Observation(
            term=partial(see.scan, sensor="scan", height=robot.height), unit="m",
            frame="heading", mirror="heights", scale=5.0, clip=5.0,
        )
    return terms


def _rewards(robot: Robot, gait: Gait, rough: bool) -> dict[str, Reward]:
    contact = partial(earn.gait_contact, gait=gait, stand_below=STAND_BELOW)
    height = partial(earn.gait_height, gait=gait, stand_below=STAND_BELOW)
    return {
        "track": Reward(term=partial(earn.track_velocity, std=0.5), weight=2.5),
        "turn": Reward(term=partial(earn.track_yaw, std=0.5), weight=1.6),
        "contact": Reward(term=contact, weight=1.0),
        "swing": Reward(term=partial(height, std=0.05), weight=4.0),
        "bounce": Reward(term=earn.vertical_velocity, weight=-0.5 if rough else -2.0),
        "sway": Reward(term=earn.roll_pitch_rate, weight=-0.05),
        "tilt": Reward(term=earn.tilt, weight=-0.5 if rough else -2.5),
        "height": Reward(
            term=partial(earn.height_error, height=robot.height), weight=-10.0 if rough else -40.0
        ),
        "pose": Reward(term=earn.pose_deviation, weight=-0.02),
        "still": Reward(term=partial(earn.stand_still, stand_below=STAND_BELOW), weight=-0.2),
        "rate": Reward(term=earn.action_rate, weight=-0.01),
        "torque": Reward(term=earn.torque, weight=-1e-4),
        "acceleration": Reward(term=earn.joint_acceleration, weight=-1e-7),
        "limits": Reward(term=earn.joint_limits, weight=-5.0),
        "slip": Reward(term=earn.foot_slip, weight=-0.1),
        "bump": Reward(term=partial(earn.link_contact, force=1.0), weight=-0.5),
    }


def _events() -> dict[str, Event]:
    """Friction and delay as in CTS (arXiv 2405.10830), the rest as in its open port for Go2."""
    return {
        "friction": Event(field=Field.FRICTION, low=(0.3,), high=(1.3,)),
        "mass": Event(field=Field.MASS, low=(-1.0,), high=(3.0,)),
        "com": Event(field=Field.COM, low=(-0.03,), high=(0.03,)),
        "kp": Event(field=Field.KP, low=(0.9,), high=(1.1,)),
        "kd": Event(field=Field.KD, low=(0.9,), high=(1.1,)),
        "strength": Event(field=Field.STRENGTH, low=(0.9,), high=(1.1,)),
        "action_delay": Event(field=Field.ACTION_DELAY, low=(0.0,), high=(4.0,)),
        "push": Event(
            low=(-0.8, -0.8, -0.2, -0.4, -0.4, -0.4), high=(0.8, 0.8, 0.2, 0.4, 0.4, 0.4),
            every=(4.0, 8.0),
        ),
    }
