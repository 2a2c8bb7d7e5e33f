"""`tutelage run`: every stage once, whatever interrupts it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tutelage.algos import runs
from tutelage.algos.progress import Progress
from tutelage.algos.runs import Interrupted
from tutelage.cli import commands
from tutelage.cli.main import main
from tutelage.cli.pipeline import Pipeline, begin
from tutelage.cli.progress import Line


class Impatient(Line):
    """A user who presses Ctrl-C in the second iteration of a stage."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def advance(self, progress: Progress) -> None:
        super().advance(progress)
        if self.stage == self.at and progress.iteration == 2:
            signal.raise_signal(signal.SIGINT)


def test_a_run_goes_on_where_it_was_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = commands.Run(recipe="toy-flat", smoke=True, video=False, log_root=tmp_path)
    folder, recipe, notes = begin(command)
    for stage, done in (("teacher", []), ("student", ["teacher"])):
        with pytest.raises(Interrupted), Impatient(stage) as line:
            Pipeline(folder, recipe, notes, line).perform()
        again = commands.Run(recipe="toy-flat", resume=folder, log_root=tmp_path)
        same, recipe, notes = begin(again)
        assert same == folder
        assert notes.smoke
        assert not notes.video
        assert [stage.name for stage in notes.stages] == done
    assert main(["run", "toy-flat", "--resume", str(folder), "--log-root", str(tmp_path)]) == 0
    answer = capsys.readouterr().out
    assert "verdict:" in answer
    assert str(folder / "check/report.html") in answer
    assert (folder / "check/report.html").is_file()
    assert (folder / "exported/policy.onnx").is_file()
    kept = json.loads((folder / "pipeline.json").read_text())
    assert [stage["name"] for stage in kept["stages"]] == ["teacher", "student", "export"]
    assert [name for name, _ in kept["seconds"]] == ["teacher", "student", "export", "check"]
    for kind in ("teacher", "student"):
        (run,) = runs.listing(f"toy-flat-{kind}", root=folder)
        lines = (run / "curve.jsonl").read_text().splitlines()
        assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3, 4]
    assert runs.status(folder)["state"] == "done"


def test_a_folder_of_something_else_is_not_a_run_to_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = runs.create("toy-flat-teacher", root=tmp_path)
    assert main(["run", "toy-flat", "--resume", str(other), "--log-root", str(tmp_path)]) == 2
    assert "was not made by `tutelage run`" in capsys.readouterr().err


def test_a_run_of_one_recipe_is_not_resumed_as_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = commands.Run(recipe="toy-flat", smoke=True, log_root=tmp_path)
    folder, _, _ = begin(command)
    assert main(["run", "go2-flat", "--resume", str(folder), "--log-root", str(tmp_path)]) == 2
    assert "is a run of 'toy-flat', not of 'go2-flat'" in capsys.readouterr().err
