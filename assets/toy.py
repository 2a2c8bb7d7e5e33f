"""A toy that crawls on two paddles: two joints, 1.2 kg, our own design.

It exists to try things on: a whole pipeline in a minute, by someone who brings their own robot.
Every number is ours. The gains make a hinge of 0.002 kg·m² settle in a tenth of a second without
overshoot worth the name: kp / armature = (39 rad/s)², damping ratio kd / (2 √(kp·armature)) = 0.65.
"""

from __future__ import annotations

from tutelage.assets.robot import Gait, Joint, Mirror, Robot


def _arm(side: str) -> Joint:
    return Joint(
        name=f"{side}_arm_joint", rest=0.0, lower=-1.4, upper=1.4, kp=3.0, kd=0.1, effort=1.0,
        speed=20.0, armature=0.002, action_scale=0.5,
    )  # fmt: skip


def toy() -> Robot:
    """Two joints: the left paddle, the right paddle."""
    return Robot(
        name="toy",
        mjcf="toy/toy.xml",
        joints=(_arm("left"), _arm("right")),
        base="base",
        feet=("left_foot", "right_foot"),  # origin: centre of the contact sphere
        links=("base",),
        height=0.08,
        mass=1.2,
        gait=Gait(frequency=2.0, offsets=(0.0, 0.5), duty=0.6, swing_height=0.015),
        mirror=Mirror(
            joints=("right_arm_joint", "left_arm_joint"),
            signs=(1.0, 1.0),
            feet=("right_foot", "left_foot"),
        ),
    )
