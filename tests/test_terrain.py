from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.envs.terrain import FLAT, KINDS, Ground, Terrain, height_at, promote


def small(*kinds: str, rows: int = 2, seed: int = 0) -> Terrain:
    return Terrain(kinds=kinds, rows=rows, columns=len(kinds), border=2.0, seed=seed)


def tile(terrain: Terrain, row: int, column: int = 0) -> Ground:
    """The field of a terrain, shifted so that a tile's middle is at (0, 0)."""
    ground = terrain.generate()
    x, y = (float(c) for c in ground.spawns[row, column, :2])
    return Ground(
        heights=ground.heights,
        cell=ground.cell,
        origin=(ground.origin[0] - x, ground.origin[1] - y),
        spawns=ground.spawns,
        kinds=ground.kinds,
        difficulty=ground.difficulty,
    )


def read(ground: Ground, *points: tuple[float, float]) -> torch.Tensor:
    return height_at(ground, torch.tensor(points, dtype=torch.float64)).float()


def close(a: torch.Tensor, b: list[float]) -> None:
    torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float32), atol=1e-5, rtol=0)


def test_a_terrain_without_kinds_is_a_plane_with_one_place_to_stand() -> None:
    ground = FLAT.generate()
    assert Terrain() == FLAT
    assert ground.spawns.tolist() == [[[0, 0, 0]]]
    close(read(ground, (3.0, -7.0), (-900.0, 900.0)), [0, 0])


def test_tiles_lie_in_rows_along_x_and_columns_along_y_around_the_world_s_origin() -> None:
    ground = small("flat", "rough", "stairs_up").generate()
    # 2 x 3 tiles of 8 m and 2 m of border on each side, at 0.1 m.
    assert ground.heights.shape == (201, 281)
    np.testing.assert_allclose(ground.origin, (-10, -14))
    np.testing.assert_allclose(ground.spawns[:, 0, 0], (-4, 4), atol=1e-5)
    np.testing.assert_allclose(ground.spawns[0, :, 1], (-8, 0, 8), atol=1e-5)
    assert ground.kinds == ("flat", "rough", "stairs_up")
    assert ground.difficulty == (0.0, 1.0)


def test_stairs_up_sink_ten_steps_of_sixteen_centimetres_at_full_difficulty() -> None:
    # (4 m - 1 m platform) / 0.3 m = 10 treads; 0.02 + 0.14 = 0.16 m each.
    ground = tile(small("stairs_up"), row=1)
    close(read(ground, (0, 0), (0.85, -0.85), (1.4, 0), (0, -1.7), (4, 0)),
          [-1.6, -1.6, -1.44, -1.28, 0.0])


def test_stairs_down_are_stairs_up_turned_over() -> None:
    up, down = tile(small("stairs_up"), row=1), tile(small("stairs_down"), row=1)
    np.testing.assert_array_equal(up.heights, -down.heights)


def test_a_slope_rises_by_its_gradient_from_the_platform_to_the_edge() -> None:
    ground = tile(small("slope_up"), row=1)
    # Gradient 0.05 + 0.40 = 0.45, and 3 m from platform to edge.
    close(read(ground, (0, 0), (2, 0), (0, 3), (4, 1)), [-1.35, -0.9, -0.45, 0.0])


def test_rough_ground_stays_within_its_half_width_and_uses_it() -> None:
    ground = small("rough", rows=2).generate()
    easy, hard = ground.heights[21:100, 20:100], ground.heights[101:180, 20:100]
    assert np.abs(easy).max() <= 0.01
    assert 0.06 < np.abs(hard).max() <= 0.07
    assert easy.std() > 0.002


def test_obstacles_leave_the_middle_level_and_have_four_heights() -> None:
    ground = tile(small("obstacles"), row=1)
    hard = ground.heights[ground.heights.shape[0] // 2 + 1 :]
    found = np.unique(np.round(hard, 4)).tolist()
    np.testing.assert_allclose(found, [-0.17, -0.085, 0.0, 0.085, 0.17], atol=1e-6)
    close(read(ground, (0, 0), (0.9, -0.9), (-0.9, 0.5)), [0, 0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_level_at_the_start_but_for_noise_and_harder_with_difficulty(
    kind: str,
) -> None:
    terrain = small(kind, rows=3)
    ground = terrain.generate()
    assert np.isfinite(ground.heights).all()
    spans = [np.ptp(ground.heights[20 + 80 * r : 101 + 80 * r, 20:101]) for r in range(3)]
    assert kind == "flat" or spans[0] < spans[1] < spans[2]
    for row in range(3):
        x, y, z = (float(value) for value in ground.spawns[row, 0])
        near = height_at(ground, torch.rand(200, 2) - 0.5 + torch.tensor([x, y]))
        assert z >= float(near.max()) - 1e-6
        assert z - float(near.min()) <= 0.15


def test_columns_follow_the_shares() -> None:
    terrain = Terrain(kinds=("flat", "rough"), shares=(1.0, 3.0), columns=8)
    assert terrain.column_kinds() == ("flat",) * 2 + ("rough",) * 6


def test_the_same_seed_gives_the_same_ground_and_another_seed_another() -> None:
    first, again = small("rough").generate(), small("rough").generate()
    np.testing.assert_array_equal(first.heights, again.heights)
    other = small("rough", seed=1).generate()
    assert not np.array_equal(first.heights, other.heights)


def test_a_tile_keeps_its_shape_when_columns_are_added() -> None:
    one, two = small("rough").generate(), small("rough", "rough").generate()
    # The last row of samples belongs to the neighbour.
    np.testing.assert_array_equal(one.heights[20:180, 20:100], two.heights[20:180, 20:100])


def test_mistakes_are_named_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'stars_up'.*stairs_up"):
        Terrain(kinds=("stars_up",))
    with pytest.raises(ValueError, match="1 shares for 2 kinds"):
        Terrain(kinds=("flat", "rough"), shares=(1.0,))
    with pytest.raises(ValueError, match=r"1 columns are too few to show \['rough'\]"):
        Terrain(kinds=("flat", "rough"), columns=1)
    with pytest.raises(ValueError, match="positive"):
        Terrain(kinds=("flat", "rough"), shares=(0.0, 1.0))
    with pytest.raises(ValueError, match="no room"):
        Terrain(kinds=("flat",), tile=2.0)


def saddle() -> Ground:
    """One cell of 2 m: 0 on the diagonal through (0, 0), 1 and 3 on the other two corners."""
    return Ground(
        heights=np.array([[0, 3], [1, 0]], dtype=np.float32),
        cell=2.0,
        origin=(0.0, 0.0),
        spawns=np.zeros((1, 1, 3), dtype=np.float32),
        kinds=("flat",),
        difficulty=(0.0,),
    )


def test_heights_between_samples_lie_on_two_triangles_that_share_the_rising_diagonal() -> None:
    ground = saddle()
    close(read(ground, (0, 0), (2, 0), (0, 2), (1, 1), (1, 0), (2, 1), (0, 1), (1.5, 0.5)),
          [0, 1, 3, 0, 0.5, 0.5, 1.5, 0.5])


def test_heights_beyond_the_field_are_those_of_its_edge() -> None:
    close(read(saddle(), (-5, 1), (1, -5), (9, -9), (-9, 9)), [1.5, 0.5, 1, 3])


def test_the_height_under_a_position_that_is_not_a_number_is_not_a_number_and_harms_no_other() -> (
    None
):
    heights = height_at(saddle(), torch.tensor([[float("nan"), 0.0], [0.0, 2.0]]))
    assert heights.isnan().tolist() == [True, False]
    assert heights[1] == 3.0


def test_heights_keep_the_batch_s_shape() -> None:
    assert height_at(saddle(), torch.zeros(3, 4, 2)).shape == (3, 4)


def test_levels_go_up_past_half_a_tile_down_below_half_the_command_and_on_from_the_last() -> None:
    level = torch.tensor([3, 3, 3, 0, 9])
    walked = torch.tensor([4.1, 3.0, 2.0, 0.0, 5.0])
    asked = torch.tensor([20.0, 5.0, 5.0, 5.0, 5.0])
    drawn = torch.tensor([7, 7, 7, 7, 2])
    moved = promote(level, walked, asked, tile=8.0, rows=10, random_level=drawn)
    assert moved.tolist() == [4, 3, 2, 0, 2]
