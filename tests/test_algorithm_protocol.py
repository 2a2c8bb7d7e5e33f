"""Every algorithm offers rsl_rl's runner and logger what they use."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest
import torch
from rsl_rl.algorithms import PPO as RslRlPPO
from rsl_rl.algorithms import Distillation
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos.dagger import DAgger
from tutelage.algos.ppo import PPO
from tutelage.algos.protocol import Algorithm, Policy

ALGORITHMS = [PPO, DAgger, RslRlPPO, Distillation]
MODEL = "tutelage.policies.model:Model"
B, STEPS = 4, 3


class DummyEnv(VecEnv):
    def __init__(self) -> None:
        self.num_envs, self.num_actions, self.max_episode_length = B, 2, 5
        self.device, self.cfg = "cpu", dict[str, str]()
        self.episode_length_buf = torch.zeros(B, dtype=torch.long)

    def get_observations(self) -> TensorDict:
        return TensorDict({"policy": torch.rand(B, 3)}, batch_size=[B])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        self.episode_length_buf += 1
        dones = self.episode_length_buf >= 5
        self.episode_length_buf[dones] = 0
        return self.get_observations(), -actions.square().sum(-1), dones, {"time_outs": dones}


def config(algorithm: type, encoder: str) -> dict[str, Any]:
    gaussian = {"class_name": "tutelage.policies.model:BoundedGaussian"}
    model: dict[str, Any] = {"class_name": MODEL, "encoder": encoder, "hidden_dims": [8]}
    names = ["actor", "critic"] if issubclass(algorithm, RslRlPPO) else ["student", "teacher"]
    networks: dict[str, Any] = {name: model | {"distribution_cfg": gaussian} for name in names}
    networks["critic"] = model
    return {
        "num_steps_per_env": STEPS,
        "save_interval": 100,
        "obs_groups": {name: ["policy"] for name in names},
        "algorithm": {"class_name": algorithm},
        **networks,
    }


def runner(algorithm: type, encoder: str = "none") -> Any:
    made: Any = OnPolicyRunner(DummyEnv(), config(algorithm, encoder), log_dir=None)
    if not issubclass(algorithm, RslRlPPO):
        made.alg.load({"actor_state_dict": made.alg.teacher.state_dict()}, None, True)
    return made


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_has_every_member_under_its_name_and_parameters(algorithm: type) -> None:
    alg = runner(algorithm).alg
    assert isinstance(alg, Algorithm)
    assert isinstance(alg.get_policy(), Policy)
    for name, member in inspect.getmembers(Algorithm, inspect.isfunction):
        if not name.startswith("_"):
            wanted = [p for p in inspect.signature(member).parameters if p != "self"]
            assert list(inspect.signature(getattr(alg, name)).parameters) == wanted, name


@pytest.mark.parametrize("encoder", ["none", "gru"])
@pytest.mark.parametrize("algorithm", [PPO, DAgger])
def test_rsl_rl_s_own_runner_trains_it(algorithm: type, encoder: str) -> None:
    made = runner(algorithm, encoder)
    before = [p.clone() for p in made.alg.get_policy().parameters()]
    made.learn(2)
    after = list(made.alg.get_policy().parameters())
    assert any(not a.equal(b) for a, b in zip(before, after, strict=True))
    policy = made.get_inference_policy("cpu")
    assert policy(made.env.get_observations()).shape == (B, 2)


def test_the_protocol_names_everything_that_rsl_rl_s_runner_uses() -> None:
    tree = ast.parse(inspect.getsource(inspect.getmodule(OnPolicyRunner)))  # type: ignore[arg-type]
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "alg"
    }
    stated = set(dir(Algorithm)) | set(Algorithm.__annotations__)
    assert used - stated == {"rnd", "intrinsic_rewards"}  # only with rnd_cfg


def test_a_class_that_lacks_a_member_is_not_an_algorithm() -> None:
    assert not isinstance(object(), Algorithm)
