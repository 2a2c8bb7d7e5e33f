"""PPO: rsl_rl's, bit for bit, when everything counts; and what happens when not everything does."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rsl_rl.algorithms import PPO as RslRlPPO
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos.guard import NonFiniteLoss
from tutelage.algos.ppo import PPO

B, STEPS, SIZE, ACTIONS = 6, 4, 3, 2


class DummyEnv(VecEnv):
    """B copies of x' = 0.9 x + a; an episode of world i lasts 3 + i steps."""

    def __init__(self) -> None:
        self.num_envs, self.num_actions, self.max_episode_length = B, ACTIONS, 10
        self.device, self.cfg = "cpu", dict[str, str]()
        self.episode_length_buf = torch.zeros(B, dtype=torch.long)
        self.generator = torch.Generator().manual_seed(1)
        self.x = torch.rand(B, SIZE, generator=self.generator)

    def get_observations(self) -> TensorDict:
        return TensorDict({"policy": self.x.clone()}, batch_size=[B])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        self.x = 0.9 * self.x + torch.cat([actions, actions[:, :1]], dim=-1)
        self.episode_length_buf += 1
        dones = self.episode_length_buf >= 3 + torch.arange(B)
        fresh = torch.rand(B, SIZE, generator=self.generator)
        self.x = torch.where(dones[:, None], fresh, self.x)
        self.episode_length_buf[dones] = 0
        extras = {"time_outs": dones & (torch.arange(B) % 2 == 0)}
        extras["valid"] = torch.ones(B, dtype=torch.bool)
        return self.get_observations(), -self.x.square().sum(-1), dones, extras

    def mirror(
        self, obs: TensorDict | None, actions: Tensor | None
    ) -> tuple[TensorDict | None, Tensor | None]:
        flipped = None if obs is None else obs.apply(lambda x: -x)
        return flipped, None if actions is None else -actions


Change = Callable[[int, Tensor, dict[str, Any]], Tensor]


def config(algorithm: type, recurrent: bool = False, **changes: Any) -> dict[str, Any]:
    model: dict[str, Any] = {"hidden_dims": [8], "obs_normalization": True}
    model["class_name"] = "RNNModel" if recurrent else "MLPModel"
    if recurrent:
        model |= {"rnn_type": "gru", "rnn_hidden_dim": 5}
    gaussian = {"class_name": "GaussianDistribution", "init_std": 0.5}
    settings = {"num_learning_epochs": 2, "num_mini_batches": 2, "desired_kl": 1e-3}
    return {
        "num_steps_per_env": STEPS,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": model | {"distribution_cfg": gaussian},
        "critic": model,
        "algorithm": {"class_name": algorithm} | settings | changes,
        "multi_gpu": None,
    }


def make(algorithm: type, **choices: Any) -> tuple[Any, DummyEnv]:
    torch.manual_seed(0)
    env = DummyEnv()
    alg = algorithm.construct_algorithm(  # type: ignore[attr-defined]
        env.get_observations(), env, config(algorithm, **choices), "cpu"
    )
    alg.train_mode()
    return alg, env


def roll(alg: Any, env: DummyEnv, change: Change | None = None) -> None:
    """One rollout as rsl_rl's runner does it; `change` meddles with rewards and extras."""
    obs = env.get_observations()
    with torch.inference_mode():
        for step in range(STEPS):
            obs, rewards, dones, extras = env.step(alg.act(obs))
            if change is not None:
                rewards = change(step, rewards, extras)
            alg.process_env_step(obs, rewards, dones, extras)
        alg.compute_returns(obs)


def weights(alg: Any) -> dict[str, Tensor]:
    both = {"actor": alg.actor.state_dict(), "critic": alg.critic.state_dict()}
    return {f"{m}.{k}": v.clone() for m, state in both.items() for k, v in state.items()}


def assert_same(a: Any, b: Any) -> None:
    """Bit for bit."""
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def symmetry(augmentation: bool, loss: bool) -> dict[str, Any]:
    return {
        "data_augmentation_func": "tutelage.algos.ppo:augment",
        "use_data_augmentation": augmentation,
        "use_mirror_loss": loss,
        "mirror_loss_coeff": 0.5,
    }


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"schedule": "fixed", "use_clipped_value_loss": False},
        {"normalize_advantage_per_mini_batch": True},
        {"recurrent": True},
        {"symmetry_cfg": symmetry(augmentation=True, loss=False)},
        {"symmetry_cfg": symmetry(augmentation=True, loss=True)},
        {"symmetry_cfg": symmetry(augmentation=False, loss=True)},
    ],
    ids=["adaptive", "fixed", "per minibatch", "recurrent", "augmented", "both", "mirror loss"],
)
def test_when_everything_counts_the_result_is_rsl_rl_s_bit_for_bit(choices: dict[str, Any]) -> None:
    results = []
    for algorithm in (RslRlPPO, PPO):
        alg, env = make(algorithm, **copy.deepcopy(choices))
        history = []
        for _ in range(5):
            roll(alg, env)
            history.append((alg.update(), alg.learning_rate))
        results.append((history, weights(alg), alg.optimizer.state_dict()))
    assert results[0][0] == results[1][0]
    assert_same(results[0][1:], results[1][1:])


def mask_world_three(reward: float, alg: Any = None, poison: float | None = None) -> Change:
    """World 3 does not count in step 2, whatever its reward, observation or value was."""

    def change(step: int, rewards: Tensor, extras: dict[str, Any]) -> Tensor:
        rewards = rewards.clone()
        if step == 2:
            rewards[3] = reward
            extras["valid"][3] = False
            if poison is not None:
                alg.transition.observations["policy"][3] = poison
                alg.transition.values[3] = poison
        return rewards

    return change


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"recurrent": True},
        {"normalize_advantage_per_mini_batch": True, "use_clipped_value_loss": False},
        {"symmetry_cfg": symmetry(augmentation=True, loss=True)},
        {"symmetry_cfg": symmetry(augmentation=False, loss=True)},
    ],
    ids=["plain", "recurrent", "per minibatch", "augmented", "mirror loss"],
)
def test_what_stood_in_a_masked_transition_cannot_be_told(choices: dict[str, Any]) -> None:
    results = []
    for reward in (0.0, 1e6, math.nan, math.inf):
        alg, env = make(PPO, **copy.deepcopy(choices))
        for _ in range(3):
            roll(alg, env, mask_world_three(reward))
            alg.update()
        results.append(weights(alg))
    for other in results[1:]:
        assert_same(results[0], other)


def test_nan_observed_in_a_masked_transition_leaves_the_other_gradients_bit_equal() -> None:
    gradients = []
    for poison in (0.0, math.nan):
        alg, env = make(PPO, num_learning_epochs=1, num_mini_batches=1, max_grad_norm=1e9)
        roll(alg, env, mask_world_three(0.0, alg, poison))
        alg.update()
        gradients.append([p.grad for p in [*alg.actor.parameters(), *alg.critic.parameters()]])
        for value in weights(alg).values():
            assert bool(value.isfinite().all())
    assert_same(gradients[0], gradients[1])


def test_a_masked_transition_enters_no_statistic() -> None:
    alg, env = make(PPO)
    roll(alg, env, mask_world_three(0.0))
    kept = alg.storage.observations["policy"].clone()
    counts = torch.ones(STEPS, B, dtype=torch.bool)
    counts[2, 3] = False
    advantages = alg.storage.advantages[counts]
    torch.testing.assert_close(advantages.mean(), torch.tensor(0.0), rtol=0, atol=1e-6)
    torch.testing.assert_close(advantages.std(), torch.tensor(1.0))
    alg.update()
    assert int(alg.actor.obs_normalizer.count) == STEPS * B - 1
    torch.testing.assert_close(alg.actor.obs_normalizer.mean, kept[counts].mean(0))


def test_an_infinite_reward_that_counts_stops_before_the_optimiser_step() -> None:
    alg, env = make(PPO)
    roll(alg, env)
    alg.update()
    before = copy.deepcopy((weights(alg), alg.optimizer.state_dict(), alg.learning_rate))

    def infinite(step: int, rewards: Tensor, extras: dict[str, Any]) -> Tensor:
        return torch.where(torch.arange(B) == 3, math.inf, rewards) if step == 2 else rewards

    roll(alg, env, infinite)
    with pytest.raises(NonFiniteLoss, match="value is") as error:
        alg.update()
    assert error.value.name == "value"
    assert error.value.statistics["rewards"]["nonfinite"] == 1
    assert error.value.statistics["actions"]["nonfinite"] == 0
    after = (weights(alg), alg.optimizer.state_dict(), alg.learning_rate)
    assert_same(before, after)


def test_a_gradient_that_is_not_finite_stops_before_the_optimiser_step() -> None:
    alg, env = make(PPO)
    roll(alg, env)
    alg.critic.mlp[-1].bias.register_hook(lambda gradient: gradient * math.nan)
    before = weights(alg)
    with pytest.raises(NonFiniteLoss, match="gradient of the critic"):
        alg.update()
    assert_same(before, weights(alg))


@pytest.mark.parametrize("recurrent", [False, True])
def test_save_load_step_equals_step(recurrent: bool) -> None:
    alg, env = make(PPO, recurrent=recurrent)
    for _ in range(3):
        roll(alg, env)
        alg.update()
    file = io.BytesIO()
    torch.save(alg.save(), file)
    file.seek(0)
    twin, _ = make(PPO, recurrent=recurrent)
    assert twin.load(torch.load(file, weights_only=True), None, True) is True
    twin_env = copy.deepcopy(env)
    for a, e in ((alg, env), (twin, twin_env)):
        torch.manual_seed(5)
        roll(a, e)
        a.update()
    assert twin.learning_rate == alg.learning_rate != 0.001
    assert_same(weights(alg), weights(twin))
    assert_same(alg.optimizer.state_dict(), twin.optimizer.state_dict())


def test_a_checkpoint_of_other_environments_starts_their_episodes_at_rest() -> None:
    alg, env = make(PPO, recurrent=True)
    roll(alg, env)
    saved = alg.save()
    assert saved["hidden_states"]["actor"].shape == (1, B, 5)
    twin, _ = make(PPO, recurrent=True)
    twin.storage.num_envs = B + 1
    twin.load(saved, None, True)
    assert twin.actor.get_hidden_state() is None


def test_the_critic_s_memory_is_not_advanced_by_the_bootstrap() -> None:
    alg, env = make(PPO, recurrent=True)
    roll(alg, env)
    state = alg.critic.get_hidden_state().clone()
    with torch.inference_mode():
        alg.compute_returns(env.get_observations())
    assert_same(state, alg.critic.get_hidden_state())


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="learning_rte"):
        make(PPO, learning_rte=1e-3)


def test_curiosity_is_refused_by_name() -> None:
    alg, _ = make(PPO)
    with pytest.raises(ValueError, match="rnd_cfg"):
        PPO(alg.actor, alg.critic, alg.storage, rnd_cfg={"weight": 1.0})
