"""What every Simulator is tested on: the backends present, and robots computable by hand.

A new backend joins by its line in `envs.SIMULATORS` and in `NEEDS`; the facts it must get right
are in `test_conformance.py`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from torch import Tensor

from tests.fake import FakeSim
from tutelage import envs
from tutelage.assets.robot import Joint, Robot
from tutelage.envs.sim.protocol import Field, Scene, Simulator
from tutelage.envs.state import State

G = 9.81
DT = 0.005
HALF = 0.5**0.5
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
ROLL_90 = (HALF, HALF, 0.0, 0.0)
YAW_90 = (HALF, 0.0, 0.0, HALF)
Numbers: TypeAlias = Sequence[Sequence[float]] | Sequence[float] | Sequence[Sequence[list[float]]]
NEEDS = {"mujoco_cpu": "mujoco", "mujoco_warp": "mujoco_warp", "isaaclab": "isaaclab"}
"""The package without which a backend is absent"""


@dataclass(frozen=True, kw_only=True)
class Backend:
    name: str
    make: Callable[[Scene, int], Simulator]
    exact: bool = True
    """The same inputs give the same bits (any CPU)"""


def backends() -> dict[str, Backend | str]:
    """Backend by name, or why it is absent."""
    found: dict[str, Backend | str] = {"fake": Backend(name="fake", make=FakeSim)}
    for name in sorted(set(NEEDS) | set(envs.SIMULATORS)):
        package = NEEDS.get(name, name)
        if name not in envs.SIMULATORS:
            found[name] = f"{name} is not in envs.SIMULATORS"
        elif importlib.util.find_spec(package) is None:
            found[name] = f"package '{package}' is not installed"
        else:
            exact = name == "mujoco_cpu"
            found[name] = Backend(name=name, make=envs.SIMULATORS[name], exact=exact)
    return found


def present(*, fake: bool) -> list[object]:
    """One pytest parameter for each backend that is here."""
    return [
        pytest.param(backend, id=name)
        for name, backend in backends().items()
        if isinstance(backend, Backend) and (fake or name != "fake")
    ]


everywhere = pytest.mark.parametrize("backend", present(fake=True))
with_physics = pytest.mark.parametrize("backend", present(fake=False))


# ---------------------------------------------------------------- robots

CUBE = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="base" pos="0 0 0.1">
      <freejoint/>
      <inertial pos="0 0 0" mass="1.9" diaginertia="0.015 0.015 0.015"/>
      <geom type="box" size="0.1 0.1 0.1" contype="0" conaffinity="1" condim="3" friction="1 0 0"/>
      <body name="wheel">
        <inertial pos="0 0 0" mass="0.1" diaginertia="0.005 0.005 0.005"/>
        <joint name="wheel" axis="0 1 0" range="-3 3"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
"""A cube of 2 kg with side 0.2 m; inertia 0.02 kg·m² about any axis, wheel included."""

ARM = """
    <body name="{name}" pos="0 {y} 1">
      <inertial pos="0.2 0 0" mass="{mass}" diaginertia="1e-6 1e-6 1e-6"/>
      <joint name="{name}_joint" axis="0 1 0" range="-3 3"/>
    </body>
"""
"""Points along x at angle 0 and hangs at pi/2: gravity turns it by m g 0.2 m cos(angle)."""


def cube(folder: Path, *, feet: tuple[str, ...] = (), ball: bool = False) -> Robot:
    """A free cube, or a ball as wide; without feet, FakeSim lets it fall."""
    path = folder / "cube.xml"
    path.write_text(CUBE.replace('type="box"', 'type="sphere"') if ball else CUBE)
    return Robot(
        name="cube", mjcf=str(path), joints=(joint("wheel"),), base="base", feet=feet,
        links=() if feet else ("base",), height=0.1, mass=2.0,
    )  # fmt: skip


def arms(folder: Path, order: tuple[str, str] = ("left", "right")) -> Robot:
    """Two arms on a fixed base, 0.1 kg on the left (y = 0.3) and 0.2 kg on the right.

    `order` is that of the bodies in the XML; the Robot's own is always left, right.
    """
    bodies = {
        "left": ARM.format(name="left", y=0.3, mass=0.1),
        "right": ARM.format(name="right", y=-0.3, mass=0.2),
    }
    path = folder / f"arms_{order[0]}.xml"
    inside = "".join(bodies[name] for name in order)
    path.write_text(
        "<mujoco><compiler angle='radian'/><worldbody>"
        f"<body name='base'>{inside}</body></worldbody></mujoco>"
    )
    return Robot(
        name="arms", mjcf=str(path), joints=(joint("left_joint"), joint("right_joint")),
        base="base", feet=("left", "right"), height=0.0, mass=0.3, fixed=True,
    )  # fmt: skip


def joint(name: str) -> Joint:
    return Joint(
        name=name, rest=0.0, lower=-3.0, upper=3.0, kp=10.0, kd=1.0, effort=3.0, speed=50.0,
        armature=0.02,
    )  # fmt: skip


# ---------------------------------------------------------------- handling


def simulate(backend: Backend, robot: Robot, num_envs: int = 3) -> Simulator:
    return backend.make(Scene(robot=robot, dt=DT), num_envs)


def rows(sim: Simulator, *which: int) -> Tensor:
    """(B,) bool: the given environments, or all."""
    mask = torch.zeros(sim.num_envs, dtype=torch.bool, device=sim.device)
    mask[list(which) if which else slice(None)] = True
    return mask


def each(sim: Simulator, *values: float) -> Tensor:
    """(B, n) the same values for every environment."""
    return torch.tensor(values, device=sim.device).repeat(sim.num_envs, 1)


def rest(sim: Simulator) -> Tensor:
    return each(sim, *[joint.rest for joint in sim.scene.robot.joints])


def place(
    sim: Simulator,
    pos: tuple[float, float, float],
    quat: tuple[float, float, float, float] = UPRIGHT,
    velocity: tuple[float, ...] = (0.0,) * 6,
    mask: Tensor | None = None,
) -> None:
    """Put environments somewhere, joints at rest."""
    chosen = rows(sim) if mask is None else mask
    joints = rest(sim)
    sim.reset(
        chosen, each(sim, *pos, *quat), each(sim, *velocity), joints, torch.zeros_like(joints)
    )


def weightless(sim: Simulator) -> None:
    sim.randomise(Field.GRAVITY, rows(sim), torch.zeros(sim.num_envs, 3, device=sim.device))


def wander(sim: Simulator, steps: int, seed: int = 0, substeps: int = 4) -> None:
    """Random targets within 1 rad of rest."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        noise = torch.rand(rest(sim).shape, generator=generator).to(sim.device)
        sim.step(rest(sim) + 2 * noise - 1, substeps)


def physical(state: State) -> dict[str, Tensor]:
    """Copies of everything in a state, by name."""
    return {name: getattr(state, name).clone() for name in State.__slots__}


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor], mask: Tensor | None = None) -> None:
    """Bit for bit, in all environments or the masked ones."""
    for name, value in a.items():
        chosen = slice(None) if mask is None else mask
        assert torch.equal(value[chosen], b[name][chosen]), name


def assert_same(backend: Backend, a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Bit for bit where the backend promises that, and to rounding elsewhere."""
    if backend.exact:
        assert_equal(a, b)
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=1e-3, rtol=1e-3)


def close(found: Tensor, expected: Numbers, tol: float = 1e-4) -> None:
    wanted = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(found.float().cpu(), wanted, atol=tol, rtol=0)
