"""What a check leaves to look at: the page, its numbers, its pictures and its video."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
import pytest
from PIL import Image

from tests import stub_policy
from tutelage.assets import ROBOTS
from tutelage.sim2real import play, plots, report, scene, video
from tutelage.sim2real import scenario as scenarios
from tutelage.sim2real.check import CheckResult, check, model_path
from tutelage.sim2real.check_episode import World
from tutelage.sim2real.runtime import Policy
from tutelage.sim2real.scenario import Physics

TOY = ROBOTS["toy"]()
NAMES = ["step forward", "stand", "push 90", "delay 0+0 forward", "delay 0.02+0.02 forward"]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weight = np.zeros((stub_policy.size(TOY), 2))
    weight[-2:, 0], weight[-2:, 1] = (1.0, 0.5), (-1.0, -0.5)  # paddle with the gait clock
    return stub_policy.write(tmp_path_factory.mktemp("policy") / "policy.onnx", TOY, weight)


def short(name: str) -> scenarios.Scenario:
    """A shipped scenario of which every episode is cut short, as tests must be."""
    plan = scenarios.load(name)
    cut = tuple(replace(e, duration=min(e.duration, 3.4)) for e in plan.episodes)
    return replace(plan, episodes=cut)


@pytest.fixture(scope="module")
def result(policy: Path) -> CheckResult:
    gates = [("falls", float("-inf"), 0.02), ("success", 0.99, float("inf"))]
    return check(policy, short("generic"), episodes=NAMES, gates=gates, workers=1)


@pytest.fixture(scope="module")
def folder(result: CheckResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    lines = [{"seconds": 10.0 * i, "metrics": {"velocity_error": 1.0 / (1 + i)}} for i in range(9)]
    curve = out / "curve.jsonl"
    curve.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"seconds": 9')
    plan = scenarios.load("generic")
    report.write(result, plan, out, video=False, curve={"student": curve})
    return out


def pictures(page: str) -> dict[str, Image.Image]:
    found = re.findall(r'<img alt="(\w+)" src="data:image/png;base64,([^"]+)"', page)
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for name, data in found}


def test_the_page_shows_the_verdict_and_its_numbers(folder: Path, result: CheckResult) -> None:
    page = (folder / "report.html").read_text()
    assert f"Failed {len(result.failing)} of 2 gates" in page
    assert f"{result.metrics['velocity_error']:.3g}" in page
    assert f"All {len(NAMES)} episodes" in page
    assert "No video: no video was asked for" in page


def test_the_page_is_one_file(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)


def test_every_picture_that_has_something_to_show_is_there(folder: Path) -> None:
    found = pictures((folder / "report.html").read_text())
    assert set(found) == {"tracking", "success", "recovery", "sweeps", "torques", "curve"}
    for name, picture in found.items():
        assert np.asarray(picture.convert("L")).std() > 5, name


def test_the_json_holds_the_result_and_is_strict(folder: Path, result: CheckResult) -> None:
    data = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert data["verdict"] == "fail"
    assert data["metrics"] == result.metrics
    assert data["gates"][0]["low"] is None  # an open bound
    assert data["gates"][0]["high"] == 0.02
    assert [episode["name"] for episode in data["episodes"]] == NAMES
    assert len(data["policy_sha256"]) == len(data["scenario_sha256"]) == 64
    assert data["lineage"]["recipe"] == "stub"
    assert data["video"]["missing_because"] == "no video was asked for"


def test_a_sweep_has_one_row_for_each_value(result: CheckResult) -> None:
    assert [row.name for row in result.sweeps["delay"]] == ["0", "0.04"]


def test_kinds_of_ground_become_a_table_of_success(policy: Path) -> None:
    names = ["rough 0.025 forward", "rough 0.07 forward"]
    toy = check(policy, short("rough"), episodes=names, workers=1)
    assert [row.name for row in toy.grounds["rough"]] == ["0.025", "0.07"]
    with plots.style():
        assert plots.grounds(toy.grounds) is not None


def film(policy: Path, path: Path) -> str:
    return play.play(policy, video_path=path, command=(0.3, 0.0, 0.0), seconds=0.4)


def test_a_video_has_frames_with_something_in_them(policy: Path, tmp_path: Path) -> None:
    path = tmp_path / "toy.mp4"
    fault = film(policy, path)
    if fault:
        pytest.skip(f"no GL on this machine: {fault}")
    frames = imageio_ffmpeg.read_frames(str(path))
    meta = next(frames)
    assert meta["size"] == (640, 480)
    seen = [np.frombuffer(frame, np.uint8).astype(float) for frame in frames]
    assert len(seen) == 10  # 0.4 s at 25 a second
    assert all(frame.std() > 10 for frame in seen)
    assert np.abs(seen[0] - seen[-1]).max() > 20  # something moves
    assert path.stat().st_size < 1_500_000


def test_without_gl_there_is_a_reason_and_the_rest_stands(
    result: CheckResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    assert result.contract is not None
    model = model_path(result.contract, None)
    report.write(result, scenarios.load("generic"), tmp_path, mjcf=model)
    page = (tmp_path / "report.html").read_text()
    assert "No video: crayons" in page
    assert set(pictures(page)) >= {"tracking", "success"}
    data = json.loads((tmp_path / "report.json").read_text())
    assert "crayons" in data["video"]["missing_because"]


def test_arrows_of_a_video_are_means_over_a_fifth_of_a_second() -> None:
    smooth = video._smooth(np.arange(6.0)[:, None], 2)
    assert smooth[:, 0].tolist() == [0.0, 0.5, 1.5, 2.5, 3.5, 4.5]


def test_a_player_asks_the_policy_once_in_a_control_period(policy: Path) -> None:
    runner = Policy(policy)
    episode = play._episode((), runner.contract.commands, 5.0)
    built = scene.build(runner.contract, TOY.path, episode, Physics())
    world = World(runner.contract, built, episode, Physics())
    player = play.Player(runner, world, lambda: np.array([0.3, 0.0, 0.0]))
    asked = []
    for _ in range(3 * built.substeps):
        player.step()
        asked.append(tuple(player._target))
    assert len(dict.fromkeys(asked)) == 3
    player.reset()
    assert world.data.time == 0.0


def test_a_missing_viewer_names_the_line_that_installs_it(
    policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mjviser", None)  # what Python does for a failed import
    with pytest.raises(ImportError, match=r"pip install mjviser"):
        play.play(policy)


def test_a_wrong_command_for_a_video_is_refused(policy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"entries \('vx', 'vy', 'wz'\), not \(1\.0,\)"):
        play.play(policy, video_path=tmp_path / "toy.mp4", command=(1.0,))
