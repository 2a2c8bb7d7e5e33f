"""The mirror image of what a robot sees and does, on physics: a mirrored state stays mirrored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Generator, Tensor

from tests.little import actions, little, ride, tensors
from tutelage import envs
from tutelage.assets import ROBOTS
from tutelage.envs.env import Env
from tutelage.envs.mirror import KINDS, mirror
from tutelage.envs.sim.protocol import Field, HeightScan
from tutelage.envs.task import Event, Observation, Task
from tutelage.envs.terms import observations as see

MIRRORED = [name for name, task in envs.TASKS.items() if task().robot.mirror]


class Opposite:
    """Asks environment 0 for something and environment 1 for its mirror image, for good."""

    size = 3
    names: tuple[str, ...] = ("vx", "vy", "wz")
    units: tuple[str, ...] = ("m/s", "m/s", "rad/s")
    low: tuple[float, ...] = (-1.0, -1.0, -1.0)
    high: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __init__(self, num_envs: int, device: Any, generator: Generator) -> None:
        self.value = torch.tensor([[0.6, 0.3, 0.5], [0.6, -0.3, -0.5]])

    def reset(self, mask: Tensor) -> None: ...

    def widen(self, share: Tensor) -> None: ...

    def step(self, dt: float) -> None: ...

    def snapshot(self) -> dict[str, Tensor]:
        return {}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None: ...


def same_for_all(event: Event) -> Event:
    """What the event draws on average, for everybody; a whole number for a delay."""
    middle = tuple((a + b) / 2 for a, b in zip(event.low, event.high, strict=True))
    if event.field is Field.ACTION_DELAY:
        middle = (2.0,)
    return replace(event, low=middle, high=middle)


def symmetric(name: str) -> Task:
    """The task with nothing drawn, and half a gait cycle a whole number of control steps."""
    task = envs.TASKS[name]()
    return replace(
        task,
        events={key: same_for_all(event) for key, event in task.events.items() if event.field},
        command=Opposite,
        control_dt=0.01,
        terminations={},
        reset_noise=0.0,
    )


def pair(name: str) -> Env:
    """Environment 1 is the mirror image of environment 0: at a lean, on the move, in mid-gait."""
    env = envs.build(symmetric(name), num_envs=2)
    robot, origin = env.task.robot, env.sim.origins[0, 0]
    generator = torch.Generator().manual_seed(3)
    rest = torch.tensor([joint.rest for joint in robot.joints])
    bent = 0.1 * (2 * torch.rand(len(rest), generator=generator) - 1)
    moving = 2 * torch.rand(len(rest), generator=generator) - 1
    _, both = env.mirror(None, torch.stack((bent, moving)))
    assert both is not None
    height = origin[2] + robot.height
    turn = torch.nn.functional.normalize(torch.tensor([1.0, 0.05, -0.08, 0.3]), dim=0)
    place = torch.tensor([0.0, 0.0, float(height)])
    pose = torch.stack(
        (torch.cat((place, turn)), torch.cat((place, turn * torch.tensor([1, -1, 1, -1]))))
    )
    linear, angular = torch.tensor([0.4, 0.2, -0.1]), torch.tensor([0.3, -0.5, 0.4])
    flip = torch.tensor([1.0, -1.0, 1.0])
    velocity = torch.stack(
        (torch.cat((linear, angular)), torch.cat((linear * flip, -angular * flip)))
    )
    everywhere = torch.ones(2, dtype=torch.bool)
    joints = rest + torch.stack((bent, both[0]))
    env.sim.reset(everywhere, pose, velocity, joints, torch.stack((moving, both[1])))
    assert robot.gait
    half = round(0.5 / robot.gait.frequency / env.task.control_dt)
    # No foot is to be lifted or set down within ten steps from here: rounding would decide when.
    env.episode_length_buf = torch.tensor([8, 8 + half])
    return env


@pytest.mark.parametrize("name", ["go2-flat", "g1-flat", "toy-flat"])
def test_a_mirrored_robot_that_acts_mirrored_stays_the_mirror_image(name: str) -> None:
    """To 0.01 of each unit: the models of real robots are not quite symmetric (cables, boards)."""
    env = pair(name)
    generator = torch.Generator().manual_seed(8)
    for step in range(10):
        action = 0.5 * torch.randn(env.num_actions, generator=generator)
        _, image = env.mirror(None, action)
        assert image is not None
        obs, reward, done, _ = env.step(torch.stack((action, image)))
        assert not done.any()
        expected, _ = env.mirror(obs[:1], None)
        assert expected is not None
        for group in ("critic", "privileged"):
            apart = (obs[group][1] - expected[group][0]).abs().max()
            assert apart < 0.01, f"'{group}' is {apart} off in step {step}"
        torch.testing.assert_close(reward[0], reward[1], atol=3e-4, rtol=0)
        # and the image differs from what it is an image of
        assert (obs["critic"][0] - obs["critic"][1]).abs().max() > 0.1


@pytest.mark.parametrize("name", MIRRORED)
def test_the_mirror_of_the_mirror_is_the_thing_itself(name: str) -> None:
    task = envs.TASKS[name]()
    env = ride(task, num_envs=2, history=2)
    obs = TensorDict(
        {key: torch.randn(value.shape) for key, value in tensors(env.get_observations()).items()},
        batch_size=[2],
    )
    action = torch.randn(2, env.num_actions)
    image, acted = env.mirror(obs, action)
    assert image is not None
    assert set(image.keys()) == {"proprio", "privileged", "critic", "history"}
    assert all(not torch.equal(image[key], obs[key]) for key in tensors(obs))
    back, again = env.mirror(image, acted)
    assert back is not None
    assert again is not None
    assert torch.equal(again, action)
    assert all(torch.equal(back[key], obs[key]) for key in tensors(obs))


def test_the_mirror_of_a_history_is_the_history_of_the_mirror() -> None:
    env = ride(envs.TASKS["toy-flat"](), num_envs=2, history=3)
    size = env.proprio.size
    frames = torch.randn(2, 3, size)
    seen = {"proprio": frames[:, 2], "history": frames.flatten(1)}
    image, _ = env.mirror(TensorDict(seen, batch_size=[2]), None)
    assert image is not None
    assert torch.equal(image["history"].view(2, 3, size)[:, 2], image["proprio"])


def test_groups_and_actions_that_a_mirror_does_not_know_pass_as_they_are() -> None:
    env = ride(little())
    assert env.mirror(None, None) == (None, None)
    depth = TensorDict({"depth": torch.rand(3, 4)}, batch_size=[3])
    image, acted = env.mirror(depth, actions(1.0, 2.0))
    assert image is not None
    assert acted is not None
    assert torch.equal(image["depth"], depth["depth"])
    assert acted[0].tolist() == [2.0, 1.0]  # the toy's paddles change places


def image_of(kind: str, values: Sequence[float], robot: str = "go2") -> list[float]:
    order, signs = mirror(ROBOTS[robot](), [(kind, len(values))])
    image: list[float] = (torch.tensor(values)[order] * signs).tolist()
    return image


def test_every_kind_is_what_a_mirror_shows() -> None:
    assert image_of("none", [1, 2, 3]) == [1, 2, 3]
    assert image_of("vector", [1, 2, 3]) == [1, -2, 3]
    assert image_of("axial", [1, 2, 3]) == [-1, 2, -3]
    assert image_of("command", [1, 2, 3]) == [1, -2, -3]
    assert image_of("clock", [0.6, 0.8]) == pytest.approx([-0.6, -0.8])
    # front left, front right, rear left, rear right
    assert image_of("feet", [1, 2, 3, 4]) == [2, 1, 4, 3]
    assert image_of("foot_vectors", [1, 2, 3, 4, 5, 6] + [0] * 6)[:6] == [4, -5, 6, 1, -2, 3]
    joints = [float(i) for i in range(1, 13)]
    assert image_of("joints", joints) == [-4, 5, 6, -1, 2, 3, -10, 11, 12, -7, 8, 9]
    assert image_of("joint_factors", joints) == [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]


def test_a_mirrored_scan_shows_the_points_on_the_other_side() -> None:
    x, y = HeightScan().points().unbind(-1)
    heights = (10 * x + y).tolist()
    torch.testing.assert_close(torch.tensor(image_of("heights", heights)), 10 * x - y)


def test_terms_keep_their_own_places_in_a_group() -> None:
    order, signs = mirror(ROBOTS["toy"](), [("command", 3), ("joints", 2)])
    assert order.tolist() == [0, 1, 2, 4, 3]
    assert signs.tolist() == [1, -1, -1, 1, 1]


def test_an_unknown_mirror_and_one_that_does_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown mirror 'sideways'") as refused:
        mirror(ROBOTS["go2"](), [("sideways", 3)])
    assert all(kind in str(refused.value) for kind in KINDS)
    for kind, size in (("joints", 3), ("vector", 4), ("heights", 10), ("feet", 2)):
        with pytest.raises(ValueError, match=rf"'{kind}' .* the term has {size}"):
            mirror(ROBOTS["go2"](), [(kind, size)])


def test_every_term_of_every_task_names_a_mirror_that_exists() -> None:
    for make in envs.TASKS.values():
        task = make()
        for name, term in {**task.proprio, **task.privileged}.items():
            assert term.mirror in KINDS, name
    wrong = Observation(term=see.gravity, unit="1", source="gravity", mirror="sideways")
    env = ride(little(proprio={"gravity": wrong}))
    with pytest.raises(ValueError, match="unknown mirror 'sideways'"):
        env.mirror(None, actions(1.0))
