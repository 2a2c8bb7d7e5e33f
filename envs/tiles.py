"""Where environments stand on the terrain, how hard their tile is, and how wide commands range."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor

from tutelage.envs.rotations import yaw
from tutelage.envs.sim.protocol import Simulator
from tutelage.envs.state import Context, State
from tutelage.envs.task import Task
from tutelage.envs.terrain import height_at, promote


class Tiles:
    """One tile (row: difficulty, column: kind) for each environment, and the curriculum."""

    def __init__(self, task: Task, sim: Simulator, generator: Generator) -> None:
        self._task, self._generator, self._device = task, generator, sim.device
        self._flat = not task.terrain.kinds
        self._origins = sim.origins.to(sim.device)
        self._ground = None if self._flat else task.terrain.generate()
        rows, columns = self._origins.shape[:2]
        self._rows, count = rows, sim.num_envs
        start = rows if task.curriculum is None else max(1, rows // 2)
        self.level = self._integers(start, count)
        """Row of each environment's tile. (B,) long"""
        self.column = torch.arange(count, device=sim.device) % columns
        """Column of each environment's tile. (B,) long"""
        self._commanded = torch.zeros(count, 2, device=sim.device)
        """Where the commands of this episode would have led, world frame. (B, 2) [m]"""
        self._start = torch.zeros(count, 3, device=sim.device)
        share = 1.0 if task.curriculum is None else task.curriculum.start
        self.share = torch.tensor(share, device=sim.device)
        """Share of the command's full range in use. ()"""

    def _integers(self, high: int, count: int) -> Tensor:
        return torch.randint(high, (count,), generator=self._generator, device=self._device)

    def heights(self, state: State) -> tuple[Tensor, Tensor]:
        """Ground under the base (B,) and under the feet (B, F) [m]."""
        if self._ground is None:
            feet = state.foot_pos_w
            return torch.zeros_like(state.root_pos_w[:, 2]), torch.zeros_like(feet[..., 2])
        base = height_at(self._ground, state.root_pos_w[:, :2])
        return base, height_at(self._ground, state.foot_pos_w[..., :2])

    def update(self, done: Tensor, context: Context, tracked: Tensor) -> None:
        """Count what was commanded; where episodes ended (B,), move to an easier or harder tile.

        `tracked` (B,): share of a whole episode's best tracking reward that each environment's last
        episode earned.
        """
        self._commanded = self._commanded + _world(context) * context.dt
        if self._task.curriculum is None:
            return
        if not self._flat:
            walked = (context.state.root_pos_w[:, :2] - self._start[:, :2]).norm(dim=-1)
            asked = self._commanded.norm(dim=-1)
            moved = promote(
                self.level, walked, asked, self._task.terrain.tile, self._rows,
                self._integers(self._rows, len(done)),
            )
            self.level = torch.where(done, moved, self.level)
        rule = self._task.curriculum
        good = torch.where(done & (tracked > rule.widen_above), 1.0, 0.0)
        self.share = (self.share + rule.widen_by * good.sum() / len(done)).clamp(max=1.0)

    def place(self, mask: Tensor) -> Tensor:
        """Where the masked environments (B,) begin. (B, 3) [m]"""
        origin = self._origins[self.level, self.column]
        self._start = torch.where(mask[:, None], origin, self._start)
        # `where`, not a product with 0: a heading that is not a number must not stay.
        self._commanded = torch.where(mask[:, None], 0.0, self._commanded)
        return self._start

    def log(self) -> dict[str, Tensor]:
        if self._task.curriculum is None:
            return {}
        log = {"Curriculum/command_share": self.share}
        return log if self._flat else log | {"Curriculum/terrain_level": self.level.float().mean()}

    def snapshot(self) -> dict[str, Tensor]:
        return {
            "level": self.level, "column": self.column, "commanded": self._commanded,
            "start": self._start, "share": self.share,
        }

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        self.level, self.column = snapshot["level"].clone(), snapshot["column"].clone()
        self._commanded, self._start = snapshot["commanded"].clone(), snapshot["start"].clone()
        self.share = snapshot["share"].clone()


def _world(context: Context) -> Tensor:
    """Commanded planar velocity in the world frame, by the heading the robot has. (B, 2) [m/s]"""
    heading = yaw(context.state.root_quat_w)
    forward, left = context.command[:, 0], context.command[:, 1]
    cos, sin = heading.cos(), heading.sin()
    return torch.stack((cos * forward - sin * left, sin * forward + cos * left), dim=-1)
