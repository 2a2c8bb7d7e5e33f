"""Run directories: made, found, described."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from tutelage.algos import runs

WHEN = datetime(2026, 1, 2, 3, 4, 5)


def touch(run: Path, *iterations: int) -> None:
    for iteration in iterations:
        (run / f"model_{iteration}.pt").touch()


def test_a_run_is_named_by_its_start_and_its_name(tmp_path: Path) -> None:
    run = runs.create("go2-flat-teacher", root=tmp_path, name="first", now=WHEN)
    assert run == tmp_path / "go2-flat-teacher" / "2026-01-02_03-04-05_first"
    assert {path.name for path in run.iterdir()} == {"params", "exported", "videos", "eval"}


def test_two_runs_in_one_second_get_two_directories(tmp_path: Path) -> None:
    first, second = (runs.create("x", root=tmp_path, now=WHEN) for _ in range(2))
    assert (first.name, second.name) == ("2026-01-02_03-04-05", "2026-01-02_03-04-06")


@pytest.mark.parametrize("name", ["a/b", "..", "a b"])
def test_a_name_that_leaves_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="use letters, digits"):
        runs.create("x", root=tmp_path, name=name)


def test_runs_are_listed_by_age_and_found_by_any_name(tmp_path: Path) -> None:
    old = runs.create("x", root=tmp_path, name="z", now=WHEN)
    new = runs.create("x", root=tmp_path, name="a", now=WHEN.replace(year=2027))
    (tmp_path / "x" / "notes").mkdir()
    assert runs.listing("x", root=tmp_path) == [old, new]
    assert runs.latest("x", root=tmp_path) == new
    touch(old, 3)
    for name in (old, f"x/{old.name}", old / "model_3.pt"):
        assert runs.find(name, root=tmp_path) == old
    assert runs.find("x", root=tmp_path) == new


def test_an_unknown_run_lists_the_runs_present(tmp_path: Path) -> None:
    runs.create("x", root=tmp_path, now=WHEN)
    with pytest.raises(FileNotFoundError, match=r"no run 'y'.*x/2026-01-02_03-04-05"):
        runs.find("y", root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no run of 'y'.*experiments there: x"):
        runs.latest("y", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        runs.latest("y", root=tmp_path / "nowhere")


def test_checkpoints_are_ordered_by_number_not_by_name(tmp_path: Path) -> None:
    touch(tmp_path, 10, 9, 100)
    (tmp_path / "model_final.pt").touch()
    (tmp_path / "model_200.pt.aside").touch()
    assert [path.name for path in runs.checkpoints(tmp_path)] == [
        "model_9.pt",
        "model_10.pt",
        "model_100.pt",
    ]
    assert runs.newest(tmp_path).name == "model_100.pt"


def test_best_is_preferred_to_the_newest(tmp_path: Path) -> None:
    touch(tmp_path, 1, 2)
    assert runs.best(tmp_path) is None
    assert runs.checkpoint_of(tmp_path).name == "model_2.pt"
    runs.set_best(tmp_path, tmp_path / "model_1.pt")
    assert runs.checkpoint_of(tmp_path).name == "model_1.pt"
    assert runs.checkpoint_of(tmp_path / "model_2.pt").name == "model_2.pt"
    (tmp_path / "model_1.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"points to model_1\.pt.*model_2\.pt"):
        runs.best(tmp_path)


def test_best_must_be_a_checkpoint_of_the_run(tmp_path: Path) -> None:
    touch(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match=r"not a checkpoint of.*model_1\.pt"):
        runs.set_best(tmp_path, tmp_path / "model_7.pt")


def test_the_status_follows_how_the_work_ends(tmp_path: Path) -> None:
    assert runs.status(tmp_path)["state"] == "failed"
    with runs.recorded(tmp_path):
        assert runs.status(tmp_path)["state"] == "running"
    assert runs.status(tmp_path)["state"] == "done"
    with pytest.raises(ZeroDivisionError), runs.recorded(tmp_path):
        _ = 1 / 0
    assert runs.status(tmp_path)["state"] == "failed"
    assert runs.status(tmp_path)["why"] == "ZeroDivisionError: division by zero"
    with pytest.raises(runs.Interrupted), runs.recorded(tmp_path):
        raise runs.Interrupted(tmp_path, 5, "tutelage train x --resume y")
    assert runs.status(tmp_path)["state"] == "interrupted"
    assert "after 5 iterations" in runs.status(tmp_path)["why"]


def test_a_running_run_whose_process_is_gone_was_interrupted(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    runs.set_status(tmp_path, "running")
    path = tmp_path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": gone.pid}))
    assert runs.status(tmp_path)["state"] == "interrupted"
    assert str(gone.pid) in runs.status(tmp_path)["why"]


def test_an_unknown_state_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'finished'; choices: running, interrupted"):
        runs.set_status(tmp_path, "finished")  # type: ignore[arg-type]


def test_a_file_whose_writing_fails_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    runs.write_text(path, "before")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        runs.write_text(path, "after")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_the_meta_data_name_commit_machine_and_command(tmp_path: Path) -> None:
    runs.write_meta(tmp_path, seed=4, recipe="go2-flat")
    meta = runs.read_json(tmp_path / "meta.json")
    assert meta["seed"] == 4
    assert meta["recipe"] == "go2-flat"
    assert set(meta["git"]) == {"commit", "dirty"}
    assert meta["machine"]["cores"] >= 1
    assert meta["versions"]["python"].startswith("3.")


def test_a_folder_outside_of_git_has_no_commit(tmp_path: Path) -> None:
    assert runs.git_state(tmp_path) == {"commit": "", "dirty": False}
