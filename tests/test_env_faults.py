"""Bad numbers: those of physics stay in their environment, those of a term or a policy surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.little import DT, B, actions, fake, little, only, ride, tensors
from tutelage import envs
from tutelage.envs.env import Env
from tutelage.envs.state import Context
from tutelage.envs.task import Reward, Task
from tutelage.envs.terms import rewards as earn

Outcome = tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Any]]
Break = Callable[[Env], None]


def poison(env: Env) -> None:
    fake(env).poison(only(1))


def fail(env: Env) -> None:
    fake(env).fail(only(1))


def roll(env: Env, *, spoil: Break | None, steps: int = 8, at: int = 3) -> list[Outcome]:
    """The same actions whatever happens; before step `at` something breaks in environment 1."""
    generator = torch.Generator().manual_seed(5)
    outcomes: list[Outcome] = []
    for step in range(steps):
        if step == at and spoil:
            spoil(env)
        action = torch.randn(B, env.num_actions, generator=generator)
        obs, reward, done, extras = env.step(action)
        outcomes.append((tensors(obs), reward, done, extras))
    return outcomes


def toy() -> Task:
    """Noise, delays, randomisation, pushes: all that draws numbers."""
    return envs.TASKS["toy-flat"]()


@pytest.mark.parametrize("spoil", [poison, fail])
def test_a_bad_state_ends_its_own_episode_and_touches_no_other(spoil: Break) -> None:
    well = roll(ride(toy(), history=2), spoil=None)
    ill = roll(ride(toy(), history=2), spoil=spoil)
    others = ~only(1)
    for (obs, reward, done, _), (obs2, reward2, done2, extras2) in zip(well, ill, strict=True):
        assert all(torch.equal(obs[key][others], obs2[key][others]) for key in obs)
        assert torch.equal(reward[others], reward2[others])
        assert torch.equal(done[others], done2[others])
        assert extras2["valid"][others].all()
        assert all(value.isfinite().all() for value in obs2.values())
    assert not torch.equal(well[3][0]["critic"][1], ill[3][0]["critic"][1])


@pytest.mark.parametrize("spoil", [poison, fail])
def test_a_bad_state_is_reset_marked_and_counted(spoil: Break) -> None:
    env = ride(toy())
    ill = roll(env, spoil=spoil)
    for step, (_, reward, done, extras) in enumerate(ill):
        bad = step == 3
        assert done[1] == bad
        assert extras["valid"][1] != bad
        assert extras["log"]["Health/invalid"] == float(bad)
        assert not extras["time_outs"].any()
        assert (reward[1] == 0) == bad
        assert all(value.isfinite() for value in extras["log"].values())
    assert env.episode_length_buf.tolist() == [8, 4, 8]
    errors = ill[-1][3]["log"]["Health/simulation_errors"]
    assert errors == (1.0 if spoil is fail else 0.0)


def test_a_bad_state_does_not_count_in_metrics_or_episode_rewards() -> None:
    task = little(metrics={"lean": lambda c: c.state.joint_pos[:, 0]})
    env = ride(task)
    for _ in range(2):
        env.step(actions(1.0))
    poison(env)
    log = env.step(actions(2.0))[3]["log"]
    assert log["Metrics/lean"] == 1.0  # of the two that are well
    assert log["Episode_Reward/asked"] == pytest.approx((0.0 + 1.0) / 3)


def test_a_bad_state_in_the_last_step_of_an_episode_is_no_time_out() -> None:
    env = ride(little(episode=2 * DT))
    env.step(actions(0.0))
    poison(env)
    _, _, done, extras = env.step(actions(0.0))
    assert done.all()
    assert extras["time_outs"].tolist() == [True, False, True]
    assert extras["valid"].tolist() == [True, False, True]


def test_all_environments_may_be_bad_at_once() -> None:
    env = ride(toy())
    fake(env).poison(torch.ones(B, dtype=torch.bool))
    obs, reward, done, extras = env.step(torch.zeros(B, 2))
    assert done.all()
    assert not extras["valid"].any()
    assert not reward.any()
    assert all(value.isfinite().all() for value in obs.values())
    assert all(value.isfinite() for value in extras["log"].values())


# A reward that is not a number while physics is well is a mistake in the task: hiding it would
# train on something else than was written. It is passed on, the algorithms' guard then stops
# before the optimiser step, and the log names the term.


def broken(c: Context) -> Tensor:
    """The root of a negative number in environment 1, in the third step only."""
    return torch.where(only(1) & (c.time > 2.5 * DT) & (c.time < 3.5 * DT), -1.0, 1.0).sqrt()


def test_a_reward_that_is_not_a_number_surfaces_and_is_named() -> None:
    rewards = {
        "broken": Reward(term=broken, weight=1.0),
        "pose": Reward(term=earn.pose_deviation, weight=1.0),
    }
    env = ride(little(rewards=rewards, episode=4 * DT))
    seen = [env.step(actions(0.0)) for _ in range(4)]
    assert [reward.isfinite().tolist() for _, reward, _, _ in seen] == [
        [True, True, True], [True, True, True], [True, False, True], [True, True, True],
    ]
    assert seen[2][3]["valid"].all()
    assert not seen[2][2].any()  # the episode goes on
    log = seen[3][3]["log"]
    assert log["Episode_Reward/broken"].isnan()
    assert log["Episode_Reward/pose"] == 0.0
    for _ in range(2):  # the next episode starts from 0 again
        assert env.step(actions(0.0))[1].isfinite().all()
    assert env.snapshot()["env/_sums"].isfinite().all()


def test_nothing_of_a_bad_action_outlives_its_episode() -> None:
    env = ride(little(terminations={"low": lambda c: ~(c.state.joint_pos[:, 0] < 9.0)}))
    spoilt = actions(1.0)
    spoilt[1] = torch.nan
    obs, _, done, extras = env.step(spoilt)
    assert done.tolist() == [False, True, False]
    assert extras["valid"].tolist() == [True, False, True]  # the joints obeyed
    assert obs["proprio"].isfinite().all()
    obs, reward, done, _ = env.step(actions(1.0))
    assert not done.any()
    assert obs["proprio"].isfinite().all()
    assert reward.isfinite().all()


# ---------------------------------------------------------------- with MuJoCo


def test_mujoco_resets_the_environment_whose_state_is_not_finite_and_no_other() -> None:
    def make() -> Env:
        return envs.make("toy-flat", num_envs=B, seed=3)

    def spoil(env: Env) -> None:
        nowhere = torch.tensor([torch.nan, 0.0, 0.1, 1.0, 0.0, 0.0, 0.0]).repeat(B, 1)
        joints = torch.zeros(B, 2)
        env.sim.reset(only(1), nowhere, torch.zeros(B, 6), joints, joints)

    well, ill = roll(make(), spoil=None), roll(make(), spoil=spoil)
    others = ~only(1)
    for (obs, reward, done, _), (obs2, reward2, done2, _) in zip(well, ill, strict=True):
        assert all(torch.equal(obs[key][others], obs2[key][others]) for key in obs)
        assert torch.equal(reward[others], reward2[others])
        assert torch.equal(done[others], done2[others])
        assert all(value.isfinite().all() for value in obs2.values())
    _, reward, done, extras = ill[3]
    assert (done[1].item(), extras["valid"][1].item(), reward[1].item()) == (True, False, 0.0)
    assert extras["log"]["Health/invalid"] == 1.0
    assert all(outcome[3]["valid"].all() for i, outcome in enumerate(ill) if i != 3)


def test_mujoco_moves_by_no_bad_action_and_the_reward_tells() -> None:
    env = envs.make("toy-flat", num_envs=B, seed=3)
    spoilt = actions(0.5)
    spoilt[1] = torch.nan
    _, reward, _, extras = env.step(spoilt)
    assert env.sim.state.joint_pos.isfinite().all()
    assert extras["valid"].all()
    assert reward.isfinite().tolist() == [True, False, True]  # "rate": the change of the action
