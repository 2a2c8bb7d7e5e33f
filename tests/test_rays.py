from __future__ import annotations

from math import cos, pi, sin, sqrt

import mujoco
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tutelage.envs.rays import around, cast, compiled, heights_below, scan
from tutelage.envs.terrain import Ground, Terrain, height_at

Array = NDArray[np.float64]
CELL = 0.25


def bumpy(seed: int = 0, shape: tuple[int, int] = (14, 10)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0.0, 1.0, shape).astype(np.float32)


def random_rays(count: int, seed: int = 1) -> tuple[Array, Array]:
    """From above the middle of the bumpy field, in every direction."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform((-1.0, -0.8, 1.05), (1.0, 0.8, 1.6), (count, 3))
    directions = rng.normal(size=(count, 3))
    return starts, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def mujoco_field(heights: NDArray[np.float32]) -> tuple[mujoco.MjSpec, tuple[float, float]]:
    """The same field as a geom around the world's origin; its lowest sample is 0, its highest 1."""
    half = [(n - 1) * CELL / 2 for n in heights.shape]
    spec = mujoco.MjSpec()
    low, span = float(heights.min()), float(np.ptp(heights))
    spec.add_hfield(
        name="field", nrow=heights.shape[1], ncol=heights.shape[0], size=[*half, span, 1.0],
        userdata=((heights.T - low) / span).astype(np.float64).ravel(),
    )
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname="field", pos=[0, 0, low]
    )
    return spec, (-half[0], -half[1])


def test_distances_are_those_of_mujoco_s_own_ray_test() -> None:
    heights = bumpy()
    spec, origin = mujoco_field(heights)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    starts, directions = random_rays(3000)
    ours = cast(heights, CELL, origin, starts, directions, 100.0)
    geom = np.zeros(1, dtype=np.int32)
    theirs = np.array(
        [
            mujoco.mj_ray(model, data, start, direction, None, 1, -1, geom, None)
            for start, direction in zip(starts, directions, strict=True)
        ]
    )
    hit = theirs >= 0
    assert 700 < hit.sum() < 2300
    np.testing.assert_allclose(ours[hit], theirs[hit], atol=1e-5)
    assert (ours[~hit] == 100.0).all()


def test_the_diagonal_is_that_of_mujoco_s_collision_too() -> None:
    """A small ball above the middle of a saddle is as far from it as our surface says."""
    heights = np.array([[0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    spec, origin = mujoco_field(heights)
    ball = spec.worldbody.add_body(name="ball", pos=[0.0, 0.0, 0.015])
    ball.add_freejoint()
    ball.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.02, 0, 0])
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert heights_below(heights, CELL, origin, np.zeros((1, 2)))[0] == 0.0
    # The valley's floor is the diagonal, the walls rise by 1 m over cell / sqrt(2): the ball's
    # centre, 0.015 above the floor, is closer to them, and well inside its radius.
    steep = np.arctan(sqrt(2.0) / CELL)
    depth = 0.02 - 0.015 * cos(steep)
    assert data.ncon >= 2
    np.testing.assert_allclose(-data.contact.dist.min(), depth, atol=1e-4)


def test_a_ray_onto_a_plane_travels_height_over_the_sine_of_its_pitch() -> None:
    heights = np.zeros((2, 2), dtype=np.float32)
    starts = np.array([[0.0, 0.0, 2.0]] * 3)
    directions = np.array([[0, 0, -1.0], [sqrt(0.75), 0, -0.5], [0, 0.8, -0.6]])
    found = cast(heights, 200.0, (-100.0, -100.0), starts, directions, 50.0)
    np.testing.assert_allclose(found, [2.0, 4.0, 2.0 / 0.6], rtol=1e-12)


def test_a_ray_hits_the_side_of_a_step_not_the_ground_behind_it() -> None:
    heights = np.zeros((41, 5), dtype=np.float32)
    heights[21:] = 1.0  # rises over the cell from x = 2.0 to 2.1
    starts, directions = np.tile([0.5, 0.2, 0.5], (2, 1)), np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    found = cast(heights, 0.1, (0.0, 0.0), starts, directions, 9.0)
    np.testing.assert_allclose(found, [1.55, 9.0], atol=1e-6)


def test_straight_down_the_walk_agrees_with_the_look_up_everywhere() -> None:
    heights = bumpy()
    rng = np.random.default_rng(5)
    xy = rng.uniform((0, 0), (13 * CELL, 9 * CELL), (2000, 2))
    xy[:200] = np.round(xy[:200] / CELL) * CELL  # on the corners of cells
    xy[200:400, 0] = np.round(xy[200:400, 0] / CELL) * CELL  # and on their edges
    starts = np.column_stack((xy, np.full(2000, 3.0)))
    down = np.tile([0.0, 0.0, -1.0], (2000, 1))
    walked = 3.0 - cast(heights, CELL, (0.0, 0.0), starts, down, 10.0)
    looked = heights_below(heights, CELL, (0.0, 0.0), xy)
    np.testing.assert_allclose(walked, looked, atol=1e-6)


def test_a_ray_from_outside_enters_the_field_and_one_beyond_it_misses() -> None:
    heights = np.zeros((11, 11), dtype=np.float32)
    starts = np.array([[-1.0, 0.5, 1.0], [-1.0, 5.0, 1.0], [-1.0, 0.5, 1.0], [0.5, 0.5, -1.0]])
    directions = np.array([[0.8, 0, -0.6], [0.8, 0, -0.6], [0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    found = cast(heights, 0.1, (0.0, 0.0), starts, directions, 7.0)
    # The first comes down at x = -1 + 0.8 / 0.6 = 0.333; the last meets the surface from below.
    np.testing.assert_allclose(found, [1 / 0.6, 7.0, 7.0, 1.0])


def test_a_ray_longer_than_the_limit_reads_the_limit() -> None:
    heights = np.zeros((11, 11), dtype=np.float32)
    start, down = np.array([[0.5, 0.5, 3.0]]), np.array([[0.0, 0.0, -1.0]])
    assert cast(heights, 0.1, (0.0, 0.0), start, down, 2.9).tolist() == [2.9]
    assert cast(heights, 0.1, (0.0, 0.0), start, down, 3.1).tolist() == [3.0]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_ray_that_is_not_a_number_reads_so_and_harms_no_other(bad: int) -> None:
    heights = bumpy()
    starts, directions = random_rays(4)
    whole = cast(heights, CELL, (-1.6, -1.1), starts, directions, 5.0)
    starts[1, bad] = directions[2, bad] = np.nan
    found = cast(heights, CELL, (-1.6, -1.1), starts, directions, 5.0)
    assert np.isnan(found[1:3]).all()
    assert found[[0, 3]].tolist() == whole[[0, 3]].tolist()


def ground() -> Ground:
    return Terrain(kinds=("rough", "obstacles"), rows=2, columns=2, border=1.0).generate()


def test_a_scan_on_flat_ground_reads_the_base_s_height_wherever_it_looks() -> None:
    points = torch.tensor([[0.0, 0.0], [0.8, -0.5], [900.0, 9000.0]])
    pos = torch.tensor([[0.0, 0.0, 0.4], [5.0, -3.0, 0.5]])
    found = scan(Terrain().generate(), points, pos, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([[0.4] * 3, [0.5] * 3]))


def test_a_scan_turns_with_the_heading() -> None:
    """Height x + 10 y: one metre ahead is 1 m higher facing x, and 10 m higher facing y."""
    x, y = np.meshgrid(np.arange(-5.0, 6.0), np.arange(-5.0, 6.0), indexing="ij")
    tilted = Ground(
        heights=(x + 10 * y).astype(np.float32), cell=1.0, origin=(-5.0, -5.0),
        spawns=np.zeros((1, 1, 3), dtype=np.float32), kinds=("flat",), difficulty=(0.0,),
    )
    pos = torch.tensor([[0.0, 0.0, 2.0]] * 3)
    found = scan(tilted, torch.tensor([[1.0, 0.0]]), pos, torch.tensor([0.0, pi / 2, pi]))
    torch.testing.assert_close(found, torch.tensor([[1.0], [-8.0], [3.0]]))


def test_a_scan_is_what_rays_and_tensors_say_and_fills_the_tensor_it_is_given() -> None:
    field, rng = ground(), torch.Generator().manual_seed(2)
    points = torch.rand(30, 2, generator=rng) - 0.5
    pos = torch.rand(20, 3, generator=rng) * torch.tensor([12.0, 12.0, 1.0]) - 6.0
    heading = torch.rand(20, generator=rng) * 2 * pi
    room = torch.empty(20, 30)
    found = scan(field, points, pos, heading, room)
    assert found is room
    places = around(points, pos, heading)
    by_tensors = pos[:, 2:] - height_at(field, places)
    torch.testing.assert_close(found, by_tensors, atol=2e-5, rtol=0)
    sky = torch.cat((places, torch.full((20, 30, 1), 5.0)), dim=-1).view(-1, 3)
    down = np.tile([0.0, 0.0, -1.0], (600, 1))
    cast_down = cast(field.heights, field.cell, field.origin, sky.numpy(), down, 10.0)
    by_rays = pos[:, 2:] - (5.0 - torch.from_numpy(cast_down).float().view(20, 30))
    torch.testing.assert_close(found, by_rays, atol=2e-5, rtol=0)


def test_a_scan_from_a_place_that_is_not_a_number_reads_so_and_harms_no_other() -> None:
    field, points = ground(), torch.zeros(2, 2)
    pos = torch.tensor([[float("nan"), 0.0, 0.4], [0.0, 0.0, 0.4]])
    found = scan(field, points, pos, torch.zeros(2))
    assert found.isnan().tolist() == [[True, True], [False, False]]


def test_a_function_is_compiled_even_where_nothing_can_be_kept() -> None:
    """numba finds no place for the cache of a function that has no file."""
    scope: dict[str, object] = {}
    exec("def double(x):\n    return 2 * x", scope)
    double = scope["double"]
    assert callable(double)
    assert compiled(double)(sin(0.5)) == 2 * sin(0.5)
