"""Groups and history: noise, bias, delay, scale, clip in that order, with the numbers by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.contexts import B, context
from tutelage.envs.groups import Group, History
from tutelage.envs.state import Context
from tutelage.envs.task import Observation

CPU = torch.device("cpu")


def value(c: Context) -> Tensor:
    """The episode time, in two columns."""
    return c.time[:, None].repeat(1, 2)


def group(**changes: object) -> Group:
    terms = {"t": Observation(term=value, unit="s", source="command", **changes)}  # type: ignore[arg-type]
    return Group(
        terms, {"t": 2}, B, CPU, torch.Generator().manual_seed(0), control_dt=0.02, physics_dt=0.005
    )


def sense(g: Group, time: float, *, fresh: bool = False) -> Tensor:
    return g.sensed(g.raw(context(time=time)), torch.full((B,), fresh))


def everywhere() -> Tensor:
    return torch.ones(B, dtype=torch.bool)


def test_scale_comes_before_clip() -> None:
    assert (group(scale=2.0, clip=3.0).clean(torch.full((B, 2), 1.0)) == 2.0).all()
    assert (group(scale=2.0, clip=3.0).clean(torch.full((B, 2), -9.0)) == -3.0).all()


def test_noise_is_uniform_within_its_width_and_drawn_anew_in_every_step() -> None:
    g = group(noise=0.5)
    first, second = sense(g, 10.0), sense(g, 10.0)
    assert not torch.equal(first, second)
    assert ((first - 10.0).abs() <= 0.5).all()


def test_the_clean_form_has_neither_noise_nor_bias() -> None:
    g = group(noise=0.5, bias=0.5)
    g.reset(everywhere())
    assert (g.clean(g.raw(context(time=1.0))) == 1.0).all()


def test_bias_holds_for_an_episode_and_changes_only_where_reset() -> None:
    g = group(bias=0.5)
    g.reset(everywhere())
    first = sense(g, 0.0)
    assert torch.equal(sense(g, 0.0), first)
    assert (first != 0).all()
    g.reset(torch.tensor([True, False, False]))
    after = sense(g, 0.0)
    assert torch.equal(after[1:], first[1:])
    assert not torch.equal(after[0], first[0])


def test_a_delay_of_whole_control_steps_shows_the_value_of_that_long_ago() -> None:
    g = group(delay=(0.04, 0.04))
    g.reset(everywhere())
    seen = [sense(g, float(k), fresh=k == 0)[0, 0].item() for k in range(5)]
    assert seen == [0.0, 0.0, 0.0, 1.0, 2.0]


def test_a_delay_in_physics_steps_lies_between_two_control_steps() -> None:
    g = group(delay=(0.005, 0.005))  # a quarter of a control step
    g.reset(everywhere())
    seen = [sense(g, float(k), fresh=k == 0)[0, 0].item() for k in range(3)]
    assert seen == [0.0, 0.75, 1.75]


def test_a_new_episode_does_not_see_the_last_one_through_the_delay() -> None:
    g = group(delay=(0.04, 0.04))
    g.reset(everywhere())
    for k in range(4):
        sense(g, float(k), fresh=k == 0)
    assert (sense(g, 7.0, fresh=True) == 7.0).all()


def test_history_is_oldest_first_and_starts_full_of_the_first_frame() -> None:
    history = History(3, B, 2, CPU)
    frames = [torch.full((B, 2), float(k)) for k in range(5)]
    fresh = [torch.full((B,), k == 0) for k in range(5)]
    stacked = [history(frame, new) for frame, new in zip(frames, fresh, strict=True)]
    assert stacked[0][0].tolist() == [0.0] * 6
    assert stacked[1][0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    assert stacked[4][0].tolist() == [2.0, 2.0, 3.0, 3.0, 4.0, 4.0]


def test_history_is_refilled_only_where_an_episode_began() -> None:
    history = History(2, B, 1, CPU)
    history(torch.zeros(B, 1), everywhere())
    stacked = history(torch.ones(B, 1), torch.tensor([False, True, False]))
    assert stacked.tolist() == [[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]]


def test_snapshots_bring_back_bias_delay_and_frames() -> None:
    g = group(bias=0.5, delay=(0.0, 0.04))
    g.reset(everywhere())
    for k in range(3):
        sense(g, float(k), fresh=k == 0)
    saved = {name: tensor.clone() for name, tensor in g.snapshot().items()}
    first = sense(g, 3.0)
    g.restore(saved)
    assert torch.equal(sense(g, 3.0), first)
