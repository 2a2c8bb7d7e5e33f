from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor

from tutelage.envs.rotations import (
    conjugate,
    from_axis_angle,
    from_yaw,
    gravity_b,
    multiply,
    rotate,
    rotate_inverse,
    yaw,
)

HALF = sqrt(0.5)
ROLL_90 = torch.tensor([HALF, HALF, 0.0, 0.0])
PITCH_90 = torch.tensor([HALF, 0.0, HALF, 0.0])
YAW_90 = torch.tensor([HALF, 0.0, 0.0, HALF])


def close(a: Tensor, b: list[float]) -> None:
    torch.testing.assert_close(a, torch.tensor(b, dtype=torch.float32), atol=1e-6, rtol=0)


def random_turns(*shape: int) -> Tensor:
    q = torch.randn(*shape, 4, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.normalize(q, dim=-1)


def test_a_quarter_turn_moves_each_axis_onto_the_next() -> None:
    close(rotate(ROLL_90, torch.tensor([0.0, 1.0, 0.0])), [0, 0, 1])
    close(rotate(PITCH_90, torch.tensor([0.0, 0.0, 1.0])), [1, 0, 0])
    close(rotate(YAW_90, torch.tensor([1.0, 0.0, 0.0])), [0, 1, 0])


def test_rotate_inverse_undoes_rotate() -> None:
    q, v = random_turns(5, 2), torch.randn(5, 2, 3)
    torch.testing.assert_close(rotate_inverse(q, rotate(q, v)), v)
    torch.testing.assert_close(rotate(conjugate(q), v), rotate_inverse(q, v))


def test_gravity_points_down_upright_and_along_minus_y_after_a_90_degree_roll() -> None:
    close(gravity_b(torch.tensor([1.0, 0, 0, 0])), [0, 0, -1])
    close(gravity_b(ROLL_90), [0, -1, 0])
    close(gravity_b(PITCH_90), [1, 0, 0])
    close(gravity_b(YAW_90), [0, 0, -1])


def test_gravity_is_the_world_s_down_turned_into_the_base() -> None:
    q = random_turns(64)
    down = torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(gravity_b(q), rotate_inverse(q, down), atol=1e-6, rtol=0)


def test_yaw_reads_the_heading_that_from_yaw_made_whatever_the_pitch() -> None:
    angle = torch.tensor([-3.0, -pi / 2, 0.0, 1.0, 3.0])
    torch.testing.assert_close(yaw(from_yaw(angle)), angle)
    lean = from_axis_angle(torch.tensor([0.0, 1.0, 0.0]), torch.tensor(0.4))
    torch.testing.assert_close(yaw(multiply(from_yaw(angle), lean)), angle)


def test_the_product_turns_by_its_right_factor_first() -> None:
    both = multiply(YAW_90, ROLL_90)
    # Roll takes y to z, which yaw leaves; yaw takes x, which roll left, to y.
    close(rotate(both, torch.tensor([0.0, 1.0, 0.0])), [0, 0, 1])
    close(rotate(both, torch.tensor([1.0, 0.0, 0.0])), [0, 1, 0])
    a, b, v = random_turns(7), random_turns(7).flip(0), torch.randn(7, 3)
    torch.testing.assert_close(rotate(multiply(a, b), v), rotate(a, rotate(b, v)))


def test_axis_and_angle_make_the_quarter_turns() -> None:
    made = from_axis_angle(torch.eye(3), torch.tensor(pi / 2))
    torch.testing.assert_close(made, torch.stack((ROLL_90, PITCH_90, YAW_90)))


def test_one_quaternion_turns_many_vectors_by_broadcasting() -> None:
    v = torch.randn(4, 6, 3)
    q = random_turns(4)
    torch.testing.assert_close(rotate(q[:, None], v)[2, 3], rotate(q[2], v[2, 3]))
