"""DAgger: who acts, what is learnt, what stays as it was."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from rsl_rl.algorithms import Distillation
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from tutelage.algos import sequence
from tutelage.algos.dagger import DAgger
from tutelage.algos.guard import NonFiniteLoss
from tutelage.algos.storage import copied

B, STEPS, SIZE, ACTIONS = 6, 4, 3, 2
MODEL = "tutelage.policies.model:Model"


class DummyEnv(VecEnv):
    """B copies of x' = 0.9 x + a, of which the student sees two thirds, with the last actions."""

    def __init__(self) -> None:
        self.num_envs, self.num_actions, self.max_episode_length = B, ACTIONS, 10
        self.device, self.cfg = "cpu", dict[str, str]()
        self.episode_length_buf = torch.zeros(B, dtype=torch.long)
        self.generator = torch.Generator().manual_seed(1)
        self.x = torch.rand(B, SIZE, generator=self.generator)
        self.executed = torch.zeros(B, ACTIONS)

    def get_observations(self) -> TensorDict:
        groups = {"proprio": self.x[:, :2].clone(), "privileged": self.x[:, 2:].clone()}
        return TensorDict(groups, batch_size=[B])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        self.executed = actions.clone()
        self.x = 0.9 * self.x + torch.cat([actions, actions[:, :1]], dim=-1)
        self.episode_length_buf += 1
        dones = self.episode_length_buf >= 3 + torch.arange(B)
        fresh = torch.rand(B, SIZE, generator=self.generator)
        self.x = torch.where(dones[:, None], fresh, self.x)
        self.episode_length_buf[dones] = 0
        extras = {"valid": torch.ones(B, dtype=torch.bool)}
        return self.get_observations(), -self.x.square().sum(-1), dones, extras


Change = Callable[[int, dict[str, Any]], None]
GRU = {"class_name": MODEL, "encoder": "gru", "encoder_cfg": {"width": 5}}
RSL_RL_RNN = {"class_name": "RNNModel", "rnn_type": "lstm", "rnn_hidden_dim": 5}
GAUSSIAN = {"class_name": "GaussianDistribution", "init_std": 0.5}


def make(
    algorithm: Any = DAgger, student: dict[str, Any] | None = None, **settings: Any
) -> tuple[Any, DummyEnv]:
    """The algorithm with a loaded teacher that has seen things."""
    torch.manual_seed(0)
    env = DummyEnv()
    base = {"hidden_dims": [8], "obs_normalization": True}
    base["distribution_cfg"] = dict(GAUSSIAN)
    cfg = {
        "num_steps_per_env": STEPS,
        "obs_groups": {"student": ["proprio"], "teacher": ["proprio", "privileged"]},
        "student": base | (student or {"class_name": "MLPModel"}),
        "teacher": base | {"class_name": "MLPModel"},
        "algorithm": {"class_name": algorithm} | settings,
        "multi_gpu": None,
    }
    alg = algorithm.construct_algorithm(env.get_observations(), env, cfg, "cpu")
    alg.load(teacher_checkpoint(alg), {"teacher": True}, True)
    alg.train_mode()
    return alg, env


def teacher_checkpoint(alg: Any) -> dict[str, Any]:
    """As PPO would have saved it, with a normaliser that is not the identity."""
    weights = {name: value.clone() for name, value in alg.teacher.state_dict().items()}
    weights["obs_normalizer._mean"] += 0.3
    weights["obs_normalizer._std"] *= 0.5
    return {"actor_state_dict": weights}


def roll(alg: Any, env: DummyEnv, change: Change | None = None) -> Tensor:
    """One rollout as rsl_rl's runner does it; who acted, (STEPS, B) bool."""
    obs = env.get_observations()
    taught = []
    with torch.inference_mode():
        for step in range(STEPS):
            actions = alg.act(obs)
            taught.append((actions == alg.transition.privileged_actions).all(-1))
            obs, rewards, dones, extras = env.step(actions)
            if change is not None:
                change(step, extras)
            alg.process_env_step(obs, rewards, dones, extras)
        alg.compute_returns(obs)
    return torch.stack(taught)


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(a: Any, b: Any) -> None:
    """Bit for bit."""
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_without_mixture_the_numbers_are_those_of_rsl_rl_s_distillation() -> None:
    plain = {"num_learning_epochs": 1, "gradient_length": 2, "max_grad_norm": None}
    ours = {"num_mini_batches": 1, "beta": (0.0, 0.0, 1), "exploration_std": None}
    results = []
    for algorithm, settings in ((Distillation, plain), (DAgger, plain | ours)):
        alg, env = make(algorithm, **settings)
        losses = []
        for _ in range(5):
            roll(alg, env)
            losses.append(alg.update()["behavior"])
        results.append((losses, weights(alg.student)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_the_student_changes_and_the_teacher_does_not() -> None:
    alg, env = make()
    student, teacher = weights(alg.student), weights(alg.teacher)
    for _ in range(3):
        roll(alg, env)
        alg.update()
    assert_same(teacher, weights(alg.teacher))
    assert not alg.teacher.training
    assert all(p.grad is None for p in alg.teacher.parameters())
    changed = [
        name for name, value in weights(alg.student).items() if not student[name].equal(value)
    ]
    assert "mlp.0.weight" in changed
    assert int(alg.student.obs_normalizer.count) == 3 * STEPS * B


@pytest.mark.parametrize("loss_type", ["mse", "huber", "nll"])
def test_a_teacher_that_reads_what_the_student_sees_is_learnt(loss_type: str) -> None:
    alg, env = make(student={"class_name": MODEL}, loss_type=loss_type, learning_rate=1e-2)
    alg.teacher.mlp[0].weight[:, 2] = 0.0
    errors = []
    for _ in range(100):
        roll(alg, env)
        st = alg.storage
        with torch.no_grad():
            error = st.privileged_actions - alg.student(st.observations)
        errors.append(float(error.square().mean()))
        alg.update()
    assert sum(errors[-10:]) < 0.1 * sum(errors[:10])
    std = alg.student.distribution.std_param
    assert bool((std < 0.3).all() if loss_type == "nll" else (std == 0.5).all())


def test_the_optimiser_steps_once_for_each_window_minibatch_and_epoch() -> None:
    alg, env = make(num_learning_epochs=3, num_mini_batches=2, gradient_length=3)
    roll(alg, env)
    alg.update()
    steps = {int(state["step"]) for state in alg.optimizer.state_dict()["state"].values()}
    assert steps == {3 * 2 * 2}  # windows of 3 + 1 steps


@pytest.mark.parametrize(("share", "expected"), [(1.0, True), (0.0, False)])
def test_all_or_none_of_the_teacher_acts_at_the_ends_of_beta(share: float, expected: bool) -> None:
    alg, env = make(beta=(share, share, 1))
    assert bool((roll(alg, env) == expected).all())


def test_who_acts_stands_for_a_whole_rollout_and_follows_beta() -> None:
    alg, env = make(beta=(0.5, 0.0, 2))
    shares, taught = [], torch.ones(STEPS, B)
    for _ in range(3):
        taught = roll(alg, env)
        assert bool((taught == taught[0]).all())
        shares.append(alg.update()["beta"])
    assert shares == [0.5, 0.25, 0.0]
    assert not bool(taught.any())


def test_the_student_s_mean_acts_unless_noise_is_asked_for() -> None:
    alg, env = make(beta=(0.0, 0.0, 1))
    with torch.inference_mode():
        mean = alg.student(env.get_observations())
        assert_same(alg.act(env.get_observations()), mean)
    alg, env = make(beta=(0.0, 0.0, 1), exploration_std=0.1)
    noise = torch.stack([alg.act(env.get_observations()) - mean for _ in range(200)])
    assert 0.09 < float(noise.std()) < 0.11


@pytest.mark.parametrize("student", [{"class_name": "MLPModel"}, GRU, RSL_RL_RNN])
def test_what_stood_in_a_masked_transition_cannot_be_told(student: dict[str, Any]) -> None:
    results = []
    for poison in (0.0, math.nan):
        alg, env = make(student=student)
        roll(alg, env, mask_world_zero(alg, poison))
        alg.update()
        results.append(weights(alg.student))
        assert int(alg.student.obs_normalizer.count) == STEPS * B - 1
    assert_same(results[0], results[1])


def mask_world_zero(alg: Any, poison: float) -> Change:
    """World 0 does not count in step 2, with which its first episode ends."""

    def change(step: int, extras: dict[str, Any]) -> None:
        if step == 2:
            extras["valid"][0] = False
            alg.transition.privileged_actions[0] = poison
            alg.transition.observations["proprio"][0] = poison

    return change


def test_a_label_that_is_not_finite_stops_before_the_optimiser_step() -> None:
    alg, env = make(num_mini_batches=1)
    roll(alg, env)
    alg.storage.privileged_actions[1, 2] = math.inf
    before = copy.deepcopy((weights(alg.student), alg.optimizer.state_dict()))
    with pytest.raises(NonFiniteLoss, match=r"labels \(2\)") as error:
        alg.update()
    assert error.value.name == "behavior"
    assert_same(before, (weights(alg.student), alg.optimizer.state_dict()))


@pytest.mark.parametrize("student", [GRU, RSL_RL_RNN])
def test_learning_sees_the_memory_with_which_the_student_acted(student: dict[str, Any]) -> None:
    alg, env = make(student=student, beta=(0.0, 0.0, 1))
    for _ in range(2):  # so that the second rollout begins amid episodes
        alg.storage.clear()
        roll(alg, env)
    kept = alg.student.get_hidden_state()
    st = alg.storage
    state = copied(alg._memory_at_start)
    with torch.no_grad():
        dones = st.dones.squeeze(-1).bool()
        first, state = sequence.run(alg.student, st.observations[:3], dones[:3], state)
        last, state = sequence.run(alg.student, st.observations[3:], dones[3:], state)
    torch.testing.assert_close(torch.cat([first, last]), st.actions)
    acting = kept if isinstance(kept, tuple) else (kept,)
    after = state if isinstance(state, tuple) else (state,)
    torch.testing.assert_close(tuple(after), tuple(acting))
    assert_same(kept, alg.student.get_hidden_state())


@pytest.mark.parametrize("student", [GRU, RSL_RL_RNN])
def test_an_update_leaves_the_acting_memory_alone(student: dict[str, Any]) -> None:
    alg, env = make(student=student)
    roll(alg, env)
    kept = copied(alg.student.get_hidden_state())
    alg.update()
    assert_same(kept, copied(alg.student.get_hidden_state()))


def test_the_gradient_stops_at_a_done_and_at_the_window() -> None:
    alg, _ = make(student=GRU)
    frames = torch.rand(3, B, 2, requires_grad=True)
    obs = TensorDict({"proprio": frames}, batch_size=[3, B])
    dones = torch.zeros(3, B, dtype=torch.bool)
    dones[0, 1] = True
    actions, _ = sequence.run(alg.student, obs, dones, None)
    (gradient,) = torch.autograd.grad(actions[2].sum(), frames)
    assert bool((gradient[0, 1] == 0).all())
    assert bool((gradient[0, 0] != 0).any())


@pytest.mark.parametrize("student", [{"class_name": MODEL}, GRU, RSL_RL_RNN])
def test_save_load_step_equals_step(student: dict[str, Any]) -> None:
    settings: dict[str, Any] = {
        "student": student,
        "beta": (0.7, 0.2, 6),
        "segment": 3,
        "exploration_std": 0.1,
    }
    alg, env = make(**settings)
    for _ in range(3):
        roll(alg, env)
        alg.update()
    file = io.BytesIO()
    torch.save(alg.save(), file)
    file.seek(0)
    twin, _ = make(**settings)
    assert twin.load(torch.load(file, weights_only=True), None, True) is True
    twin_env = copy.deepcopy(env)
    losses = []
    for a, e in ((alg, env), (twin, twin_env)):
        torch.manual_seed(5)
        for _ in range(2):
            roll(a, e)
            losses.append(a.update())
    assert losses[:2] == losses[2:]
    assert_same(weights(alg.student), weights(twin.student))
    assert_same(weights(alg.teacher), weights(twin.teacher))
    assert_same(alg.optimizer.state_dict(), twin.optimizer.state_dict())
    assert sorted(alg.save())[-3:] == [
        "optimizer_state_dict",
        "student_state_dict",
        "teacher_state_dict",
    ]


def test_a_ppo_checkpoint_gives_the_teacher_and_its_normaliser_only() -> None:
    alg, _ = make()
    checkpoint = teacher_checkpoint(alg)
    student = weights(alg.student)
    assert alg.load(checkpoint, None, True) is False
    assert_same(weights(alg.teacher), checkpoint["actor_state_dict"])
    assert_same(weights(alg.student), student)


def test_a_teacher_of_other_observations_is_refused_by_name_and_size() -> None:
    alg, _ = make()
    checkpoint = teacher_checkpoint(alg)
    infos = {"obs_groups": {"actor": ["proprio"]}, "obs_sizes": {"proprio": [2]}}
    with pytest.raises(ValueError, match=r"\['proprio'\] in the checkpoint"):
        alg.load(checkpoint | {"infos": infos}, {"teacher": True}, True)
    infos = {
        "obs_groups": {"actor": ["proprio", "privileged"]},
        "obs_sizes": {"proprio": [2], "privileged": [4]},
    }
    with pytest.raises(ValueError, match=r"'privileged' has shape \[4\]"):
        alg.load(checkpoint | {"infos": infos}, {"teacher": True}, True)
    checkpoint["actor_state_dict"]["mlp.0.weight"] = torch.zeros(8, 7)
    with pytest.raises(ValueError, match=r"mlp.0.weight is \[8, 7\] in the checkpoint, \[8, 3\]"):
        alg.load(checkpoint, {"teacher": True}, True)


def test_a_teacher_that_was_never_loaded_does_not_teach() -> None:
    alg, env = make()
    alg.teacher_loaded = False
    with pytest.raises(RuntimeError, match="load a checkpoint first"):
        alg.act(env.get_observations())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"gradient_lenght": 3}, "gradient_lenght"),
        ({"loss_type": "mae"}, "'mae' is none of"),
        ({"gradient_length": 0}, "gradient_length is 0"),
        ({"num_mini_batches": 7}, "num_mini_batches=7 of 6"),
        ({"beta": (1.5, 0.0, 3)}, "beta start is 1.5"),
        ({"segment": 0}, "segment is 0"),
        ({"loss_type": "nll"}, "nll needs the std along a sequence"),
        ({"student": {"class_name": "MLPModel", "distribution_cfg": None}}, "no distribution"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint):
        make(**settings)
