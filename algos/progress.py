"""How a training goes: one record an iteration, for people, for files and for tensorboard."""

from __future__ import annotations

import json
import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from tutelage.algos.runs import write_text

WINDOW = 100
"""Episodes over which reward and length are averaged, as in rsl_rl"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a training stands after an iteration."""

    stage: str
    """"teacher" or "student" """
    iteration: int
    """Iterations completed, earlier sessions included"""
    total: int
    """Iterations to be completed"""
    env_steps: int
    """Control steps of all environments so far, earlier sessions included"""
    seconds: float
    """Wall-clock time so far, earlier sessions included [s]"""
    steps_per_second: float
    """Control steps of all environments in a second, in this iteration"""
    seconds_left: float
    """Estimate from the last iterations [s]"""
    reward: float
    """Mean return of the last episodes; NaN before one has ended"""
    episode_length: float
    """Mean length of the last episodes [control steps]; NaN before one has ended"""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means over the iteration of what the environment logs"""
    losses: dict[str, float] = field(default_factory=dict)


OnIteration: TypeAlias = Callable[[Progress], None]


class Means:
    """Means over steps of named numbers. What is NaN in a step does not count in it.

    Sums are kept instead of the tensors, so that an environment may reuse its buffers.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], tuple[Tensor, Tensor]] = {}
        """Names that came together -> sums and counts of each"""

    def add(self, values: Mapping[str, Any]) -> None:
        """Take in the values of one step; of a tensor with several entries the mean."""
        if not values:
            return
        names = tuple(values)
        # one stack for all, since environments log dozens of scalars in every step
        numbers = torch.stack([_scalar(value) for value in values.values()])
        counts = ~numbers.isnan()
        sums, seen = self._sums.get(names, (torch.zeros_like(numbers), counts.long() * 0))
        self._sums[names] = sums + torch.where(counts, numbers, 0.0), seen + counts

    def take(self) -> dict[str, float]:
        """The means since the last call."""
        totals: dict[str, list[float]] = {}
        for names, (sums, counts) in self._sums.items():
            for name, total, count in zip(names, sums.tolist(), counts.tolist(), strict=True):
                entry = totals.setdefault(name, [0.0, 0.0])
                entry[0], entry[1] = entry[0] + total, entry[1] + count
        self._sums = {}
        return {name: total / count for name, (total, count) in totals.items() if count}


def _scalar(value: Any) -> Tensor:
    number = torch.as_tensor(value, dtype=torch.float32).detach()
    return number if number.dim() == 0 else number.mean()


class Ledger:
    """Running sums over a training that its checkpoints carry along."""

    def __init__(self, num_envs: int, device: str | torch.device) -> None:
        self.returns: deque[float] = deque(maxlen=WINDOW)
        """Of the last episodes"""
        self.lengths: deque[float] = deque(maxlen=WINDOW)
        """Of the last episodes [control steps]"""
        self.reward_sum = torch.zeros(num_envs, device=device)
        """(B,) in the present episode"""
        self.length = torch.zeros(num_envs, device=device)
        """(B,) of the present episode [control steps]"""
        self.env_steps = 0
        self.seconds = 0.0
        self.means = Means()

    def add(self, rewards: Tensor, dones: Tensor, extras: Mapping[str, Any]) -> None:
        """Take in one step. rewards, dones (B,); where `extras["valid"]` is false the reward is
        left out."""
        self.means.add(extras.get("log") or extras.get("episode") or {})
        valid = extras.get("valid")
        counted = rewards if valid is None else torch.where(valid, rewards, 0.0)
        self.reward_sum = self.reward_sum + counted
        self.length = self.length + 1
        ended = dones > 0
        if bool(ended.any()):
            self.returns.extend(self.reward_sum[ended].tolist())
            self.lengths.extend(self.length[ended].tolist())
            self.reward_sum = torch.where(ended, 0.0, self.reward_sum)
            self.length = torch.where(ended, 0.0, self.length)
        self.env_steps += rewards.shape[0]

    def snapshot(self) -> dict[str, Any]:
        return {
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "reward_sum": self.reward_sum.clone(),
            "length": self.length.clone(),
            "env_steps": self.env_steps,
            "seconds": self.seconds,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self.returns = deque(snapshot["returns"], maxlen=WINDOW)
        self.lengths = deque(snapshot["lengths"], maxlen=WINDOW)
        self.reward_sum = snapshot["reward_sum"].clone()
        self.length = snapshot["length"].clone()
        self.env_steps = int(snapshot["env_steps"])
        self.seconds = float(snapshot["seconds"])


def mean_or_nan(values: deque[float]) -> float:
    return statistics.fmean(values) if values else math.nan


class Curve:
    """The learning curve of a run: `curve.jsonl`, one object a line, NaN written as null."""

    def __init__(self, run: Path) -> None:
        self.path = run / "curve.jsonl"

    def cut(self, iteration: int) -> None:
        """Forget what came after an iteration, since it is about to be repeated."""
        if self.path.is_file():
            kept = [line for line in self.read() if line["iteration"] <= iteration]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, progress: Progress) -> None:
        record = {
            "iteration": progress.iteration,
            "env_steps": progress.env_steps,
            "seconds": round(progress.seconds, 3),
            "reward": progress.reward,
            "episode_length": progress.episode_length,
            "steps_per_second": round(progress.steps_per_second, 1),
            "metrics": progress.metrics,
            "losses": progress.losses,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_null_for_nan(record)) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Its lines; one that a killed process left unfinished is skipped."""
        lines = []
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_for_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
