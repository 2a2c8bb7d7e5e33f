"""What `tutelage doctor` finds, on machines that lack something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.assets import ROBOTS
from tutelage.cli import doctor
from tutelage.cli.doctor import Finding
from tutelage.cli.main import main


def test_here_the_core_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "the core works" in said
    for what in ("mujoco.batch", "onnxruntime on the CPU", "simulator mujoco_cpu", "rsl-rl-lib"):
        assert what in said
    assert all(f"robot {name}" in said for name in ROBOTS)


def test_an_examination_that_fails_is_itself_a_finding() -> None:
    def engine() -> Iterator[Finding]:
        yield Finding(what="before", well=True, text="")
        raise ImportError("no module named 'engine'")

    before, broken = doctor.examined(engine)
    assert before.what == "before"
    assert (broken.what, broken.well, broken.core) == ("engine", False, True)
    assert broken.text == "ImportError: no module named 'engine'"
    assert broken.remedy


def test_every_package_is_held_against_the_bounds_that_we_declare() -> None:
    found = {finding.what: finding for finding in doctor.packages()}
    assert found["mujoco"].well
    assert found["torch"].remedy.startswith('pip install "torch')
    assert "pytest" not in found  # only tests need it


@pytest.mark.parametrize(("asked", "package"), [("egl", "libegl1"), ("osmesa", "libosmesa6")])
def test_missing_gl_is_mended_by_one_package(
    asked: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", asked)
    monkeypatch.setattr(doctor, "DRAW", "raise SystemExit(1)")
    (finding,) = doctor.rendering()
    assert (finding.well, finding.core) == (False, False)
    assert finding.remedy == f"apt-get install {package}"


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a file"
    place.write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place))
    (finding,) = doctor.cache()
    assert not finding.well
    assert str(place) in finding.text
    assert "NUMBA_CACHE_DIR" in finding.remedy
