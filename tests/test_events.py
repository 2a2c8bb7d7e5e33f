"""Events: what is drawn, when, for whom, and that it reaches the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.fake import FakeSim
from tests.little import DT, actions, fake, little, only, ride
from tutelage import envs
from tutelage.assets import ROBOTS
from tutelage.envs.sim.protocol import Field, Scene
from tutelage.envs.task import Event
from tutelage.envs.terms.events import Events

B = 64
SIZES = {
    Field.FRICTION: 1, Field.MASS: 1, Field.COM: 3, Field.GRAVITY: 3, Field.ACTION_DELAY: 1,
    Field.KP: 2, Field.KD: 2, Field.STRENGTH: 2, Field.ARMATURE: 2, Field.DAMPING: 2,
}
"""Values of each field for the toy, which has two joints"""


class Recorder(FakeSim):
    """Keeps the pushes it was given."""

    def __init__(self, scene: Scene, num_envs: int) -> None:
        super().__init__(scene, num_envs)
        self.pushes: list[tuple[Tensor, Tensor]] = []

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        self.pushes.append((mask, velocity))
        super().push(mask, velocity)


def simulator() -> Recorder:
    return Recorder(Scene(robot=ROBOTS["toy"]()), B)


def events(sim: FakeSim, seed: int = 0, **named: Event) -> Events:
    return build(sim, named, seed)


def build(sim: FakeSim, named: Mapping[str, Event], seed: int = 0) -> Events:
    made = Events(named, sim, torch.Generator().manual_seed(seed))
    made.reset(torch.ones(B, dtype=torch.bool))
    return made


def values(tensor: Tensor) -> set[float]:
    return set(tensor.flatten().tolist())


def on(field: Field, low: float, high: float, every: tuple[float, float] | None = None) -> Event:
    return Event(field=field, low=(low,), high=(high,), every=every)


def test_every_field_that_an_event_draws_reaches_the_simulator_and_is_remembered() -> None:
    sim = simulator()
    assert set(SIZES) == set(Field)
    made = build(sim, {str(field): on(field, 1.0, 2.0) for field in Field})
    for field, size in SIZES.items():
        drawn = sim.fields[field]
        assert drawn.shape == (B, size)
        assert torch.equal(made.dynamics[field], drawn)
        assert ((drawn >= 1.0) & (drawn <= 2.0)).all()
        assert len(values(drawn)) == (2 if field is Field.ACTION_DELAY else drawn.numel())


def test_every_field_changes_the_motion_of_a_robot_under_mujoco() -> None:
    everywhere = torch.ones(1, dtype=torch.bool)
    robot = ROBOTS["toy"]()
    # Friction acts only where feet slide, damping and gains where joints move: so they do.
    changed = {
        Field.FRICTION: 0.1, Field.MASS: 1.0, Field.COM: 0.03, Field.KP: 0.5, Field.KD: 3.0,
        Field.STRENGTH: 0.5, Field.ARMATURE: 3.0, Field.DAMPING: 0.2, Field.GRAVITY: -5.0,
        Field.ACTION_DELAY: 3.0,
    }

    def ends(field: Field | None) -> Tensor:
        sim = envs.SIMULATORS["mujoco_cpu"](Scene(robot=robot), 1)
        if field:
            events_of = Events(
                {"one": on(field, changed[field], changed[field])}, sim, torch.Generator()
            )
            events_of.reset(everywhere)
        for step in range(10):
            sim.step(torch.tensor([[0.6, -0.6]]) * (-1) ** (step // 3), 4)
        return torch.cat((sim.state.root_pos_w, sim.state.joint_pos), dim=-1)

    plain = ends(None)
    for field in Field:
        apart = (ends(field) - plain).abs().max()
        assert apart > 1e-4, f"{field} changes nothing"


def test_a_draw_covers_its_range_entry_by_entry() -> None:
    sim = simulator()
    low, high = (-0.1, 0.0, 0.2), (0.1, 0.0, 0.3)
    events(sim, com=Event(field=Field.COM, low=low, high=high))
    drawn = sim.fields[Field.COM]
    assert (drawn.amin(0) >= torch.tensor(low)).all()
    assert (drawn.amax(0) <= torch.tensor(high)).all()
    assert (drawn[:, 1] == 0).all()
    assert drawn[:, 2].std() > 0.02


def test_a_delay_is_a_whole_number_of_steps_and_its_ends_are_drawn() -> None:
    sim = simulator()
    events(sim, delay=on(Field.ACTION_DELAY, 0.0, 4.0))
    assert values(sim.fields[Field.ACTION_DELAY]) == {0, 1, 2, 3, 4}


def test_only_new_episodes_draw() -> None:
    sim = simulator()
    made = events(sim, mass=on(Field.MASS, 0.0, 1.0))
    before = sim.fields[Field.MASS].clone()
    made.reset(only(3, B))
    changed = (sim.fields[Field.MASS] != before).flatten()
    assert torch.equal(changed, only(3, B))
    assert torch.equal(made.dynamics[Field.MASS], sim.fields[Field.MASS])


def test_a_field_with_an_interval_is_drawn_anew_when_it_is_due() -> None:
    sim = simulator()
    made = events(sim, mass=on(Field.MASS, 0.0, 1.0, every=(0.06, 0.06)))
    before = sim.fields[Field.MASS].clone()
    for _ in range(3):
        made.step(DT)
        assert torch.equal(sim.fields[Field.MASS], before)
    made.step(DT)
    assert (sim.fields[Field.MASS] != before).all()


PUSH = Event(low=(0.5, 0, 0, 0, 0, 0), high=(0.5, 0, 0, 0, 0, 0), every=(0.1, 0.1))


def test_no_push_comes_before_its_interval() -> None:
    sim = simulator()
    made = events(sim, push=PUSH)
    for step in range(16):
        made.step(DT)  # at the beginning of the step, which is at step * 0.02 s
        due, velocity = sim.pushes[-1]
        assert due.all() == due.any() == (step in (5, 10, 15))
        assert torch.equal(velocity[0], torch.tensor([0.5, 0, 0, 0, 0, 0]))


def test_times_between_pushes_are_drawn_within_their_range() -> None:
    sim = simulator()
    made = events(sim, push=replace(PUSH, every=(0.1, 0.2)))
    times = torch.full((B,), -1.0)
    for step in range(11):
        made.step(DT)
        first = sim.pushes[-1][0] & (times < 0)
        times = torch.where(first, step * DT, times)
    assert times.min() == pytest.approx(0.1)
    assert times.max() == pytest.approx(0.2)
    assert len(values(times)) == 6


def test_a_push_changes_the_velocity_of_the_environment_it_is_due_in() -> None:
    env = ride(little(events={"push": PUSH}, episode=0.2))
    env.episode_length_buf[1] = 7  # the second environment's episode ends after three steps
    speeds = []
    for _ in range(9):
        env.step(actions(0.0))
        speeds.append((env.sim.state.lin_vel_b[:, :2].norm(dim=-1)).tolist())
    for step, speed in enumerate(speeds):
        first = 0.5 if step >= 5 else 0.0
        second = 0.5 if step >= 3 + 5 else 0.0  # its clock began anew
        assert speed == pytest.approx([first, second, first])


def test_what_was_drawn_holds_until_the_episode_ends() -> None:
    env = ride(little(events={"mass": on(Field.MASS, 0.0, 1.0)}, episode=3 * DT))
    drawn = [fake(env).fields[Field.MASS].clone()]
    for _ in range(4):
        env.step(actions(0.0))
        drawn.append(fake(env).fields[Field.MASS].clone())
    assert torch.equal(drawn[0], drawn[2])
    assert (drawn[3] != drawn[0]).all()
    assert torch.equal(drawn[4], drawn[3])


def test_a_wrong_number_of_values_is_refused_with_the_right_one() -> None:
    sim = simulator()
    with pytest.raises(ValueError, match=r"event 'com' gives 2 values, com has 3"):
        events(sim, com=Event(field=Field.COM, low=(0.0, 0.0), high=(0.1, 0.1)))
    with pytest.raises(ValueError, match=r"event 'kp' gives 5 values, kp has 2"):
        events(sim, kp=Event(field=Field.KP, low=(0.9,), high=(1.1,) * 5))
    with pytest.raises(ValueError, match=r"event 'push' gives 3 values, a push has 6"):
        events(sim, push=replace(PUSH, low=(0.0, 0.0, 0.0)))


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match=r"event 'mass': low \(2.0,\) exceeds high \(1.0,\)"):
        events(simulator(), mass=on(Field.MASS, 2.0, 1.0))


def test_a_push_without_an_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="event 'push' is a push and needs `every`"):
        events(simulator(), push=replace(PUSH, every=None))


def test_a_snapshot_brings_back_what_was_drawn_and_when_the_next_is_due() -> None:
    sim = simulator()
    made = events(sim, push=PUSH, mass=on(Field.MASS, 0.0, 1.0))
    for _ in range(3):
        made.step(DT)
    saved = {name: value.clone() for name, value in made.snapshot().items()}
    sim = simulator()
    other = events(sim, seed=9, push=PUSH, mass=on(Field.MASS, 0.0, 1.0))
    other.restore(saved)
    assert torch.equal(other.dynamics[Field.MASS], made.dynamics[Field.MASS])
    other.step(DT)
    other.step(DT)
    assert not any(mask.any() for mask, _ in sim.pushes)
    other.step(DT)
    assert sim.pushes[-1][0].all()
