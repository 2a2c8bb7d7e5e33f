"""The model inside rsl_rl's own runner, PPO and Distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from rsl_rl.algorithms import PPO, Distillation
from rsl_rl.env import VecEnv
from rsl_rl.runners import DistillationRunner, OnPolicyRunner
from tensordict import TensorDict
from torch import Tensor

from tutelage.policies.model import Model

B, STEPS = 16, 12
MODEL = "tutelage.policies.model:Model"
GAUSSIAN = {
    "class_name": "tutelage.policies.model:BoundedGaussian",
    "init_std": 0.5,
    "std_range": (0.1, 0.6),
}


class DummyEnv(VecEnv):
    """Reward for saying what was seen in the first frame of the episode."""

    def __init__(self) -> None:
        self.num_envs, self.num_actions, self.max_episode_length = B, 2, 7
        self.device = torch.device("cpu")
        self.cfg: dict[str, object] = {}
        self.episode_length_buf = torch.arange(B) % 7
        self.seen = torch.randn(B, 2)

    def get_observations(self) -> TensorDict:
        shown = self.seen * (self.episode_length_buf == 0)[:, None]
        clock = self.episode_length_buf[:, None] / 7
        proprio = torch.cat([shown, clock], -1)
        critic = torch.cat([proprio, self.seen], -1)
        return TensorDict({"proprio": proprio, "critic": critic}, batch_size=[B])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        rewards = -(actions - self.seen).square().sum(-1)
        self.episode_length_buf = self.episode_length_buf + 1
        dones = self.episode_length_buf >= 7
        self.episode_length_buf = torch.where(dones, 0, self.episode_length_buf)
        self.seen = torch.where(dones[:, None], torch.randn(B, 2), self.seen)
        return self.get_observations(), rewards, dones.long(), {"time_outs": torch.zeros(B)}


def ppo_cfg(actor: str, critic: str) -> dict[str, Any]:
    common = {"class_name": MODEL, "hidden_dims": [16], "obs_normalization": True}
    return {
        "num_steps_per_env": STEPS,
        "save_interval": 1000,
        "obs_groups": {"actor": ["proprio"], "critic": ["critic"]},
        "algorithm": {"class_name": "PPO", "num_mini_batches": 2, "learning_rate": 3e-3},
        "actor": {**common, "encoder": actor, "distribution_cfg": GAUSSIAN},
        "critic": {**common, "encoder": critic},
    }


def collect(algorithm: PPO, env: DummyEnv) -> None:
    obs = env.get_observations()
    with torch.inference_mode():
        for _ in range(STEPS):
            obs, rewards, dones, extras = env.step(algorithm.act(obs))
            algorithm.process_env_step(obs, rewards, dones, extras)
        algorithm.compute_returns(obs)


@pytest.mark.parametrize(("actor", "critic"), [("gru", "none"), ("gru", "gru"), ("none", "gru")])
def test_ppo_finds_the_same_log_probabilities_again_in_its_update(actor: str, critic: str) -> None:
    torch.manual_seed(0)
    env = DummyEnv()
    algorithm = OnPolicyRunner(env, ppo_cfg(actor, critic)).alg
    for _ in range(2):  # the second rollout starts from memories
        algorithm.storage.clear()
        collect(algorithm, env)
    batches = 0
    for batch in algorithm.storage.recurrent_mini_batch_generator(2, 1):
        assert batch.actions is not None
        assert batch.old_actions_log_prob is not None
        states = batch.hidden_states
        model: Any = algorithm.actor
        model(batch.observations, batch.masks, states[0], stochastic_output=True)
        again = model.get_output_log_prob(batch.actions)
        torch.testing.assert_close(again, batch.old_actions_log_prob[..., 0], atol=1e-5, rtol=0)
        critic_model: Any = algorithm.critic
        values = critic_model(batch.observations, batch.masks, states[1])
        torch.testing.assert_close(values, batch.values, atol=1e-5, rtol=0)
        batches += 1
    assert batches == 2


def test_the_bootstrap_pass_does_not_advance_the_critics_memory() -> None:
    env = DummyEnv()
    algorithm = OnPolicyRunner(env, ppo_cfg("gru", "gru")).alg
    collect(algorithm, env)
    held = algorithm.critic.get_hidden_state()
    assert isinstance(held, Tensor)
    before = held.clone()
    algorithm.compute_returns(env.get_observations())
    after = algorithm.critic.get_hidden_state()
    assert isinstance(after, Tensor)
    assert torch.equal(before, after)


def test_the_runner_trains_saves_loads_and_exports_a_recurrent_policy(tmp_path: Path) -> None:
    torch.manual_seed(0)
    runner = OnPolicyRunner(DummyEnv(), ppo_cfg("gru", "none"), str(tmp_path))
    actor = runner.alg.actor
    assert isinstance(actor, Model)
    before = {k: v.clone() for k, v in actor.state_dict().items()}
    runner.learn(3)
    after = actor.state_dict()
    assert all(not torch.equal(before[k], after[k]) for k in after if not k.endswith("count"))
    assert ((actor.output_std >= 0.1) & (actor.output_std <= 0.6)).all()
    runner.save(str(tmp_path / "model.pt"))
    other = OnPolicyRunner(DummyEnv(), ppo_cfg("gru", "none"))
    other.load(str(tmp_path / "model.pt"))
    obs = DummyEnv().get_observations()
    actor.reset()
    assert torch.equal(other.alg.actor(obs), actor(obs))


def test_rsl_rls_own_exports_act_as_the_policy_does(tmp_path: Path) -> None:
    runner = OnPolicyRunner(DummyEnv(), ppo_cfg("gru", "none"))
    runner.export_policy_to_jit(str(tmp_path))
    runner.export_policy_to_onnx(str(tmp_path))
    script: Any = torch.jit.load(tmp_path / "policy.pt")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    h = np.zeros((1, 1, 128), dtype=np.float32)
    policy = runner.get_inference_policy()
    for x in torch.randn(5, 1, 3):
        actions = policy(TensorDict({"proprio": x}, batch_size=[1])).detach()
        torch.testing.assert_close(script(x), actions, atol=1e-6, rtol=0)
        out, after = session.run(None, {"obs": x.numpy(), "h_in": h})
        h = np.asarray(after)
        np.testing.assert_allclose(np.asarray(out), actions.numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("std", [True, False])
def test_rsl_rls_distillation_trains_a_recurrent_student(std: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    common = {"class_name": MODEL, "hidden_dims": [16], "obs_normalization": True}
    cfg: dict[str, Any] = {
        "num_steps_per_env": STEPS,
        "save_interval": 1000,
        "obs_groups": {"student": ["proprio"], "teacher": ["critic"]},
        "algorithm": {"class_name": "Distillation", "gradient_length": 6, "learning_rate": 3e-3},
        "student": {**common, "encoder": "gru", "distribution_cfg": GAUSSIAN if std else None},
        "teacher": {**common, "encoder": "none", "distribution_cfg": GAUSSIAN},
    }
    runner = DistillationRunner(DummyEnv(), cfg, str(tmp_path))
    algorithm: Any = runner.alg
    assert isinstance(algorithm, Distillation)
    algorithm.teacher_loaded = True
    student = algorithm.get_policy()
    assert isinstance(student, Model)
    before = [p.clone() for p in student.encoder.parameters()]
    runner.learn(3)
    after = list(student.encoder.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert student.output_std.isfinite().all()
