"""What must hold of every task there is, on physics: a registry is as good as its worst entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.little import tensors
from tutelage import envs
from tutelage.assets import ROBOTS
from tutelage.envs.env import Env
from tutelage.envs.state import Context
from tutelage.envs.task import Observation, Task
from tutelage.envs.tasks.velocity import velocity
from tutelage.envs.terms import observations as see
from tutelage.envs.terrain import Terrain
from tutelage.sim2real.contract import SOURCES

COUNT = 4
every_task = pytest.mark.parametrize("name", envs.TASKS)


@cache
def task(name: str) -> Task:
    """The task, on ground that is made in a moment."""
    made = envs.TASKS[name]()
    if made.terrain.kinds:
        small = Terrain(kinds=made.terrain.kinds, rows=2, columns=len(made.terrain.kinds), border=4)
        made = replace(made, terrain=small)
    return made


def make(name: str, seed: int = 0) -> Env:
    return envs.build(task(name), num_envs=COUNT, seed=seed, history=2)


def steps(env: Env, count: int, seed: int = 3) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Reward and observations for random actions."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        action = torch.randn(COUNT, env.num_actions, generator=generator)
        obs, reward, _, _ = env.step(action)
        yield reward, tensors(obs)


@every_task
def test_it_steps_and_everything_stays_finite(name: str) -> None:
    env = make(name)
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        action = torch.randn(COUNT, env.num_actions, generator=generator)
        obs, reward, done, extras = env.step(action)
        assert reward.shape == done.shape == (COUNT,)
        assert reward.dtype == torch.float32
        assert done.dtype == extras["time_outs"].dtype == extras["valid"].dtype == torch.bool
        assert all(value.isfinite().all() for value in obs.values())
        assert all(value.dtype == torch.float32 for value in obs.values())
        assert reward.isfinite().all()
        assert all(value.isfinite() and value.dim() == 0 for value in extras["log"].values())
        assert extras["valid"].all()


@every_task
def test_groups_have_the_sizes_they_say(name: str) -> None:
    env = make(name)
    obs = env.get_observations()
    sizes = {key: value.shape[1] for key, value in obs.items()}
    proprio, privileged = sum(env.proprio.sizes.values()), sum(env.privileged.sizes.values())
    assert sizes == {
        "proprio": proprio, "privileged": privileged, "critic": proprio + privileged,
        "history": 2 * proprio,
    }
    assert env.num_actions == len(env.task.robot.joints)


@every_task
def test_every_term_returns_one_row_for_each_environment(name: str) -> None:
    env = make(name)
    context = env.context()
    singles = {key: reward.term for key, reward in env.task.rewards.items()}
    for key, term in (singles | dict(env.task.metrics)).items():
        assert term(context).shape == (COUNT,), key
    for key, term in env.task.terminations.items():
        failed = term(context)
        assert (failed.shape, failed.dtype) == ((COUNT,), torch.bool), key
    for key, seen in {**env.task.proprio, **env.task.privileged}.items():
        assert seen.term(context).shape[0] == COUNT, key


@every_task
def test_the_student_sees_only_what_the_robot_senses(name: str) -> None:
    for key, term in task(name).proprio.items():
        assert not term.privileged, key
        assert term.source in SOURCES, key
    for key, term in task(name).privileged.items():
        assert term.privileged, key


@every_task
def test_the_critic_is_never_corrupted(name: str) -> None:
    env = make(name)
    for _ in steps(env, 3):
        context, obs = env.context(), env.get_observations()
        clean = [
            term.term(context) * term.scale
            for term in (*env.task.proprio.values(), *env.task.privileged.values())
        ]
        clips = [
            float("inf") if term.clip is None else term.clip
            for term in (*env.task.proprio.values(), *env.task.privileged.values())
        ]
        expected = [value.clamp(-clip, clip) for value, clip in zip(clean, clips, strict=True)]
        assert torch.equal(obs["critic"], torch.cat(expected, dim=-1))
        assert not torch.equal(obs["proprio"], obs["critic"][:, : env.proprio.size])


@every_task
def test_the_same_seed_plays_the_same(name: str) -> None:
    one, two = steps(make(name, seed=5), 4), steps(make(name, seed=5), 4)
    for (reward, obs), (reward2, obs2) in zip(one, two, strict=True):
        assert torch.equal(reward, reward2)
        assert all(torch.equal(obs[key], obs2[key]) for key in obs)


@every_task
def test_another_seed_plays_another_game(name: str) -> None:
    one, two = steps(make(name, seed=5), 2), steps(make(name, seed=6), 2)
    for (_, obs), (_, obs2) in zip(one, two, strict=True):
        assert not torch.equal(obs["proprio"], obs2["proprio"])
        assert not torch.equal(obs["privileged"], obs2["privileged"])


@every_task
def test_a_task_made_twice_is_the_same_and_shares_no_memory(name: str) -> None:
    one, two = envs.TASKS[name](), envs.TASKS[name]()
    assert one.name == two.name == name
    assert list(one.rewards) == list(two.rewards)
    assert [r.weight for r in one.rewards.values()] == [r.weight for r in two.rewards.values()]
    assert one.robot == two.robot
    assert one.decimation * one.physics_dt == pytest.approx(one.control_dt)


# ---------------------------------------------------------------- the registry itself


def test_an_unknown_task_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="unknown task 'go3-flat'") as refused:
        envs.make("go3-flat")
    assert all(name in str(refused.value) for name in envs.TASKS)


def test_an_unknown_simulator_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"unknown simulator 'bullet'; known are .*mujoco_cpu"):
        envs.make("toy-flat", sim="bullet")


def test_no_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1, not 0"):
        envs.make("toy-flat", num_envs=0)


def test_make_builds_what_its_name_says() -> None:
    env = envs.make("toy-flat", num_envs=2, seed=7, history=3)
    assert env.cfg == {"task": "toy-flat", "seed": 7, "num_envs": 2}
    assert env.num_envs == 2
    assert env.seed == 7
    assert env.max_episode_length == 1000  # 20 s in steps of 0.02 s
    assert env.get_observations()["history"].shape == (2, 3 * env.proprio.size)


def test_known_tasks_are_ours_and_those_of_installed_packages() -> None:
    assert set(envs.TASKS) <= set(envs.known_tasks())


def test_velocity_needs_feet_and_a_gait() -> None:
    toy = ROBOTS["toy"]()
    for robot in (replace(toy, gait=None), replace(toy, feet=(), gait=None, mirror=None)):
        with pytest.raises(ValueError, match="robot 'toy' has no feet or no gait"):
            velocity(robot, name="toy-flat")


def test_a_leak_into_a_task_of_ours_is_refused() -> None:
    def hidden(c: Context) -> Tensor:
        return c.state.lin_vel_b

    leaks = {
        "speed": Observation(term=hidden, unit="m/s"),
        "height": Observation(term=see.base_height, unit="m"),
    }
    with pytest.raises(ValueError, match=r"'toy-flat'.*\['speed', 'height'\]"):
        replace(task("toy-flat"), proprio={**task("toy-flat").proprio, **leaks})
