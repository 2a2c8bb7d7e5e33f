"""Who acts while a student learns, and for how long.

Switching between teacher and student in every control step dithers, and lets the teacher mend each
student error within a step, so that the student never sees where its errors lead; so the choice
stands for a whole segment (compare "Revisiting DAgger", arXiv:2605.12913, which mixes by turns).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Linear:
    """From `start` to `end` in equal steps over `over` iterations, then `end`."""

    start: float
    end: float
    over: int

    def __call__(self, iteration: int) -> float:
        if self.over <= 0:
            return self.end
        done = min(max(iteration / self.over, 0.0), 1.0)
        return self.start + (self.end - self.start) * done


class Mixture:
    """In a share of the environments the teacher acts, in the others the student.

    The environments are drawn anew, each with probability `share(iteration)`, at the beginning of
    a segment: every `segment` control steps, or with None at the beginning of every rollout. At a
    share of 0 or 1 nothing is drawn, and no random number is used.
    """

    def __init__(self, num_envs: int, share: Linear, segment: int | None, device: str) -> None:
        for name, value in (("start", share.start), ("end", share.end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"beta {name} is {value}; a share lies between 0 and 1")
        if segment is not None and segment < 1:
            raise ValueError(f"segment is {segment} control steps; at least 1, or None")
        self.share = share
        self.segment = segment
        self.teacher_acts = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """(B,) in the present segment"""
        self._steps_left = 0

    def choose(self, iteration: int, rollout_begins: bool) -> Tensor:
        """Where the teacher acts in this control step. (B,) bool; call it once in each step"""
        begins = rollout_begins if self.segment is None else self._steps_left == 0
        if begins:
            self.teacher_acts = self._draw(self.share(iteration))
            self._steps_left = self.segment or 0
        self._steps_left -= 1
        return self.teacher_acts

    def _draw(self, share: float) -> Tensor:
        like = self.teacher_acts
        if share in (0.0, 1.0):
            return torch.full_like(like, share == 1.0)
        return torch.rand(like.shape, device=like.device) < share

    def snapshot(self) -> dict[str, Tensor | int]:
        """What a resumed run needs to go on in the middle of a segment."""
        return {"teacher_acts": self.teacher_acts.clone(), "steps_left": self._steps_left}

    def restore(self, snapshot: Mapping[str, Tensor | int]) -> None:
        """Go on in the middle of a segment; with another number of environments, begin one."""
        teacher_acts = snapshot["teacher_acts"]
        assert isinstance(teacher_acts, Tensor)
        if teacher_acts.shape == self.teacher_acts.shape:
            self.teacher_acts = teacher_acts.to(self.teacher_acts.device, copy=True)
            self._steps_left = int(snapshot["steps_left"])
        else:
            self._steps_left = 0
