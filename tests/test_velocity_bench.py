"""What `tutelage bench` writes; never how long anything takes."""

from __future__ import annotations

import json
from pathlib import Path

from tutelage.algos.recipes import RECIPES
from tutelage.benchmarks import velocity
from tutelage.cli.main import main
from tutelage.envs import TASKS


def test_kinds_of_work_take_turns_and_change_their_order() -> None:
    order: list[str] = []

    def work(name: str, speed: float) -> float:
        order.append(name)
        return speed

    kinds = {"a": lambda: work("a", 1.0), "b": lambda: work("b", 2.0)}
    speeds = velocity.take_turns(kinds, 3, None)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert speeds == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_a_ratio_is_the_median_of_the_ratios_within_a_round() -> None:
    """The second round ran on a machine half as fast, which must not count: 8/10, 4/5, 9/10."""
    speeds = {
        "physics": [10.0, 5.0, 10.0],
        "environment": [8.0, 4.0, 9.0],
        "training": [4.0, 2.0, 4.5],
        "go2-rough physics": [6.0, 3.0, 7.0],
        "go2-rough environment": [3.0, 1.5, 3.5],
    }
    assert velocity.ratios(speeds, "go2-flat", "go2-rough") == {
        "environment / physics": 0.8,
        "training / environment": 0.5,
        "go2-rough environment / physics": 0.5,
        "physics rough / flat": 0.6,
    }


def test_flat_is_measured_with_rough_and_rough_with_flat() -> None:
    assert velocity.sibling("go2-flat") == "go2-rough"
    assert velocity.sibling("go2-rough") == "go2-flat"
    assert velocity.sibling("toy-flat") is None
    assert velocity.sibling("else") is None


def test_bench_writes_everything_that_a_figure_needs_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "results" / "toy.json"
    words = ["bench", "toy-flat", "--num-envs", "8", "--windows", "1", "--steps", "2"]
    assert main([*words, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["recipe"] == "toy-flat"
    assert result["plan"] == {"num_envs": 8, "windows": 1, "steps": 2, "iterations": 1}
    assert set(result["steps_per_second"]) == {"physics", "environment", "training"}
    assert set(result["ratios"]) == {"environment / physics", "training / environment"}
    for key in ("actions", "git", "machine", "versions", "build_s", "first_step_s"):
        assert key in result
    assert result["peak_memory_mib"]["this task"] > 0
    assert 0 <= result["feet_in_contact_per_world"] <= 2


def test_every_recipe_can_be_measured() -> None:
    for make in RECIPES.values():
        assert make().task in TASKS
