"""The command line: what is typed, what is said, and the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.algos.recipes import RECIPES, Student, Teacher
from tutelage.cli import commands
from tutelage.cli.main import PERFORMED_BY, main, parse
from tutelage.cli.names import UserError, choose, override

Said = pytest.CaptureFixture[str]


def said(capsys: Said) -> str:
    """All that was printed, with the boxes and line breaks of tyro's messages taken away."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).replace("│", " ").split())


def test_every_command_has_a_module_that_performs_it() -> None:
    assert set(PERFORMED_BY) == set(commands.NAMES)


@pytest.mark.parametrize("word", commands.NAMES)
def test_every_command_explains_itself(word: str, capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    assert ended.value.code == 0
    assert f"usage: tutelage {word}" in said(capsys)


@pytest.mark.parametrize("words", [["--help"], ["train", "go3"], ["list"]])
def test_what_needs_no_physics_answers_without_loading_torch(words: list[str]) -> None:
    script = (
        "import sys\n"
        "from tutelage.cli.main import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'mujoco' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_misspelt_command_is_answered_with_the_nearest(capsys: Said) -> None:
    assert main(["distil", "go2-flat"]) == 2
    assert "unknown command 'distil'. Did you mean 'distill'?" in said(capsys)


def test_a_misspelt_option_is_answered_with_the_nearest(capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "go2-flat", "--num-env", "8"])
    assert ended.value.code == 2
    words = said(capsys)
    assert "Unrecognized options: --num-env" in words
    assert "Perhaps you meant: --num-envs" in words


def test_an_option_of_the_wrong_type_is_named(capsys: Said) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "go2-flat", "--seed", "one"])
    assert ended.value.code == 2
    assert "--seed" in said(capsys)


@pytest.mark.parametrize("word", ["run", "train", "bench"])
def test_an_unknown_recipe_is_answered_with_the_choices(word: str, capsys: Said) -> None:
    assert main([word, "go2-flt"]) == 2
    words = said(capsys)
    assert "unknown recipe 'go2-flt'. Did you mean 'go2-flat'?" in words
    assert all(name in words for name in RECIPES)
    assert "Traceback" not in words


def test_a_mistake_shows_where_it_arose_only_when_asked(capsys: Said) -> None:
    assert main(["run", "nothing", "--debug"]) == 2
    assert "Traceback" in said(capsys)


def test_a_teacher_is_never_given_as_a_run_to_resume() -> None:
    command = parse(["distill", "go2-flat", "--teacher", "a/run"])
    assert isinstance(command, commands.Distill)
    assert command.teacher == Path("a/run")
    assert command.resume is None


def test_distilling_without_a_teacher_is_refused(capsys: Said) -> None:
    assert main(["distill", "go2-flat"]) == 2
    assert "distillation needs --teacher RUN|FILE" in said(capsys)


def test_an_unknown_run_is_answered_with_those_that_exist(tmp_path: Path, capsys: Said) -> None:
    gone = str(tmp_path / "gone")
    for words in (
        ["train", "go2-flat", "--resume", gone, "--log-root", str(tmp_path)],
        ["distill", "go2-flat", "--teacher", gone, "--log-root", str(tmp_path)],
        ["run", "go2-flat", "--resume", gone, "--log-root", str(tmp_path)],
        ["export", gone],
        ["check", gone],
        ["play", gone, "--video", str(tmp_path / "x.mp4")],
    ):
        assert main(words) == 2, words
        answer = said(capsys)
        assert "gone" in answer
        assert "Traceback" not in answer


def test_a_policy_that_is_not_shipped_is_answered_with_the_choices(capsys: Said) -> None:
    assert main(["check", "go3-flat"]) == 2
    assert "unknown policy 'go3-flat'" in said(capsys)


def test_a_file_that_is_not_a_policy_is_refused(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "policy.onnx").write_bytes(b"not a policy")
    assert main(["check", str(tmp_path / "policy.onnx"), "--out", str(tmp_path)]) == 2
    assert "policy.onnx" in said(capsys)


def test_settings_keep_the_type_they_had() -> None:
    changed = override(
        "teacher", Teacher(), ["learning_rate=3e-4", "epochs=2", "hidden=(64, 32)", "symmetry=true"]
    )
    assert changed == Teacher(learning_rate=3e-4, epochs=2, hidden=(64, 32), symmetry=True)
    assert override("teacher", Teacher(), ["init_std=1"]).init_std == 1.0
    assert override("student", Student(), ["encoder=tcn"]).encoder == "tcn"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("learning_rat=1", "unknown setting of the teacher 'learning_rat'. Did you mean 'learni"),
        ("epochs=2.5", "--set epochs: '2.5' is not a value of type int"),
        ("epochs=True", "--set epochs: 'True' is not a value of type int"),
        ("epochs=many", "--set epochs: 'many' is not a value of type int"),
        ("epochs", "--set takes KEY=VALUE, not 'epochs'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: str, words: str) -> None:
    with pytest.raises(UserError) as refused:
        override("teacher", Teacher(), [setting])
    assert str(refused.value).startswith(words)


def test_a_name_far_from_all_choices_gets_no_guess() -> None:
    with pytest.raises(UserError) as refused:
        choose("robot", "zeppelin", {"go2": 1, "g1": 2})
    assert str(refused.value) == "unknown robot 'zeppelin'. Choices: g1, go2"


@pytest.mark.parametrize("word", ["train", "run"])
def test_a_configuration_is_printed_without_doing_anything(
    word: str, tmp_path: Path, capsys: Said
) -> None:
    log_root = str(tmp_path / "logs")
    assert main([word, "go2-flat", "--smoke", "--print-config", "--log-root", log_root]) == 0
    assert "task: go2-flat" in said(capsys)
    assert not (tmp_path / "logs").exists()


def test_what_is_printed_shows_what_was_typed(capsys: Said) -> None:
    words = "train go2-flat --num-envs 7 --set epochs=3 --print-config"
    assert main(words.split()) == 0
    answer = said(capsys)
    assert "num_envs: 7" in answer
    assert "epochs: 3" in answer


def test_the_list_names_every_recipe_robot_and_task(tmp_path: Path, capsys: Said) -> None:
    from tutelage.assets import ROBOTS
    from tutelage.envs import TASKS

    assert main(["list", "--log-root", str(tmp_path)]) == 0
    answer = said(capsys)
    for name in (*RECIPES, *ROBOTS, *TASKS):
        assert name in answer
    assert "no runs in" in answer


def test_a_run_is_resumed_as_what_it_was(tmp_path: Path, capsys: Said) -> None:
    root = ["--log-root", str(tmp_path)]
    assert main(["train", "toy-flat", "--smoke", "--set", "epochs=2", *root]) == 0
    assert "velocity_error" in said(capsys)
    (run,) = (tmp_path / "toy-flat-teacher").iterdir()
    again = ["train", "toy-flat", "--resume", str(run), *root]
    assert main([*again, "--iterations", "5"]) == 0
    assert len((run / "curve.jsonl").read_text().splitlines()) == 5
    assert main([*again, "--set", "epochs=3"]) == 2
    assert "--set cannot change a run that is resumed" in said(capsys)
    assert main(["train", "go2-flat", "--resume", str(run), *root]) == 2
    assert "is a run of 'toy-flat', not of 'go2-flat'" in said(capsys)
    assert main(["export", str(run)]) == 2
    assert "which sees what only a simulator knows" in said(capsys)
