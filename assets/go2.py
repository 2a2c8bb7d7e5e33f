"""Unitree Go2: a quadruped of 15 kg with twelve motors.

Sources of the numbers (facts only; the model file names its own):

[urdf]    unitreerobotics/unitree_ros, robots/go2_description/urdf/go2_description.urdf, d6f13aad.
[gym]     unitreerobotics/unitree_rl_gym, legged_gym/envs/go2/go2_config.py, 25877c7e.
[parkour] ZiwenZhuang/parkour, legged_gym/envs/go2/go2_config.py, 1ffd6d7c; its policies walk on the
          real robot.
[motor]   Unitree's data sheet of the GO-M8010-6, whose 23.7 N·m and 30 rad/s are [urdf]'s for hip
          and thigh.

Gains: Unitree publishes kp 20, kd 0.5 [gym]. With these the robot sinks by 9 cm into its rest pose
(7 cm at kp 25), so that a policy must first learn to stand up. The stiffest published set that is
known to work on the real robot is [parkour]'s; with it the robot sinks by 4 cm.

Dry friction is 0: Isaac Lab's 0.01 for this robot is PhysX's coefficient without a unit, not a
torque, and each joint with dry friction costs MuJoCo one more constraint.
"""

from __future__ import annotations

from tutelage.assets.robot import Gait, Joint, Mirror, Robot

_LEGS = ("FL", "FR", "RL", "RR")
_KP = 40.0  # [parkour]
_KD = 1.0  # [parkour]
_ROTOR = 1.11842e-4  # [urdf] inertia of a rotor link about the axis it turns on [kg·m²]
_GEAR = 6.33  # [motor]
_CALF_GEAR = _GEAR * 45.43 / 23.7  # the calf's linkage, by the ratio of the torques in [urdf]
_HIP_ARMATURE = round(_ROTOR * _GEAR**2, 5)
_CALF_ARMATURE = round(_ROTOR * _CALF_GEAR**2, 5)


def _leg(leg: str) -> tuple[Joint, Joint, Joint]:
    """Rest angles are [gym]'s; limits, torques and speeds [urdf]'s."""
    front = leg.startswith("F")
    return (
        Joint(
            name=f"{leg}_hip_joint", rest=0.1 if leg.endswith("L") else -0.1,
            lower=-1.0472, upper=1.0472, kp=_KP, kd=_KD, effort=23.7, speed=30.1,
            armature=_HIP_ARMATURE,
        ),
        Joint(
            name=f"{leg}_thigh_joint", rest=0.8 if front else 1.0,
            lower=-1.5708 if front else -0.5236, upper=3.4907 if front else 4.5379,
            kp=_KP, kd=_KD, effort=23.7, speed=30.1, armature=_HIP_ARMATURE,
        ),
        Joint(
            name=f"{leg}_calf_joint", rest=-1.5,
            lower=-2.7227, upper=-0.83776, kp=_KP, kd=_KD, effort=45.43, speed=15.70,
            armature=_CALF_ARMATURE,
        ),
    )  # fmt: skip


def go2() -> Robot:
    """Twelve joints, leg by leg: front left, front right, rear left, rear right."""
    other_side = {"FL": "FR", "FR": "FL", "RL": "RR", "RR": "RL"}
    parts = ("hip", "thigh", "calf")
    return Robot(
        name="go2",
        mjcf="go2/go2.xml",
        joints=tuple(joint for leg in _LEGS for joint in _leg(leg)),
        base="base",
        feet=tuple(f"{leg}_foot" for leg in _LEGS),  # origin: centre of the contact sphere
        links=("base", *(f"{leg}_{part}" for leg in _LEGS for part in parts)),
        height=0.324,  # by forward kinematics: the front feet just touch, the rear are 9 mm above
        mass=15.019,  # sum of [urdf]'s links but the rotors; "about 15 kg" in Unitree's data sheet
        gait=Gait(frequency=2.0, offsets=(0.0, 0.5, 0.5, 0.0), duty=0.6, swing_height=0.09),
        mirror=Mirror(
            joints=tuple(f"{other_side[leg]}_{part}_joint" for leg in _LEGS for part in parts),
            signs=(-1.0, 1.0, 1.0) * 4,
            feet=tuple(f"{other_side[leg]}_foot" for leg in _LEGS),
        ),
    )
