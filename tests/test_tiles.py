"""Tiles: where episodes begin, when ground gets harder, and when commands get wider."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.contexts import context, state
from tests.fake import FakeSim
from tests.little import Count, actions, after, little, ride
from tutelage.assets import ROBOTS
from tutelage.envs.sim.protocol import Scene
from tutelage.envs.state import Context
from tutelage.envs.task import Curriculum, Reward, Task
from tutelage.envs.terms import rewards as earn
from tutelage.envs.terrain import Terrain
from tutelage.envs.tiles import Tiles

SMALL = Terrain(kinds=("flat", "slope_up"), rows=4, columns=2, tile=4.0, border=2.0)
RULE = Curriculum(widen_above=0.5, widen_by=0.2, start=0.4)
B = 3  # as in tests.contexts


def task(terrain: Terrain = SMALL, curriculum: Curriculum | None = RULE) -> Task:
    return little(terrain=terrain, curriculum=curriculum)


def tiles(what: Task | None = None, *, level: int = 1) -> Tiles:
    what = what or task()
    sim = FakeSim(Scene(robot=what.robot, terrain=what.terrain), B)
    made = Tiles(what, sim, torch.Generator().manual_seed(0))
    put(made, level)
    made.place(everywhere())
    return made


def put(made: Tiles, level: int) -> None:
    """Every environment on tiles of one level."""
    made.restore({**made.snapshot(), "level": torch.full((B,), level)})


def everywhere() -> Tensor:
    return torch.ones(B, dtype=torch.bool)


def at(where: Tensor, command: float = 0.0) -> Context:
    """Robots at (B, 3), asked for `command` [m/s]."""
    return context(at=state(root_pos_w=where), command=[command, 0.0, 0.0])


def levels(made: Tiles) -> list[int]:
    return [int(level) for level in made.snapshot()["level"]]


def test_episodes_begin_in_the_middle_of_their_tile() -> None:
    made = tiles(level=2)
    start = made.place(everywhere())
    # 4 rows of 4 m along x: middles at -6, -2, 2, 6; 2 columns along y: -2, 2; environment 2 is in
    # the first column again. Kind "flat" is level; a slope's middle is the bottom of a pit.
    assert start[:, :2].tolist() == [[2.0, -2.0], [2.0, 2.0], [2.0, -2.0]]
    assert start[0, 2] == 0.0
    assert start[1, 2] < -0.2
    base, feet = made.heights(state(root_pos_w=start, foot_pos_w=start[:, None].repeat(1, 2, 1)))
    assert torch.allclose(base, start[:, 2])
    assert torch.allclose(feet, start[:, 2:].expand(B, 2))


def test_a_new_place_is_taken_only_by_those_who_begin_anew() -> None:
    made = tiles(level=1)
    before = made.place(everywhere())
    put(made, 3)
    after = made.place(torch.tensor([False, True, False]))
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert (after[1, 0] - before[1, 0]).item() == 8.0  # two tiles on


def test_who_walks_out_of_the_tile_moves_up_and_who_lags_behind_moves_down() -> None:
    made = tiles(level=1)
    start = made.place(everywhere())
    walked = torch.tensor([[2.1, 0.0, 0.0], [0.9, 0.0, 0.0], [1.1, 0.0, 0.0]])
    # asked for 2 m: half a tile is 2 m, half of what was asked 1 m
    for _ in range(100):
        made.update(~everywhere(), at(start, command=1.0), torch.zeros(B))
    assert levels(made) == [1, 1, 1]
    made.update(everywhere(), at(start + walked), torch.zeros(B))
    assert levels(made) == [2, 0, 1]


def test_levels_end_at_the_easiest_and_start_anywhere_again_above_the_hardest() -> None:
    made = tiles(level=0)
    start = made.place(everywhere())
    made.update(everywhere(), at(start, command=9.0), torch.zeros(B))
    assert levels(made) == [0, 0, 0]
    put(made, 3)
    far = start + torch.tensor([3.0, 0.0, 0.0])
    seen = set()
    for _ in range(30):
        put(made, 3)
        made.update(everywhere(), at(far), torch.zeros(B))
        seen |= set(levels(made))
    assert seen == {0, 1, 2, 3}


def test_only_ended_episodes_move() -> None:
    made = tiles(level=1)
    far = made.place(everywhere()) + torch.tensor([3.0, 0.0, 0.0])
    made.update(torch.tensor([True, False, False]), at(far), torch.zeros(B))
    assert levels(made) == [2, 1, 1]


def test_what_was_asked_is_forgotten_with_the_episode() -> None:
    made = tiles(level=1)
    start = made.place(everywhere())
    for _ in range(100):
        made.update(~everywhere(), at(start, command=1.0), torch.zeros(B))
    made.place(torch.tensor([True, False, False]))
    made.update(everywhere(), at(start), torch.zeros(B))
    assert levels(made) == [1, 0, 0]  # the first was asked for nothing in its new episode


def test_what_leads_nowhere_was_not_asked_for() -> None:
    made = tiles(level=1)
    start = made.place(everywhere())
    for turn in ([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]):  # 2 m forward, then 2 m back
        for _ in range(100):
            here = state(root_pos_w=start, root_quat_w=turn)
            made.update(~everywhere(), context(at=here, command=[1.0, 0, 0]), torch.zeros(B))
    made.update(everywhere(), at(start + 0.01), torch.zeros(B))
    assert levels(made) == [1, 1, 1]


def test_a_heading_that_is_not_a_number_is_forgotten_with_its_episode() -> None:
    made = tiles(level=1)
    start = made.place(everywhere())
    lost = context(at=state(root_pos_w=start, root_quat_w=[torch.nan] * 4), command=[1.0, 0.0, 0.0])
    made.update(~everywhere(), lost, torch.zeros(B))
    made.place(everywhere())
    assert made.snapshot()["commanded"].isfinite().all()


def test_the_range_grows_with_good_episodes_only_and_ends_at_one() -> None:
    made = tiles()
    still = at(made.place(everywhere()))
    made.update(~everywhere(), still, torch.ones(B))  # nobody's episode ended
    assert made.share == pytest.approx(0.4)
    made.update(everywhere(), still, torch.tensor([0.6, 0.5, 0.1]))  # one of three above 0.5
    assert made.share == pytest.approx(0.4 + 0.2 / 3)
    for _ in range(9):
        made.update(everywhere(), still, torch.ones(B))
    assert made.share == 1.0


def test_without_a_curriculum_ground_and_range_are_full_from_the_start() -> None:
    plain = tiles(task(curriculum=None))
    assert plain.share == 1.0
    far = plain.place(everywhere()) + torch.tensor([3.0, 0.0, 0.0])
    before = levels(plain)
    plain.update(everywhere(), at(far), torch.ones(B))
    assert levels(plain) == before
    assert plain.log() == {}
    scene = Scene(robot=ROBOTS["toy"](), terrain=SMALL)
    many = Tiles(task(curriculum=None), FakeSim(scene, 200), torch.Generator().manual_seed(0))
    assert set(levels(many)) == {0, 1, 2, 3}
    half = Tiles(task(), FakeSim(scene, 200), torch.Generator().manual_seed(0))
    assert set(levels(half)) == {0, 1}  # with one, from the easier half


def test_the_log_tells_share_and_mean_level() -> None:
    assert {key: value.item() for key, value in tiles(level=2).log().items()} == pytest.approx(
        {"Curriculum/command_share": 0.4, "Curriculum/terrain_level": 2.0}
    )
    flat = tiles(task(terrain=Terrain()), level=0).log()
    assert set(flat) == {"Curriculum/command_share"}


def test_flat_ground_is_at_zero_everywhere() -> None:
    made = tiles(task(terrain=Terrain()), level=0)
    assert not made.place(everywhere()).any()
    base, feet = made.heights(state(root_pos_w=[5.0, 5.0, 1.0]))
    assert not base.any()
    assert not feet.any()


# ---------------------------------------------------------------- in an environment

class Nothing(Count):
    """Asks to stand."""

    def step(self, dt: float) -> None: ...


def stander(**changes: Any) -> Task:
    """Asked to stand, so that who stands earns all there is: 2 a second, for 0.2 s."""
    reward = Reward(term=partial(earn.track_velocity, std=0.5), weight=2.0)
    rule = Curriculum(widen_above=0.9, widen_by=0.3, start=0.4)
    task = little(rewards={"track": reward}, curriculum=rule, episode=0.2, command=Nothing)
    return replace(task, **changes)


def test_a_whole_good_episode_widens_the_command() -> None:
    env = ride(stander())
    after(env, 9, actions(0.0))
    assert env.tiles.share == pytest.approx(0.4)
    _, _, done, extras = env.step(actions(0.0))
    assert done.all()
    assert extras["log"]["Curriculum/command_share"] == pytest.approx(0.4)  # what was in force
    assert isinstance(env.command, Nothing)
    assert env.command.share == env.tiles.share == pytest.approx(0.7)
    assert env.step(actions(0.0))[3]["log"]["Curriculum/command_share"] == pytest.approx(0.7)


def test_an_episode_that_ends_in_a_fall_does_not_count_as_good() -> None:
    fallen = {"fallen": lambda c: c.time > 0.09}
    env = ride(stander(terminations=fallen))
    for _ in range(10):
        env.step(actions(0.0))
    assert env.tiles.share == pytest.approx(0.4)


def test_an_episode_that_ends_in_a_bad_number_moves_nothing() -> None:
    easy = Curriculum(widen_above=0.8, widen_by=0.3, start=0.4)  # nine steps of ten are enough
    env = ride(stander(terrain=SMALL, curriculum=easy))
    for _ in range(9):
        env.step(actions(0.0))
    assert isinstance(env.sim, FakeSim)
    env.sim.poison(everywhere())
    before = levels(env.tiles)
    _, _, done, _ = env.step(actions(0.0))
    assert done.all()
    assert env.tiles.share == pytest.approx(0.4)
    assert levels(env.tiles) == before
