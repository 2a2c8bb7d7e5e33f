"""The same seed is the same future, a snapshot continues bit for bit, and a step asks no device."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.little import little, ride, tensors
from tutelage import envs
from tutelage.envs.env import Env
from tutelage.envs.sim.protocol import Scene
from tutelage.envs.task import Curriculum, Task
from tutelage.envs.terrain import FLAT, Terrain

COUNT = 4
SMALL = Terrain(kinds=("rough", "stairs_up"), rows=3, columns=2, border=4.0)


def busy(name: str) -> Task:
    """Everything happens within 20 steps: time-outs, pushes, new commands, harder ground."""
    task = envs.TASKS[name]()
    rough = bool(task.terrain.kinds)
    push = replace(task.events["push"], every=(0.04, 0.1))
    return replace(
        task,
        episode=0.16,
        events={**task.events, "push": push},
        terrain=SMALL if rough else FLAT,
        curriculum=Curriculum(widen_above=0.1, widen_by=0.3) if rough else None,
    )


def make(task: Task, seed: int = 0) -> Env:
    return envs.build(task, num_envs=COUNT, seed=seed, history=2)


def roll(env: Env, steps: int, seed: int = 7) -> list[dict[str, Tensor]]:
    """All that a learner is told, for the same random actions."""
    generator = torch.Generator().manual_seed(seed)
    told = []
    for _ in range(steps):
        action = torch.randn(COUNT, env.num_actions, generator=generator)
        obs, reward, done, extras = env.step(action)
        told.append(
            {
                **tensors(obs),
                **extras["log"],
                "reward": reward, "done": done, "time_outs": extras["time_outs"],
                "valid": extras["valid"],
            }
        )
    return told


def assert_same(one: list[dict[str, Tensor]], two: list[dict[str, Tensor]]) -> None:
    for step, (a, b) in enumerate(zip(one, two, strict=True)):
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), f"'{key}' differs in step {step}"


def on_disk(snapshot: Mapping[str, Tensor]) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(dict(snapshot), file)
    file.seek(0)
    loaded: dict[str, Tensor] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("name", ["toy-flat", "go2-flat", "go2-rough"])
def test_a_snapshot_continues_bit_for_bit_in_another_environment(name: str) -> None:
    task = busy(name)
    env = make(task)
    roll(env, 13, seed=1)
    saved = on_disk(env.snapshot())
    first = roll(env, 20)
    assert any(told["done"].any() for told in first)
    assert not all(told["done"].any() for told in first)
    other = make(task, seed=99)
    roll(other, 5, seed=2)
    other.restore(saved)
    assert torch.equal(other.get_observations()["critic"], saved["obs/critic"])
    assert_same(roll(other, 20), first)
    env.restore(saved)  # and again where it was taken, after what came since
    assert_same(roll(env, 20), first)


def test_taking_a_snapshot_changes_nothing() -> None:
    plain, watched = make(busy("toy-flat")), make(busy("toy-flat"))
    expected = roll(plain, 10)
    generator = torch.Generator().manual_seed(7)
    told = []
    for _ in range(10):
        watched.snapshot()
        told.append(watched.step(torch.randn(COUNT, 2, generator=generator))[1])
    assert all(torch.equal(a, b["reward"]) for a, b in zip(told, expected, strict=True))


def test_a_snapshot_does_not_change_with_the_environment_it_was_taken_of() -> None:
    env = make(busy("toy-flat"))
    saved = env.snapshot()
    before = {key: value.clone() for key, value in saved.items()}
    roll(env, 10)
    assert all(torch.equal(saved[key], before[key]) for key in before)


def test_a_snapshot_of_something_else_is_refused() -> None:
    saved = ride(little(), history=2).snapshot()
    with pytest.raises(ValueError, match="another task or history"):
        ride(little()).restore(saved)
    with pytest.raises(ValueError, match="of 3 environments, this is of 5"):
        ride(little(), num_envs=5, history=2).restore(saved)


def test_the_seed_decides_everything_and_nothing_else_does() -> None:
    task = busy("toy-flat")
    alone = roll(make(task, seed=1), 20)
    torch.manual_seed(4)
    one, two = make(task, seed=1), make(task, seed=2)
    generator, told = torch.Generator().manual_seed(7), []
    for _ in range(20):
        torch.rand(3)
        action = torch.randn(COUNT, 2, generator=generator)
        two.step(action)
        told.append(one.step(action)[0]["critic"])
    assert all(torch.equal(a, b["critic"]) for a, b in zip(told, alone, strict=True))
    assert not torch.equal(one.get_observations()["critic"], two.get_observations()["critic"])


# ---------------------------------------------------------------- masks, not indices


class OnTheDevice(TorchDispatchMode):
    """Fails on what would make a GPU wait for the host, or the host for it.

    What the simulator does is its own affair.
    """

    waits = ("_local_scalar_dense", "nonzero", "lift_fresh", "is_nonzero", "item", "masked_select")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if not self._in_simulator():
            name = func._schema.name.removeprefix("aten::")
            assert name not in self.waits, f"{func} looks at a value or copies from the host"
            if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
                kinds = [index.dtype for index in args[1] if index is not None]
                assert torch.bool not in kinds, f"{func} by a mask has no fixed shape"
            assert name != "_to_copy" or "device" not in (kwargs or {}), f"{func} copies"
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _in_simulator() -> bool:
        frame = sys._getframe(2)
        while frame.f_back:
            if frame.f_code.co_filename.endswith("fake.py"):
                return True
            frame = frame.f_back
        return False


def watch() -> OnTheDevice:
    return OnTheDevice()


@pytest.mark.parametrize("name", envs.TASKS)
def test_a_step_never_looks_at_a_value(name: str) -> None:
    task = envs.TASKS[name]()
    if task.terrain.kinds:
        task = replace(task, terrain=SMALL)
    env = ride(task, num_envs=COUNT, history=3)
    env.step(torch.zeros(COUNT, env.num_actions))
    action = torch.randn(COUNT, env.num_actions)
    with watch():
        env.step(action)


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: torch.nonzero(x),
        lambda x: x * torch.tensor([1.0, 2.0]),
        lambda x: x.__setitem__(x > 0, 0.0),
        lambda x: x[[0, 1]],
    ],
)
def test_the_watch_on_a_step_sees_what_it_should(look: Any) -> None:
    with pytest.raises(AssertionError), watch():
        look(torch.ones(2))


# ---------------------------------------------------------------- substeps


def test_a_contact_in_the_last_physics_step_is_seen() -> None:
    robot = little().robot
    sim = envs.SIMULATORS["mujoco_cpu"](Scene(robot=robot), 1)
    pose = torch.tensor([[0.0, 0.0, robot.height + 0.005, 1.0, 0.0, 0.0, 0.0]])
    still, rest = torch.zeros(1, 6), torch.zeros(1, 2)

    def fall() -> None:
        sim.reset(torch.ones(1, dtype=torch.bool), pose, still, rest, rest)

    fall()
    count = 0
    while not sim.state.foot_contact.any():
        sim.step(rest, 1)
        count += 1
    assert count > 2
    fall()
    sim.step(rest, count - 1)
    assert not sim.state.foot_contact.any()
    fall()
    sim.step(rest, count)
    assert sim.state.foot_contact.any()
