"""Watch a policy: in the browser, with sliders for the command, or as a video.

The viewer is mjviser, MuJoCo in the browser; only the glue is here. The robot is the check's: the
exported file, the explicit motors, the latencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.sim2real import check_episode, scene, video
from tutelage.sim2real.check import model_path
from tutelage.sim2real.check_episode import World
from tutelage.sim2real.contract import CommandContract
from tutelage.sim2real.runtime import Policy
from tutelage.sim2real.scenario import COMMANDS, Episode, Physics, Segment
from tutelage.sim2real.trace import Floats

INSTALL = "pip install mjviser"
TOUR = ((0.0, (1.0, 0.0, 0.0)), (0.3, (0.7, 0.0, 0.7)), (0.5, (0.0, 1.0, 0.0)),
        (0.7, (-0.7, 0.0, 0.0)), (0.9, (0.0, 0.0, 0.0)))  # fmt: skip
"""Share of the time at which a command begins, and the command as a share of its range."""
LIE = 1.0
"""Time for which a robot that has fallen is shown before it starts again [s]"""


def play(
    policy_path: str | Path,
    *,
    video_path: Path | None = None,
    command: Sequence[float] = (),
    seconds: float = 10.0,
    port: int = 8080,
    mjcf: str | Path | None = None,
) -> str:
    """Show a policy until the viewer is closed, or write a video; '' or why there is no video.

    `command` (vx, vy, wz) [m/s, m/s, rad/s] is held through the video; without it the robot is
    asked for a tour of what it can do.
    """
    policy = Policy(Path(policy_path))
    contract = policy.contract
    episode = _episode(command, contract.commands, seconds)
    model = model_path(contract, mjcf)
    built = scene.build(contract, model, episode, Physics())
    policy = Policy(Path(policy_path), joint_order=built.joint_names)
    if video_path is None:
        _view(policy, built, World(contract, built, episode, Physics()), port)
        return ""
    trace = check_episode.run(policy, contract, built, episode, Physics())
    video_path.parent.mkdir(parents=True, exist_ok=True)
    return video.film(built, trace, video_path, contract.height)


def _episode(
    command: Sequence[float], ranges: tuple[CommandContract, ...], seconds: float
) -> Episode:
    if command and len(command) != len(COMMANDS):
        raise ValueError(f"a command has the entries {COMMANDS}, not {tuple(command)}")
    if seconds <= 0:
        raise ValueError(f"a video of {seconds} s has no frames")
    top = {one.name: one.high for one in ranges}
    if command:
        held = tuple(float(value) for value in command)
        segments: tuple[Segment, ...] = (Segment(at=0.0, command=held),)
    else:
        segments = tuple(
            Segment(
                at=share * seconds, ramp=0.05 * seconds,
                command=tuple(p * top.get(n, 0.0) for n, p in zip(COMMANDS, part, strict=True)),
            )
            for share, part in TOUR
        )  # fmt: skip
    return Episode(
        name="play", group="play", duration=seconds, segments=segments,
        action_delay=0.006, sensor_delay=0.004,
    )  # fmt: skip


class Player:
    """What a viewer calls: one physics step at a time, the policy asked once a control period."""

    def __init__(self, policy: Policy, world: World, command: Callable[[], Floats]) -> None:
        self.policy, self.world, self.command = policy, world, command
        self.reset()

    def reset(self, *_: object) -> None:
        self.world.reset()
        self.policy.reset()
        self._target = np.asarray(self.policy.default_pos, dtype=np.float64)
        self._tick = 0
        self._down = 0

    def step(self, *_: object) -> None:
        """One physics step; a robot that has lain on the ground for a while starts again."""
        if self._tick % self.world.scene.substeps == 0:
            self._target = self.policy.step(self.world.readings(self.command()))
            fallen = self.world.fall(self.world.touching()[1])
            self._down = self._down + 1 if fallen else 0
            if self._down * self.world.contract.control_dt > LIE:
                self.reset()
        self.world.advance(self._target)
        self._tick += 1


def _view(policy: Policy, built: scene.Scene, world: World, port: int) -> None:
    """Open the viewer and run until it is interrupted."""
    mjviser, server = _server(port)
    read = _sliders(server.gui, policy.contract.commands, world)
    player = Player(policy, world, read)
    viewer = mjviser.Viewer(
        built.model, world.data, step_fn=player.step, reset_fn=player.reset, server=server
    )
    viewer.run()


def _server(port: int) -> tuple[Any, Any]:
    try:
        import mjviser  # type: ignore[import-not-found,unused-ignore]
        import viser  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError(f"the viewer needs {error.name}; install it with: {INSTALL}") from error
    return mjviser, viser.ViserServer(port=port)


def _sliders(
    gui: Any, ranges: tuple[CommandContract, ...], world: World
) -> Callable[[], Floats]:
    """Sliders for the command, and a function that reads them."""
    sliders: dict[str, Any] = {}
    with gui.add_folder("Command"):
        for one in ranges:
            if one.low < one.high:
                sliders[one.name] = gui.add_slider(
                    f"{one.name} [{one.unit}]", min=one.low, max=one.high, step=0.05,
                    initial_value=min(max(0.0, one.low), one.high),
                )  # fmt: skip
        stop, push = gui.add_button("Stop"), gui.add_button("Push")

    def halt(_: object) -> None:
        for slider in sliders.values():
            slider.value = 0.0

    def shove(_: object) -> None:
        if world.scene.floating:
            world.data.qvel[world.scene.root_dof + 1] += 0.8  # sideways [m/s]

    stop.on_click(halt)
    push.on_click(shove)
    return lambda: np.array(
        [float(sliders[one.name].value) if one.name in sliders else 0.0 for one in ranges]
    )

