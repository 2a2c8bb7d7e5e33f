"""Terms against numbers worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.contexts import B, context, state
from tutelage.assets.robot import Gait
from tutelage.envs.terms import observations as see
from tutelage.envs.terms import rewards as earn
from tutelage.envs.terms import terminations as end

TROT = Gait(frequency=2.0, offsets=(0.0, 0.5), duty=0.6, swing_height=0.1)


def near(value: Tensor, expected: float) -> bool:
    assert value.shape == (B,)
    return torch.allclose(value.float(), torch.full((B,), expected), atol=1e-6)


def test_tracking_is_one_on_target_and_falls_by_e_one_std_away() -> None:
    moving = context(at=state(lin_vel_b=[1.0, 0.0, 0.0]), command=[1.0, 0.0, 0.0])
    assert near(earn.track_velocity(moving, std=0.5), 1.0)
    slow = context(at=state(lin_vel_b=[0.5, 0.0, 0.0]), command=[1.0, 0.0, 0.0])
    assert near(earn.track_velocity(slow, std=0.5), math.exp(-1))
    turning = context(at=state(ang_vel_b=[0.0, 0.0, 0.5]), command=[0.0, 0.0, 1.0])
    assert near(earn.track_yaw(turning, std=0.25), math.exp(-4))


def test_errors_are_distances_in_the_plane_and_about_the_vertical() -> None:
    c = context(
        at=state(lin_vel_b=[0.6, 0.0, 9.0], ang_vel_b=[9.0, 9.0, -0.5]), command=[0.6, 0.8, 0.25]
    )
    assert near(earn.velocity_error(c), 0.8)
    assert near(earn.yaw_error(c), 0.75)


def test_penalties_of_the_base_are_squares() -> None:
    c = context(at=state(lin_vel_b=[5.0, 5.0, 0.3], ang_vel_b=[1.0, 2.0, 7.0]), base_height=0.25)
    assert near(earn.vertical_velocity(c), 0.09)
    assert near(earn.roll_pitch_rate(c), 5.0)
    assert near(earn.height_error(c, height=0.35), 0.01)


def test_tilt_is_the_squared_sine_of_the_lean() -> None:
    lean = math.radians(30)
    c = context(at=state(gravity_b=[math.sin(lean), 0.0, -math.cos(lean)]))
    assert near(earn.tilt(c), 0.25)


def test_action_rate_and_jerk_are_first_and_second_differences() -> None:
    c = context(action=[3.0, 0.0], last_action=[1.0, 0.0], last_last_action=[0.0, 0.0])
    assert near(earn.action_rate(c), 4.0)
    assert near(earn.action_jerk(c), 1.0)  # 3 - 2*1 + 0


def test_joint_penalties() -> None:
    c = context(
        at=state(joint_pos=[0.5, -0.25], joint_vel=[2.0, -1.0], joint_torque=[3.0, 4.0]),
        last_joint_vel=[0.0, -1.0],
    )
    assert near(earn.pose_deviation(c), 0.75)
    assert near(earn.torque(c), 25.0)
    assert near(earn.power(c), 10.0)
    assert near(earn.joint_acceleration(c), 1e4)  # (2 / 0.02)**2


def test_joint_limits_begin_at_the_stated_share_of_the_range() -> None:
    c = context(at=state(joint_pos=[0.95, -0.85]))
    assert near(earn.joint_limits(c, share=0.9), 0.05)


def test_links_count_once_each_above_the_force() -> None:
    c = context(at=state(link_force=[0.5, 20.0]))
    assert near(earn.link_contact(c, force=1.0), 1.0)


def test_only_feet_on_the_ground_slip() -> None:
    velocity = [[0.3, 0.4, 9.0], [1.0, 0.0, 0.0]]
    c = context(at=state(foot_vel_w=velocity, foot_contact=[True, False]))
    assert near(earn.foot_slip(c), 0.25)


def test_standing_still_costs_only_when_asked_to_stand() -> None:
    bent = state(joint_pos=[0.5, 0.5])
    assert near(earn.stand_still(context(at=bent), stand_below=0.1), 1.0)
    asked = context(at=bent, command=[0.5, 0.0, 0.0])
    assert near(earn.stand_still(asked, stand_below=0.1), 0.0)


def test_the_gait_clock_swings_one_foot_at_a_time() -> None:
    walk = partial(earn.swing, gait=TROT, stand_below=0.1)
    command = [0.5, 0.0, 0.0]
    # phase of foot 0 is 2 t: 0.7 at 0.35 s, when foot 1 is at 0.2; half a cycle later the reverse
    assert walk(context(command=command, time=0.35))[0].tolist() == [True, False]
    assert walk(context(command=command, time=0.60))[0].tolist() == [False, True]
    assert not walk(context(time=0.35)).any()


def test_gait_contact_is_the_share_of_feet_that_obey() -> None:
    c = context(at=state(foot_contact=[False, True]), command=[0.5, 0.0, 0.0], time=0.35)
    assert near(earn.gait_contact(c, gait=TROT, stand_below=0.1), 1.0)
    assert near(earn.gait_contact(context(), gait=TROT, stand_below=0.1), 1.0)
    wrong = context(at=state(foot_contact=[True, False]), command=[0.5, 0.0, 0.0], time=0.35)
    assert near(earn.gait_contact(wrong, gait=TROT, stand_below=0.1), 0.0)


def test_gait_height_is_earned_by_the_swinging_foot_at_its_height() -> None:
    c = context(command=[0.5, 0.0, 0.0], time=0.35, foot_height=[0.1, 0.1])
    assert near(earn.gait_height(c, gait=TROT, stand_below=0.1, std=0.1), 0.5)
    low = context(command=[0.5, 0.0, 0.0], time=0.35)
    assert near(earn.gait_height(low, gait=TROT, stand_below=0.1, std=0.1), 0.5 * math.exp(-1))


def test_the_clock_is_sine_and_cosine_and_stops_when_standing() -> None:
    clock = partial(see.gait_clock, frequency=2.0, stand_below=0.1)
    quarter = clock(context(command=[0.5, 0.0, 0.0], time=0.125))
    torch.testing.assert_close(quarter, torch.tensor([[1.0, 0.0]] * B), atol=1e-6, rtol=0)
    assert not clock(context(time=0.125)).any()


def test_observations_are_what_they_say() -> None:
    c = context(at=state(joint_pos=[0.5, 0.25]), rest=[0.5, 0.5], action=[1.0, 2.0])
    assert see.joint_pos(c)[0].tolist() == [0.0, -0.25]
    assert see.last_action(c)[0].tolist() == [1.0, 2.0]
    scan = see.scan(c, sensor="scan", height=0.3)
    torch.testing.assert_close(scan, torch.zeros(B, 4))


@pytest.mark.parametrize(("degrees", "failed"), [(60, False), (75, True), (180, True)])
def test_tilted_is_an_angle_from_the_vertical(degrees: float, failed: bool) -> None:
    lean = math.radians(degrees)
    c = context(at=state(gravity_b=[0.0, math.sin(lean), -math.cos(lean)]))
    assert end.tilted(c, angle=1.2).tolist() == [failed] * B


def test_low_and_link_hit() -> None:
    c = context(at=state(link_force=[0.0, 9.0]), base_height=0.1)
    assert end.low(c, height=0.15).all()
    assert not end.low(c, height=0.05).any()
    assert end.link_hit(c, links=(1,), force=1.0).all()
    assert not end.link_hit(c, links=(0,), force=1.0).any()
