"""Scenarios: what the written courses hold, and how a compact file becomes episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.sim2real import scenario
from tutelage.sim2real.contract import CommandContract
from tutelage.sim2real.scenario import Episode, Scenario, Segment

RANGES = (
    CommandContract(name="vx", unit="m/s", low=-0.5, high=1.0),
    CommandContract(name="wz", unit="rad/s", low=-1.0, high=1.0),
)

FILE = """
about: two of three
commands: absolute
directions: {stand: [0, 0, 0], forward: [1, 0, 0]}
episodes:
  - group: walk
    duration: 5
    each: {friction: [0.3, 0.8], direction: [forward]}
    seeds: 2
    friction: $friction
    commands:
      - {at: 0, command: stand}
      - {at: 1, command: $direction, ramp: 2}
"""


def written(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "course.yaml"
    path.write_text(text)
    return scenario.load(path)


def walk(*segments: Segment) -> Episode:
    return Episode(name="walk", group="flat", duration=5.0, segments=segments)


@pytest.mark.parametrize("name", scenario.scenarios())
def test_a_shipped_scenario_loads_and_films_one_of_its_episodes(name: str) -> None:
    plan = scenario.load(name)
    assert plan == scenario.load(name)
    assert plan.video in {episode.name for episode in plan.episodes}
    assert plan.about


@pytest.mark.parametrize("name", scenario.scenarios())
def test_every_shipped_scenario_has_a_short_smoke_subset(name: str) -> None:
    plan = scenario.load(f"{name}:smoke")
    assert len(plan.episodes) == 8
    assert max(episode.duration for episode in plan.episodes) <= 4.0


def test_the_quadruped_course_holds_all_that_was_asked_for() -> None:
    episodes = scenario.load("quadruped").episodes
    commands = [segment.command for e in episodes for segment in e.segments]
    assert len(episodes) >= 64
    for axis, reach in enumerate((1.0, 0.6, 1.0)):
        assert {c[axis] for c in commands} >= {-reach, 0.0, reach}
    assert {p.angle for e in episodes for p in e.pushes} >= {45.0 * i for i in range(8)}
    assert {e.friction for e in episodes} >= {0.3, 1.2}
    assert {e.strength for e in episodes} >= {0.9, 1.1}
    delays = {round(e.action_delay + e.sensor_delay, 3) for e in episodes if e.group == "delay"}
    assert delays == {0.0, 0.01, 0.02, 0.03, 0.04}
    assert max(e.payload for e in episodes) == 3.0
    assert any(e.ground.kind == "rough" for e in episodes)
    assert any(segment.ramp > 0 for e in episodes for segment in e.segments)


def test_a_compact_entry_becomes_every_combination(tmp_path: Path) -> None:
    episodes = written(tmp_path, FILE).episodes
    assert [e.name for e in episodes] == [
        "walk 0.3 forward #1", "walk 0.3 forward #2", "walk 0.8 forward #1", "walk 0.8 forward #2",
    ]  # fmt: skip
    assert [e.friction for e in episodes] == [0.3, 0.3, 0.8, 0.8]
    assert len({e.seed for e in episodes}) == 4


def test_a_ramp_is_linear_and_a_step_is_at_once() -> None:
    still = Segment(at=0.0, command=(0.0, 0.0, 0.0))
    ramp = walk(still, Segment(at=1.0, command=(1.0, 0.0, -0.5), ramp=2.0))
    assert ramp.command(0.99) == (0.0, 0.0, 0.0)
    assert ramp.command(2.0) == (0.5, 0.0, -0.25)
    assert ramp.command(4.0) == (1.0, 0.0, -0.5)
    step = walk(still, Segment(at=1.0, command=(1.0, 0.0, 0.0)))
    assert step.command(1.0) == (1.0, 0.0, 0.0)
    assert step.steps() == (0.0, 1.0)
    assert ramp.steps() == (0.0,)


def test_absolute_commands_are_clipped_to_the_contract_and_said_so() -> None:
    asked = walk(Segment(at=0.0, command=(-1.0, 0.6, 0.5)))
    fitted, clipped = scenario.fit(asked, RANGES, "absolute")
    assert fitted.segments[0].command == (-0.5, 0.0, 0.5)
    assert clipped


def test_fractions_run_from_one_end_of_the_range_to_the_other() -> None:
    fitted, clipped = scenario.fit(walk(Segment(at=0.0, command=(-1, 1, 0.5))), RANGES, "fraction")
    assert fitted.segments[0].command == (-0.5, 0.0, 0.5)
    assert not clipped
    fitted, _ = scenario.fit(walk(Segment(at=0.0, command=(1, 0, -1))), RANGES, "fraction")
    assert fitted.segments[0].command == (1.0, 0.0, -1.0)


def test_what_a_policy_was_not_made_for_is_left_out() -> None:
    plan = scenario.load("generic")
    left = scenario.possible(plan, RANGES[:1])  # forward only
    names = {episode.name for episode in left.episodes}
    assert "step forward" in names
    assert "stand" in names
    assert not {"step left", "step turn-left"} & names
    grip = CommandContract(name="grip", unit="N", low=0.0, high=1.0)
    walking = replace(plan, episodes=plan.episodes[:2])
    with pytest.raises(ValueError, match=r"nothing that the commands \['grip'\] allow"):
        scenario.possible(walking, (grip,))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("duration: 5", "duraton: 5", "unknown key 'duraton'"),
        ("friction: $friction", "friction: $fiction", r"use \$fiction"),
        ("command: stand", "command: stnad", "asks for 'stnad'"),
        ("command: stand", "command: [0, 0]", r"entries \('vx', 'vy', 'wz'\)"),
        ("commands: absolute", "commands: share", "commands is 'share'"),
        ("about: two", "abuot: two", "unknown key 'abuot'"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        written(tmp_path, FILE.replace(old, new, 1))


def test_an_unknown_scenario_or_subset_names_the_choices() -> None:
    with pytest.raises(FileNotFoundError, match="generic, quadruped, rough"):
        scenario.load("hexapod")
    with pytest.raises(ValueError, match=r"no subset 'smok'; it has \['smoke'\]"):
        scenario.load("quadruped:smok")
