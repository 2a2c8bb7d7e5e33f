"""From recipe to teacher to student, on the two-joint toy, in seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.dummy import DummyEnv
from tutelage.algos import checkpoint, runs, train
from tutelage.algos.config import smoke, student_config, teacher_config
from tutelage.algos.evaluate import GateFailed, evaluate, judge
from tutelage.algos.plain import from_plain, read_yaml, to_plain, write_yaml
from tutelage.algos.progress import Progress
from tutelage.algos.recipes import Gate, Recipe, Student, Teacher

TOY = Recipe(
    name="toy-test",
    summary="as small as can be",
    robot="toy",
    task="toy-flat",
    teacher=Teacher(num_envs=8, steps=6, iterations=4, hidden=(16,), minibatches=2),
    student=Student(num_envs=8, steps=6, iterations=4, hidden=(16,), width=8, gradient_length=3),
)


def same(left: Any, right: Any, where: str = "") -> list[str]:
    """Names of what differs between two checkpoints, times left out."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        keys = [key for key in left if key != "seconds"]
        return [d for key in keys for d in same(left[key], right[key], f"{where}.{key}")]
    if isinstance(left, list | tuple):
        pairs = enumerate(zip(left, right, strict=True))
        return [d for i, (a, b) in pairs for d in same(a, b, f"{where}.{i}")]
    equal = torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right
    return [] if equal else [where]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def teacher(root: Path) -> Path:
    return train.train(TOY, log_root=root, seed=3, smoke=True)


@pytest.fixture(scope="module")
def student(teacher: Path, root: Path) -> Path:
    return train.distill(TOY, teacher, log_root=root, seed=3, smoke=True)


def stop_after(iteration: int) -> Any:
    def on_iteration(progress: Progress) -> None:
        if progress.iteration == iteration:
            os.kill(os.getpid(), signal.SIGINT)

    return on_iteration


def test_a_teacher_run_says_all_about_itself(teacher: Path) -> None:
    assert teacher.parent.name == "toy-test-teacher"
    assert runs.status(teacher)["state"] == "done"
    recipe = from_plain(Recipe, read_yaml(teacher / "params" / "recipe.yaml"))
    assert recipe == smoke(TOY)
    assert read_yaml(teacher / "params" / "teacher.yaml") == teacher_config(recipe)
    meta = runs.read_json(teacher / "meta.json")
    assert meta["seed"] == 3
    assert "torch" in meta["versions"]
    record = runs.read_json(teacher / "eval" / "model_4.json")
    assert record["results"].keys() >= {"return", "falls", "episode_length", "velocity_error"}


def test_a_teacher_resumed_in_the_simulator_equals_one_that_was_not(
    teacher: Path, root: Path
) -> None:
    with pytest.raises(runs.Interrupted) as stopped:
        train.train(TOY, log_root=root, seed=3, smoke=True, on_iteration=stop_after(2))
    run = stopped.value.run
    assert runs.status(run)["state"] == "interrupted"
    assert stopped.value.command == f"tutelage train toy-test --resume {run}"
    train.train(TOY, log_root=root, smoke=True, resume=run)
    assert runs.status(run)["state"] == "done"
    whole, halves = (checkpoint.read(path / "model_4.pt") for path in (teacher, run))
    assert same(whole, halves) == []


def test_a_student_resumed_in_the_simulator_equals_one_that_was_not(
    student: Path, teacher: Path, root: Path
) -> None:
    with pytest.raises(runs.Interrupted) as stopped:
        train.distill(TOY, teacher, log_root=root, seed=3, smoke=True, on_iteration=stop_after(1))
    run = stopped.value.run
    assert stopped.value.command == f"tutelage distill toy-test --resume {run}"
    train.distill(TOY, log_root=root, smoke=True, resume=run)
    whole, halves = (checkpoint.read(path / "model_4.pt") for path in (student, run))
    assert same(whole, halves) == []


def test_the_teachers_network_comes_from_its_own_checkpoint(student: Path, teacher: Path) -> None:
    """The recipe may since have been given another teacher."""
    theirs = checkpoint.read(teacher / "model_4.pt")["infos"]
    other = replace(TOY, teacher=replace(TOY.teacher, hidden=(999,)))
    config = student_config(other, theirs)
    assert config["teacher"]["hidden_dims"] == [16]
    assert config["obs_groups"]["teacher"] == ["proprio", "privileged"]
    kept = checkpoint.read(student / "model_4.pt")
    trained = checkpoint.read(teacher / "model_4.pt")["actor_state_dict"]
    assert same(kept["teacher_state_dict"], trained) == []
    meta = runs.read_json(student / "meta.json")
    assert meta["teacher"]["sha256"] == train.sha256(teacher / "model_4.pt")


def test_the_policies_load_from_their_checkpoints_alone(teacher: Path, student: Path) -> None:
    for run, groups in ((teacher, ["proprio", "privileged"]), (student, ["proprio"])):
        policy = train.load_policy(runs.newest(run))
        assert list(policy.obs_groups) == groups


def test_a_teacher_that_does_other_than_its_record_is_refused(
    teacher: Path, root: Path, tmp_path: Path
) -> None:
    place = teacher / "eval" / "model_4.json"
    record = runs.read_json(place)
    true = record["results"]["return"]
    runs.write_json(place, record | {"results": record["results"] | {"return": true * 1.1}})
    try:
        with pytest.raises(train.TeacherMismatch, match=f"{true:.4f} now and {true * 1.1:.4f}"):
            train.distill(TOY, teacher, log_root=tmp_path, smoke=True)
        runs.write_json(place, record | {"sha256": "0"})
        with pytest.raises(train.TeacherMismatch, match="other SHA-256"):
            train.distill(TOY, teacher, log_root=tmp_path, smoke=True)
        place.unlink()
        with pytest.raises(train.TeacherMismatch, match="has no record of its return"):
            train.distill(TOY, teacher, log_root=tmp_path, smoke=True)
    finally:
        runs.write_json(place, record)
    assert runs.listing("toy-test-student", root=tmp_path) == []


def test_a_student_is_no_teacher(student: Path, tmp_path: Path) -> None:
    with pytest.raises(checkpoint.CheckpointError, match="of a student, not of a teacher"):
        train.distill(TOY, student, log_root=tmp_path)


def test_a_student_does_not_resume_a_teacher(teacher: Path, root: Path) -> None:
    with pytest.raises(ValueError, match="run of a teacher; a student cannot resume it"):
        train.distill(TOY, log_root=root, resume=teacher, smoke=True)


def test_another_recipe_does_not_resume_the_run(teacher: Path, root: Path) -> None:
    other = replace(TOY, teacher=replace(TOY.teacher, gamma=0.9))
    with pytest.raises(ValueError, match=r"teacher\.gamma is 0\.9 now and was 0\.99"):
        train.train(other, log_root=root, resume=teacher, smoke=True)


def test_a_missed_gate_fails_the_run_unless_it_is_a_smoke_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "EVAL_STEPS", 20)
    strict = replace(
        TOY,
        teacher=replace(TOY.teacher, iterations=1),
        teacher_gates=(Gate(metric="velocity_error", high=1e-6),),
    )
    run = train.train(strict, log_root=tmp_path, smoke=True)
    (verdict,) = runs.read_json(run / "eval" / "model_1.json")["gates"]
    assert verdict["passed"] is False
    with pytest.raises(GateFailed, match=r"velocity_error is .*, should be at most 1e-06"):
        train.train(strict, log_root=tmp_path)
    failed = runs.latest("toy-test-teacher", root=tmp_path)
    assert runs.status(failed)["state"] == "failed"
    assert "velocity_error" in runs.status(failed)["why"]
    assert runs.newest(failed).name == "model_1.pt"


KILLED = """
import sys
from pathlib import Path
from tests.test_train import TOY, stop_after
from tutelage.algos import runs, train
try:
    train.train(TOY, log_root=Path(sys.argv[1]), seed=3, smoke=True, on_iteration=stop_after(3))
except runs.Interrupted as stopped:
    sys.exit(130)
"""


def test_a_process_that_gets_sigint_saves_and_is_resumed(teacher: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == 130
    run = runs.latest("toy-test-teacher", root=tmp_path)
    assert runs.status(run)["why"].startswith("interrupted after 3 iterations")
    train.train(TOY, log_root=tmp_path, smoke=True, resume=run)
    whole, halves = (checkpoint.read(path / "model_4.pt") for path in (teacher, run))
    assert same(whole, halves) == []


def test_return_falls_and_length_are_those_of_the_first_episode() -> None:
    """Environment 0 fails after 2 steps, environment 1 runs out of time after 3; reward 1."""

    class Counted(DummyEnv):
        max_episode_length = 3

        def step(self, actions: torch.Tensor) -> Any:
            self.episode_length_buf = self.episode_length_buf + 1
            failed = torch.tensor([True, False]) & (self.episode_length_buf == 2)
            ended = self.episode_length_buf == 3
            done = failed | ended
            self.episode_length_buf = torch.where(done, 0, self.episode_length_buf)
            log = {"Metrics/velocity_error": torch.tensor(0.25), "Episode_Reward/x": 1.0}
            return self.obs, torch.ones(2), done, {"time_outs": ended, "log": log}

    class Still(torch.nn.Module):
        resets = 0

        def forward(self, obs: Any) -> torch.Tensor:
            return torch.zeros(2, 2)

        def reset(self, dones: torch.Tensor | None = None) -> None:
            self.resets += 1

    results = evaluate(Still(), Counted(num_envs=2), steps=6)
    assert results == {
        "return": 2.5,  # 2 and 3
        "episode_length": 2.5,
        "falls": 0.5,
        "velocity_error": 0.25,
    }


def test_a_gate_on_what_was_not_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="'speed', which was not measured; measured: return"):
        judge({"return": 1.0}, [Gate(metric="speed")])


def test_a_nan_does_not_pass_a_gate() -> None:
    (verdict,) = judge({"return": float("nan")}, [Gate(metric="return", low=0.0)])
    assert not verdict["passed"]


def test_a_recipe_survives_yaml(tmp_path: Path) -> None:
    recipe = replace(TOY, gates=(Gate(metric="falls", high=0.02), Gate(metric="x", low=1e-5)))
    write_yaml(tmp_path / "recipe.yaml", recipe)
    assert from_plain(Recipe, read_yaml(tmp_path / "recipe.yaml")) == recipe


def test_a_misspelt_key_is_refused_with_the_nearest_name() -> None:
    plain = to_plain(TOY)
    plain["teacher"]["lerning_rate"] = 1.0
    message = "Recipe.teacher: unknown key 'lerning_rate'; did you mean learning_rate?"
    with pytest.raises(ValueError, match=message):
        from_plain(Recipe, plain)
    del plain["teacher"]["lerning_rate"], plain["task"]
    with pytest.raises(ValueError, match="Recipe: missing task"):
        from_plain(Recipe, plain)
