"""The control step: its order, its numbers, its groups, and what is refused before it begins."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fake import FakeSim
from tests.little import DT, B, actions, after, asked, fake, little, only, ride, tensors, time
from tutelage.envs.env import Env
from tutelage.envs.sim.protocol import Field, HeightScan, Scene
from tutelage.envs.state import Context
from tutelage.envs.task import Event, Observation, Reward
from tutelage.envs.terms import observations as see
from tutelage.envs.terms import rewards as earn


def columns(env: Env, group: str, name: str) -> Tensor:
    """The columns of one term, where the group's terms are those of "proprio"."""
    terms = list(env.proprio.sizes)
    start = sum(env.proprio.sizes[term] for term in terms[: terms.index(name)])
    values = tensors(env.get_observations())[group]
    return values[:, start : start + env.proprio.sizes[name]]


def near(value: Tensor, expected: float | list[float]) -> bool:
    return torch.allclose(value, torch.tensor(expected).expand(value.shape), atol=1e-6)


# ---------------------------------------------------------------- order


def test_rewards_use_the_command_that_was_in_force_and_observations_show_the_next() -> None:
    env = ride(little())
    for step in range(3):
        assert near(columns(env, "proprio", "command"), [step, 0.0, 0.0])
        _, reward, _, _ = env.step(actions(0.0))
        assert near(reward, float(step))


def test_an_action_is_scaled_about_the_rest_pose() -> None:
    robot = little().robot
    bent = replace(robot, joints=tuple(replace(joint, rest=0.25) for joint in robot.joints))
    env = ride(little(robot=bent))
    env.step(actions(1.0, -2.0))
    assert near(env.sim.state.joint_pos, [0.25 + 0.5, 0.25 - 1.0])
    assert near(columns(env, "proprio", "joint_pos"), [0.5, -1.0])


def test_an_action_is_clipped_before_anything_sees_it() -> None:
    env = ride(little(action_clip=2.0))
    env.step(actions(9.0, -9.0))
    assert near(env.sim.state.joint_pos, [1.0, -1.0])
    assert near(columns(env, "proprio", "last_action"), [2.0, -2.0])


def test_terms_see_this_action_and_the_two_before() -> None:
    seen: list[Context] = []

    def look(c: Context) -> Tensor:
        seen.append(c)
        return c.time

    env = ride(little(rewards={"look": Reward(term=look, weight=1.0)}))
    for action in (1.0, 2.0, 3.0):
        env.step(actions(action))
    c = seen[-1]
    assert [a[0, 0].item() for a in (c.action, c.last_action, c.last_last_action)] == [3, 2, 1]
    assert near(c.target[:, 0], 1.5)
    assert near(c.time, 3 * DT)
    # 0.5 rad in one physics step of 5 ms, in the first of four; at rest after it
    assert near(c.last_joint_vel, 0.0)


def test_observations_are_those_after_the_reset() -> None:
    env = ride(little(episode=3 * DT))
    for _ in range(2):
        _, _, done, _ = env.step(actions(1.0))
        assert not done.any()
    assert near(columns(env, "proprio", "joint_pos"), [0.5, 0.0])
    assert near(env.get_observations()["privileged"], 2 * DT)
    obs, _, done, _ = env.step(actions(1.0))
    assert done.all()
    assert near(obs["proprio"], 0.0)  # joints at rest, no last action, a new command
    assert near(obs["privileged"], 0.0)


def test_an_episode_that_is_long_enough_times_out_and_does_not_fail() -> None:
    env = ride(little(episode=5 * DT))
    assert env.max_episode_length == 5
    for step in range(1, 11):
        _, _, done, extras = env.step(actions(0.0))
        assert done.all() == (step % 5 == 0)
        assert torch.equal(extras["time_outs"], done)


def test_a_failure_in_the_last_step_is_not_a_time_out() -> None:
    def first(c: Context) -> Tensor:
        return (c.time > 4.5 * DT) & only(0)

    env = ride(little(episode=5 * DT, terminations={"first": first}))
    _, _, done, extras = after(env, 5, actions(0.0))
    assert done.all()
    assert extras["time_outs"].tolist() == [False, True, True]
    assert extras["valid"].all()
    assert extras["log"]["Episode_Termination/first"] == pytest.approx(1 / 3)


def test_an_environment_that_fails_begins_anew_alone() -> None:
    env = ride(little(terminations={"far": lambda c: c.state.joint_pos[:, 0] > 0.9}))
    moved = actions(1.0)
    moved[1] = 2.0
    obs, _, done, _ = env.step(moved)
    assert done.tolist() == [False, True, False]
    assert near(obs["proprio"][1], 0.0)
    assert obs["proprio"][0].tolist() == [0.5, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]
    assert env.episode_length_buf.tolist() == [1, 0, 1]


def test_the_gait_clock_starts_at_zero_in_every_episode() -> None:
    clock = partial(see.gait_clock, frequency=2.0, stand_below=-1.0)
    shown = Observation(term=clock, unit="1", source="gait_clock")
    env = ride(little(proprio={"clock": shown}, episode=2 * DT))
    angle = 2 * math.pi * 2.0 * DT
    for _ in range(2):
        assert near(env.get_observations()["proprio"], [0.0, 1.0])
        env.step(actions(0.0))
        assert near(env.get_observations()["proprio"], [math.sin(angle), math.cos(angle)])
        env.step(actions(0.0))


def test_the_start_of_an_episode_is_drawn_around_the_rest_pose_and_within_limits() -> None:
    robot = little().robot
    tight = replace(robot, joints=tuple(replace(joint, upper=0.05) for joint in robot.joints))
    env = ride(little(robot=tight, reset_noise=0.1), num_envs=200)
    joints = env.sim.state.joint_pos
    assert joints.min() >= -0.1
    assert joints.min() < -0.09
    assert near(joints.max(), 0.05)


def test_reset_begins_new_episodes_everywhere() -> None:
    env = ride(little())
    env.step(actions(1.0))
    obs, _ = env.reset()
    assert near(obs["proprio"], 0.0)
    assert not env.episode_length_buf.any()


# ---------------------------------------------------------------- groups


def joints(**changes: Any) -> dict[str, Observation]:
    return {"joint_pos": Observation(term=see.joint_pos, unit="rad", source="joint_pos", **changes)}


def test_the_critic_sees_both_groups_clean_and_the_actor_sees_noise() -> None:
    env = ride(little(proprio=joints(noise=0.5, bias=0.3)))
    obs, _, _, _ = env.step(actions(1.0))
    assert near(obs["critic"], [0.5, 0.0, DT])
    noise = obs["proprio"] - obs["critic"][:, :2]
    assert (noise.abs() <= 0.8).all()
    assert len(noise.unique()) == noise.numel()  # drawn for each environment and column
    again = env.step(actions(1.0))[0]
    assert not (again["proprio"] == obs["proprio"]).any()
    assert near(again["critic"], [0.5, 0.0, 2 * DT])


def test_a_delay_of_one_control_step_reaches_the_actor_and_not_the_critic() -> None:
    env = ride(little(proprio=joints(delay=(DT, DT))))
    seen = []
    for action in (1.0, 2.0, 3.0):
        obs, _, _, _ = env.step(actions(action))
        seen.append((obs["proprio"][0, 0].item(), obs["critic"][0, 0].item()))
    assert seen == [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)]


def test_history_holds_the_last_frames_and_the_first_one_at_reset() -> None:
    env = ride(little(proprio=joints(), episode=4 * DT), history=3)
    assert env.get_observations()["history"].shape == (B, 6)
    for action in (1.0, 2.0, 3.0):
        obs, _, _, _ = env.step(actions(action))
    assert obs["history"][0].tolist() == [0.5, 0.0, 1.0, 0.0, 1.5, 0.0]
    obs, _, done, _ = env.step(actions(4.0))
    assert done.all()
    assert near(obs["history"], 0.0)
    assert "history" not in ride(little()).get_observations().keys()  # noqa: SIM118 (TensorDict)


def test_a_term_with_memory_starts_clean_and_forgets_with_its_environment() -> None:
    class Steps:
        """Control steps seen since the episode began."""

        def __init__(self) -> None:
            self.count = torch.zeros(B)

        def __call__(self, c: Context) -> Tensor:
            self.count = self.count + 1
            return self.count

        def reset(self, mask: Tensor) -> None:
            self.count = torch.where(mask, 0.0, self.count)

        def snapshot(self) -> dict[str, Tensor]:
            return {"count": self.count}

        def restore(self, snapshot: Any) -> None:
            self.count = snapshot["count"].clone()

    task = little(episode=2 * DT, rewards={"steps": Reward(term=Steps(), weight=1 / DT)})
    env = ride(task)
    assert [env.step(actions(0.0))[1][0].item() for _ in range(4)] == [1.0, 2.0, 1.0, 2.0]
    env.step(actions(0.0))
    saved = env.snapshot()
    assert env.step(actions(0.0))[1][0] == 2.0
    env.restore(saved)
    assert env.step(actions(0.0))[1][0] == 2.0


# ---------------------------------------------------------------- rewards and log


def test_a_reward_is_its_weight_for_each_second() -> None:
    two = {
        "asked": Reward(term=asked, weight=3.0),
        "pose": Reward(term=earn.pose_deviation, weight=-0.5),
    }
    env = ride(little(rewards=two))
    env.step(actions(0.0))
    _, reward, _, _ = env.step(actions(1.0))
    assert near(reward, (3.0 * 1.0 - 0.5 * 0.5) * DT)


def test_the_log_has_every_key_in_every_step_and_keeps_the_last_episode() -> None:
    env = ride(little(terminations={"far": lambda c: c.state.joint_pos[:, 0] > 0.9}))
    keys = {
        "Episode_Reward/asked", "Metrics/velocity_error", "Episode_Termination/far",
        "Health/invalid", "Health/simulation_errors",
    }
    for _ in range(3):
        log = env.step(actions(0.0))[3]["log"]
        assert set(log) == keys
        assert log["Episode_Reward/asked"] == 0.0  # no episode has ended
    fall = actions(0.0)
    fall[1, 0] = 2.0
    log = env.step(fall)[3]["log"]
    assert set(log) == keys
    # one of three environments earned 0 + 1 + 2 + 3 in an episode of at most 1 s
    assert log["Episode_Reward/asked"] == pytest.approx(6.0 / 3)
    assert log["Episode_Termination/far"] == pytest.approx(1 / 3)
    # commanded 3 m/s: two stand, one moves at 1 m/s
    assert log["Metrics/velocity_error"] == pytest.approx((3 + 2 + 3) / 3)
    log = env.step(actions(0.0))[3]["log"]
    assert log["Episode_Reward/asked"] == pytest.approx(6.0 / 3)
    assert log["Episode_Termination/far"] == 0.0


# ---------------------------------------------------------------- refusals


def test_a_student_that_would_see_what_no_robot_senses_is_refused() -> None:
    hidden = Observation(term=see.linear_velocity, unit="m/s")
    with pytest.raises(ValueError, match=r"'little'.*\['speed'\] have no source"):
        little(proprio={"speed": hidden})


def test_a_control_period_that_is_not_whole_physics_periods_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.02 s is not a whole number of .* 0\.003 s"):
        little(physics_dt=0.003)
    assert little(physics_dt=0.002).decimation == 10


def test_what_a_simulator_cannot_do_is_named_with_what_it_can() -> None:
    class Plain(FakeSim):
        @property
        def supports(self) -> frozenset[str]:
            return frozenset({"friction", "mass"})

    task = little(
        events={
            "mass": Event(field=Field.MASS, low=(0.0,), high=(1.0,)),
            "gains": Event(field=Field.KP, low=(0.9,), high=(1.1,)),
        },
        sensors={"scan": HeightScan()},
    )
    sim = Plain(Scene(robot=task.robot), B)
    with pytest.raises(ValueError, match=r"'little' needs \['HeightScan', 'kp'\].*Plain") as no:
        Env(task, sim)
    assert "['friction', 'mass']" in str(no.value)


def test_a_privileged_term_of_what_no_event_draws_is_refused() -> None:
    term = partial(see.dynamics, field=Field.MASS)
    with pytest.raises(KeyError, match=r"no event draws 'mass'.*\['kp'\]"):
        ride(
            little(
                privileged={"mass": Observation(term=term, unit="kg")},
                events={"gains": Event(field=Field.KP, low=(0.9,), high=(1.1,))},
            )
        )


@pytest.mark.parametrize("kind", ["rewards", "terminations", "metrics"])
def test_a_term_that_would_spread_over_all_environments_is_refused(kind: str) -> None:
    def wide(c: Context) -> Tensor:
        return c.command[:, :1] > 0

    terms: dict[str, Any] = {"wide": Reward(term=wide, weight=1.0) if kind == "rewards" else wide}
    with pytest.raises(ValueError, match=rf"{kind[:-1]} 'wide' returned shape \(3, 1\)"):
        ride(little(**{kind: terms}))


def test_a_termination_must_say_yes_or_no() -> None:
    with pytest.raises(ValueError, match=r"'late' returned torch\.float32"):
        ride(little(terminations={"late": lambda c: c.time}))


def test_an_observation_must_have_columns() -> None:
    with pytest.raises(ValueError, match=r"'t' returned shape \(3,\); it must be \(B, n\)"):
        ride(little(privileged={"t": Observation(term=lambda c: c.time, unit="s")}))
    assert ride(little(privileged={"t": Observation(term=time, unit="s")})).privileged.size == 1


def test_a_history_of_no_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="history must be at least 1 frame, not 0"):
        ride(little(), history=0)


def test_a_robot_without_a_mirror_says_so() -> None:
    env = ride(little(robot=replace(little().robot, mirror=None)))
    with pytest.raises(ValueError, match="robot 'toy' has no mirror"):
        env.mirror(None, actions(1.0))


def test_closing_closes_the_simulator() -> None:
    env = ride(little())
    env.close()
    assert fake(env)._now == {}
