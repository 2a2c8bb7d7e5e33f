"""Tasks as gymnasium environments."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import tutelage.envs.gym as ours
from tutelage.envs import TASKS


def made(**kwargs: object) -> ours.Vector:
    env = gymnasium.make_vec("Tutelage/toy-flat-v0", **kwargs)  # type: ignore[arg-type]
    assert isinstance(env, ours.Vector)
    return env


def test_every_task_is_registered() -> None:
    assert {f"Tutelage/{task}-v0" for task in TASKS} <= set(gymnasium.registry)


def test_observations_and_actions_are_what_their_spaces_say() -> None:
    env = made(num_envs=3)
    obs, _ = env.reset(seed=1)
    assert env.observation_space.contains(obs)
    assert env.action_space.shape == (3, 2)
    obs, rewards, terminated, truncated, infos = env.step(np.zeros((3, 2), np.float32))
    assert env.observation_space.contains(obs)
    assert rewards.shape == (3,)
    assert (terminated.dtype.kind, truncated.dtype.kind) == ("b", "b")
    assert infos["valid"].tolist() == [True, True, True]
    env.close()


def test_a_seed_gives_the_same_episode_again() -> None:
    env = made(num_envs=2)
    actions = np.full((2, 2), 0.3, np.float32)
    seen = []
    for seed in (5, 5, 6):
        obs, _ = env.reset(seed=seed)
        for _ in range(5):
            obs, *_ = env.step(actions)
        seen.append(obs["proprio"])
    np.testing.assert_array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])
    env.close()


def test_an_episode_whose_time_is_up_is_truncated_and_not_terminated() -> None:
    env = made(num_envs=2)
    env.reset(seed=0)
    env.env.episode_length_buf = env.env.episode_length_buf + env.env.max_episode_length - 2
    first = env.step(np.zeros((2, 2), np.float32))
    assert not first[3].any()
    second = env.step(np.zeros((2, 2), np.float32))
    assert second[3].all()
    assert not second[2].any()
    env.close()


def test_what_reset_does_not_know_is_refused() -> None:
    env = made(num_envs=2)
    with pytest.raises(ValueError, match="no options are known here; got \\['slope'\\]"):
        env.reset(options={"slope": 1})
    with pytest.raises(ValueError, match="one seed serves all environments"):
        env.reset(seed=[1, 2])
    env.close()


def test_a_single_environment_has_no_batch() -> None:
    env = gymnasium.make("Tutelage/toy-flat-v0", history=3)
    obs, _ = env.reset(seed=2)
    size = obs["proprio"].shape[0]
    assert obs["history"].shape == (3 * size,)
    obs, reward, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
    assert isinstance(reward, float)
    assert (terminated, truncated) == (False, False)
    env.close()
