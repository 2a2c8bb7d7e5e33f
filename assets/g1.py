"""Unitree G1: a humanoid of 33 kg with 29 motors.

Sources of the numbers (facts only; the model file names its own):

[urdf]    unitreerobotics/unitree_ros, robots/g1_description/g1_29dof_rev_1_0.urdf, d6f13aad.
[mjlab]   mujocolab/mjlab, asset_zoo/robots/unitree_g1/g1_constants.py, 0234b2e9: rotor and gear
          inertias ("from Unitree"), the pose with bent knees, and the rule for the action's scale.
[lerobot] huggingface/lerobot, robots/unitree_g1/config_unitree_g1.py: gains used on the real robot.

Gains are [lerobot]'s, but for the ankles. With 33 kg at 0.63 m above them, gravity tips the robot
with m g h = 207 N·m/rad. Two ankles of 40 ([lerobot], Unitree) or 28.5 N·m/rad ([mjlab]) cannot
hold that: such a robot falls over within two seconds unless a policy balances it. 200 N·m/rad an
ankle is twice what gravity asks for, which leaves room for what the knees and hips give way.
A policy meant for the real robot should be trained with the ankles that robot will be run with.
"""

from __future__ import annotations

from tutelage.assets.robot import Gait, Joint, Mirror, Robot


def _reflected(inertias: tuple[float, float, float], ratios: tuple[float, float]) -> float:
    """Inertia at the joint of a rotor behind two gears, each part at its own speed [kg·m²]."""
    rotor, first, second = inertias
    return rotor * (ratios[0] * ratios[1]) ** 2 + first * ratios[1] ** 2 + second


# Motor: (effort, speed, armature). Effort [N·m] and speed [rad/s] are [urdf]'s, inertias [kg·m²]
# and gear ratios [mjlab]'s. A pair of 5020 motors moves ankle and waist through a linkage, which
# [mjlab] takes as 1:1.
_ARMATURE_5020 = _reflected((0.139e-4, 0.017e-4, 0.169e-4), (1 + 46 / 18, 1 + 56 / 16))
_5020 = (25.0, 37.0, _ARMATURE_5020)
_7520_14 = (88.0, 32.0, _reflected((0.489e-4, 0.098e-4, 0.533e-4), (4.5, 1 + 48 / 22)))
_7520_22 = (139.0, 20.0, _reflected((0.489e-4, 0.109e-4, 0.738e-4), (4.5, 5.0)))
_4010 = (5.0, 22.0, _reflected((0.068e-4, 0.0, 0.0), (5.0, 5.0)))
_PAIR = (35.0, 30.0, 2 * _ARMATURE_5020)

_Motor = tuple[float, float, float]
_Row = tuple[str, float, float, float, float, float, _Motor]

# name, rest [mjlab], lower and upper limit [urdf], kp and kd [lerobot], motor; those of the left.
_LEG: tuple[_Row, ...] = (
    ("hip_pitch", -0.312, -2.5307, 2.8798, 150.0, 2.0, _7520_14),
    ("hip_roll", 0.0, -0.5236, 2.9671, 150.0, 2.0, _7520_22),
    ("hip_yaw", 0.0, -2.7576, 2.7576, 150.0, 2.0, _7520_14),
    ("knee", 0.669, -0.087267, 2.8798, 300.0, 4.0, _7520_22),
    ("ankle_pitch", -0.363, -0.87267, 0.5236, 200.0, 10.0, _PAIR),  # kp, kd: see above
    ("ankle_roll", 0.0, -0.2618, 0.2618, 200.0, 10.0, _PAIR),
)
_WAIST: tuple[_Row, ...] = (
    ("waist_yaw", 0.0, -2.618, 2.618, 250.0, 5.0, _7520_14),
    ("waist_roll", 0.0, -0.52, 0.52, 250.0, 5.0, _PAIR),
    ("waist_pitch", 0.0, -0.52, 0.52, 250.0, 5.0, _PAIR),
)
_ARM: tuple[_Row, ...] = (
    ("shoulder_pitch", 0.2, -3.0892, 2.6704, 80.0, 3.0, _5020),
    ("shoulder_roll", 0.2, -1.5882, 2.2515, 80.0, 3.0, _5020),
    ("shoulder_yaw", 0.0, -2.618, 2.618, 80.0, 3.0, _5020),
    ("elbow", 0.6, -1.0472, 2.0944, 80.0, 3.0, _5020),
    ("wrist_roll", 0.0, -1.972222, 1.972222, 40.0, 1.5, _5020),
    ("wrist_pitch", 0.0, -1.61443, 1.61443, 40.0, 1.5, _4010),
    ("wrist_yaw", 0.0, -1.61443, 1.61443, 40.0, 1.5, _4010),
)


def _sign(name: str) -> float:
    """Pitch, knee and elbow turn about y and keep their sign in the mirror; roll and yaw do not."""
    return -1.0 if name.endswith(("_roll", "_yaw")) else 1.0


def _joint(row: _Row, side: str = "") -> Joint:
    name, rest, lower, upper, kp, kd, (effort, speed, armature) = row
    if side == "right_" and _sign(name) < 0:
        rest, lower, upper = -rest, -upper, -lower
    return Joint(
        name=f"{side}{name}_joint", rest=rest, lower=lower, upper=upper, kp=kp, kd=kd,
        effort=effort, speed=speed, armature=round(armature, 6),
        action_scale=round(0.25 * effort / kp, 3),  # [mjlab]: a quarter of the torque for one unit
    )  # fmt: skip


def _mirrored(name: str) -> str:
    """The joint, link or foot of the other side; itself in the middle."""
    if name.startswith("left_"):
        return name.replace("left_", "right_", 1)
    return name.replace("right_", "left_", 1)


def g1() -> Robot:
    """29 joints in Unitree's motor order: left leg, right leg, waist, left arm, right arm."""
    joints = (
        *(_joint(row, "left_") for row in _LEG),
        *(_joint(row, "right_") for row in _LEG),
        *(_joint(row) for row in _WAIST),
        *(_joint(row, "left_") for row in _ARM),
        *(_joint(row, "right_") for row in _ARM),
    )
    feet = ("left_ankle_roll_link", "right_ankle_roll_link")
    parts = ("hip_yaw", "knee", "shoulder_yaw", "elbow", "wrist_yaw")
    return Robot(
        name="g1",
        mjcf="g1/g1.xml",
        joints=joints,
        base="pelvis",
        feet=feet,  # origin: the ankle's axis, 35 mm above the sole
        links=(
            "pelvis", "torso_link",
            *(f"{side}_{part}_link" for side in ("left", "right") for part in parts),
        ),
        height=0.757,  # by forward kinematics: the soles just touch
        mass=33.341,  # sum of [urdf]'s links
        gait=Gait(frequency=1.25, offsets=(0.0, 0.5), duty=0.6, swing_height=0.08),
        mirror=Mirror(
            joints=tuple(_mirrored(joint.name) for joint in joints),
            signs=tuple(_sign(joint.name.removesuffix("_joint")) for joint in joints),
            feet=tuple(_mirrored(foot) for foot in feet),
        ),
    )  # fmt: skip
