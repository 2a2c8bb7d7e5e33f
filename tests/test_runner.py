"""The runner: exact resume, safe files, and nothing lost."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dummy import DummyEnv, ppo_config
from tutelage.algos import checkpoint, runs
from tutelage.algos.checkpoint import CheckpointError, load_policy, read, seed_everything
from tutelage.algos.guard import NonFiniteLoss
from tutelage.algos.progress import Curve, Means, Progress
from tutelage.algos.runner import NonFiniteRollout, Runner


def make(run: Path, *, seed: int = 7, cfg: dict[str, Any] | None = None, **more: Any) -> Runner:
    run.mkdir(exist_ok=True, parents=True)
    seed_everything(seed)
    return Runner(DummyEnv(seed=seed), cfg or ppo_config(), run, **more)


def env_of(runner: Runner) -> DummyEnv:
    assert isinstance(runner.env, DummyEnv)
    return runner.env


def everything(runner: Runner) -> dict[str, torch.Tensor]:
    """All tensors that decide the runner's future, by name."""
    flat: dict[str, torch.Tensor] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            flat[name] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(f"{name}.{key}", item)
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                walk(f"{name}.{i}", item)
        elif isinstance(value, int | float):
            flat[name] = torch.tensor(value, dtype=torch.float64)

    walk("algorithm", runner.alg.save())
    walk("env", env_of(runner).snapshot())
    walk("random", checkpoint.random_state())
    ledger = runner.ledger.snapshot()
    walk("ledger", {key: ledger[key] for key in ledger if key != "seconds"})
    walk("learning_rate", float(runner.alg.learning_rate))
    walk("iteration", runner.current_learning_iteration)
    return flat


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different


def test_ten_iterations_equal_five_a_resume_and_five_bit_for_bit(tmp_path: Path) -> None:
    through = make(tmp_path / "through")
    through.learn(10, init_at_random_ep_len=True)
    whole = everything(through)

    make(tmp_path / "halves").learn(5, init_at_random_ep_len=True)
    second = make(tmp_path / "halves", seed=99)  # another seed: all must come from the file
    second.load(str(runs.newest(tmp_path / "halves")))
    second.learn(5, init_at_random_ep_len=True)
    assert_same(everything(second), whole)
    assert second.current_learning_iteration == 10

    lines = [Curve(tmp_path / name).read() for name in ("through", "halves")]
    for line in (*lines[0], *lines[1]):
        del line["seconds"], line["steps_per_second"]
    assert lines[0] == lines[1]
    assert [line["iteration"] for line in lines[0]] == list(range(1, 11))


def test_two_calls_of_learn_equal_one(tmp_path: Path) -> None:
    one = make(tmp_path / "one")
    one.learn(4)
    whole = everything(one)
    two = make(tmp_path / "two")
    two.learn(1)
    two.learn(3)
    assert_same(everything(two), whole)


def test_the_counter_is_the_number_of_completed_iterations(tmp_path: Path) -> None:
    """rsl_rl leaves it one short, so that its resumed run repeats an iteration."""
    runner = make(tmp_path)
    runner.learn(3)
    assert runner.current_learning_iteration == 3
    assert read(runs.newest(tmp_path))["iter"] == 3
    assert runs.newest(tmp_path).name == "model_3.pt"


def test_the_last_two_checkpoints_stay_and_every_keep_interval_th(tmp_path: Path) -> None:
    cfg = ppo_config() | {"save_interval": 1, "keep_interval": 3}
    make(tmp_path, cfg=cfg).learn(8)
    assert [path.name for path in runs.checkpoints(tmp_path)] == [
        f"model_{i}.pt" for i in (3, 6, 7, 8)
    ]
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_checkpoint_that_the_check_chose_is_never_removed(tmp_path: Path) -> None:
    runner = make(tmp_path, cfg=ppo_config() | {"save_interval": 1})
    runner.learn(1)
    runs.set_best(tmp_path, tmp_path / "model_1.pt")
    runner.learn(5)
    assert [path.name for path in runs.checkpoints(tmp_path)] == [
        f"model_{i}.pt" for i in (1, 5, 6)
    ]


def test_resuming_from_an_older_checkpoint_sets_the_newer_ones_aside(tmp_path: Path) -> None:
    make(tmp_path).learn(4)
    again = make(tmp_path)
    again.load(str(tmp_path / "model_2.pt"))
    again.learn(1)
    assert [p.name for p in runs.checkpoints(tmp_path)] == ["model_2.pt", "model_3.pt"]
    assert (tmp_path / "model_4.pt.aside").is_file()
    assert [line["iteration"] for line in Curve(tmp_path).read()] == [1, 2, 3]


class Malice:
    """Unpickled by an ordinary torch.load, this would make a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_a_pickle_is_refused_and_never_executed(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    torch.save({"infos": Malice(str(proof))}, tmp_path / "model_1.pt")
    with pytest.raises(CheckpointError, match=r"refused, nothing in it was run"):
        read(tmp_path / "model_1.pt")
    (tmp_path / "model_2.pt").write_bytes(pickle.dumps(Malice(str(proof))))
    with pytest.raises(CheckpointError, match="not a zip file"):
        read(tmp_path / "model_2.pt")
    assert not proof.exists()


def test_a_truncated_checkpoint_is_refused_and_the_previous_good_one_named(
    tmp_path: Path,
) -> None:
    make(tmp_path).learn(4)
    newest = tmp_path / "model_4.pt"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"damaged or cut short.*model_2\.pt"):
        make(tmp_path).load(str(newest))


def test_one_flipped_bit_is_seen(tmp_path: Path) -> None:
    """torch.load does not look at the checksums in its own files."""
    make(tmp_path).learn(2)
    path = tmp_path / "model_2.pt"
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(path.read_bytes())
    middle = entry.header_offset + len(entry.filename) + 200 + entry.file_size // 2
    content[middle] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="wrong checksum"):
        read(path)


def test_another_major_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    make(tmp_path).learn(1)
    path = tmp_path / "model_1.pt"
    data = torch.load(path, weights_only=True)
    data["infos"]["schema_version"] = "2.0"
    checkpoint.write(path, data)
    with pytest.raises(CheckpointError, match=r"schema version 2\.0.*reads 1\.x"):
        read(path)
    data["infos"]["schema_version"] = "1.9"
    checkpoint.write(path, data)
    assert read(path)["iter"] == 1


def test_other_observations_are_refused_naming_both(tmp_path: Path) -> None:
    make(tmp_path).learn(1)
    blind = ppo_config()
    blind["obs_groups"] = {"actor": ["proprio"], "critic": ["critic"]}
    runner = make(tmp_path / "blind", cfg=blind)
    with pytest.raises(CheckpointError, match=r"\['proprio', 'privileged'\].*\['proprio'\]"):
        runner.load(str(tmp_path / "model_1.pt"))


def test_another_size_of_a_group_is_refused_naming_both() -> None:
    infos = {"obs_groups": {"actor": ["proprio"]}, "obs_sizes": {"proprio": [48]}}
    with pytest.raises(CheckpointError, match=r"'proprio' has shape \[48\].*\[45\]"):
        checkpoint.check_observations({"actor": ["proprio"]}, {"proprio": [45]}, infos)


def test_another_number_of_environments_is_refused_on_resume(tmp_path: Path) -> None:
    make(tmp_path).learn(1)
    other = Runner(DummyEnv(num_envs=6), ppo_config())
    with pytest.raises(CheckpointError, match="holds 4 environments, this run has 6"):
        other.load(str(tmp_path / "model_1.pt"))


def test_the_network_is_rebuilt_from_the_checkpoint_alone(tmp_path: Path) -> None:
    runner = make(tmp_path)
    runner.learn(3)
    policy = load_policy(tmp_path / "model_3.pt")
    obs = runner.env.get_observations()
    expected = runner.alg.get_policy().eval()(obs)
    assert torch.equal(policy(obs), expected)
    assert not policy.training


def test_nan_from_the_environment_stops_the_run_with_a_dump(tmp_path: Path) -> None:
    runner = make(tmp_path)
    env_of(runner).poison_at = 4 * 2 + 1  # second step of the third rollout
    with pytest.raises(NonFiniteRollout, match="the rewards, at step 1") as raised:
        runner.learn(5)
    dump = torch.load(tmp_path / "nonfinite_2.pt", weights_only=True)
    assert dump["statistics"]["the rewards"]["nonfinite"] == 1
    assert dump["iteration"] == 2
    assert "nonfinite_2.pt" in raised.value.__notes__[0]
    assert "model_2.pt" in raised.value.__notes__[0]
    assert read(tmp_path / "model_2.pt")["iter"] == 2


def test_an_invalid_transition_may_carry_nan(tmp_path: Path) -> None:
    class Masking(DummyEnv):
        def step(self, actions: torch.Tensor) -> Any:
            obs, rewards, dones, extras = super().step(actions)
            return obs, rewards, dones, extras | {"valid": rewards.isfinite()}

    seed_everything(0)
    env = Masking()
    env.poison_at = 5
    runner = Runner(env, ppo_config(), tmp_path)
    runner.learn(3)
    assert all(p.isfinite().all() for p in runner.alg.get_policy().parameters())
    assert torch.tensor(list(runner.ledger.returns)).isfinite().all()


def test_a_loss_that_is_not_finite_leaves_a_dump_and_the_last_good_step(tmp_path: Path) -> None:
    runner = make(tmp_path)
    runner.learn(2)
    with torch.no_grad():
        next(iter(runner.alg.critic.mlp.parameters()))[0, 0] = torch.inf
    before = {k: v.clone() for k, v in runner.alg.actor.state_dict().items()}
    with pytest.raises(NonFiniteLoss):
        runner.learn(1)
    after = runner.alg.actor.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    dump = torch.load(tmp_path / "nonfinite_2.pt", weights_only=True)
    assert "not taken" in dump["error"]
    assert read(tmp_path / "model_2.pt")["iter"] == 2


def test_a_signal_ends_the_iteration_saves_and_says_how_to_resume(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = make(tmp_path / "whole")
    whole.learn(6)
    expected = everything(whole)
    before = signal.getsignal(signal.SIGTERM)
    runner = make(tmp_path / "cut", on_iteration=interrupt, resume_command="tutelage train x")
    with pytest.raises(runs.Interrupted, match=r"after 3 iterations.*tutelage train x"):
        runner.learn(6)
    assert signal.getsignal(signal.SIGTERM) is before
    assert runs.newest(tmp_path / "cut").name == "model_3.pt"
    resumed = make(tmp_path / "cut")
    resumed.load(str(runs.newest(tmp_path / "cut")))
    resumed.learn(3)
    assert_same(everything(resumed), expected)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.dummy import DummyEnv, ppo_config
from tutelage.algos.checkpoint import seed_everything
from tutelage.algos.runner import Runner
def at(progress):
    if progress.iteration == 5:
        os.kill(os.getpid(), signal.SIGKILL)
seed_everything(7)
Runner(DummyEnv(seed=7), ppo_config(), Path(sys.argv[1]), on_iteration=at).learn(10)
"""


def test_a_run_killed_without_warning_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    whole.learn(8)
    expected = everything(whole)
    run = tmp_path / "killed"
    run.mkdir()
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", KILLED, str(run)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert runs.newest(run).name == "model_4.pt"  # save_interval 2, killed in the fifth
    resumed = make(run)
    resumed.load(str(runs.newest(run)))
    resumed.learn(4)
    assert_same(everything(resumed), expected)
    assert [line["iteration"] for line in Curve(run).read()] == list(range(1, 9))


def test_rank_r_draws_with_seed_plus_r() -> None:
    assert seed_everything(5, rank=3) == 8
    drawn = torch.rand(3)
    seed_everything(8)
    assert torch.equal(torch.rand(3), drawn)


def test_every_generator_comes_back() -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, ...]:
        legacy = float(np.random.randn())  # noqa: NPY002
        return float(torch.randn(1)), legacy, random.gauss(0, 1)

    seed_everything(3)
    draw()
    state = checkpoint.random_state()
    expected = draw()
    checkpoint.set_random_state(state)
    assert draw() == expected


def test_nothing_is_printed_and_the_events_are_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path).learn(2)
    assert capfd.readouterr().out == ""
    assert list(tmp_path.glob("events.out.tfevents.*"))
    assert not (tmp_path / "git").exists()


def test_progress_counts_steps_and_averages_what_the_environment_logs(tmp_path: Path) -> None:
    seen: list[Progress] = []
    make(tmp_path, on_iteration=seen.append).learn(4)
    assert [p.env_steps for p in seen] == [16, 32, 48, 64]  # 4 environments, 4 steps
    assert [(p.iteration, p.total) for p in seen] == [(i, 4) for i in (1, 2, 3, 4)]
    assert seen[1].episode_length == 8.0  # all episodes end with step 8
    assert seen[0].reward != seen[0].reward  # none has ended
    assert seen[-1].seconds_left == 0.0
    line = json.loads((tmp_path / "curve.jsonl").read_text().splitlines()[0])
    assert line["reward"] is None
    # the gain is 1 until all end with step 8, and 1.01 from then on
    assert seen[1].metrics["Curriculum/gain"] == pytest.approx((3 * 1.0 + 1.01) / 4)
    assert set(seen[0].losses) >= {"value", "surrogate", "entropy"}


def test_means_leave_out_nan_and_survive_reused_buffers() -> None:
    means = Means()
    buffer = torch.tensor(1.0)
    means.add({"a": buffer, "b": float("nan")})
    buffer.fill_(3.0)
    means.add({"a": buffer, "b": 5.0, "c": float("nan")})
    assert means.take() == {"a": 2.0, "b": 5.0}
    assert means.take() == {}


def test_the_configuration_handed_over_is_not_edited(tmp_path: Path) -> None:
    cfg = ppo_config()
    make(tmp_path, cfg=cfg)
    assert cfg == ppo_config()
