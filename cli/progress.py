"""The line that is alive while something long is running.

On a terminal one line with a bar; in a file or a pipe a plain line now and then, so that a log
stays readable.
"""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich import progress as rich_progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.table import Column

if TYPE_CHECKING:  # it brings torch along, which `tutelage --help` does without
    from tutelage.algos.progress import Progress

PERIOD = 10.0
"""Between two plain lines [s]"""


class Line:
    """Stage, steps/s, time left, reward and velocity error."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.bar = rich_progress.Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True)),
            console=self.console,
            transient=False,
        )
        self.task: TaskID | None = None
        self.stage = ""
        self.began = self.said = time.monotonic()

    def __enter__(self) -> Line:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def begin(self, stage: str, note: str = "") -> None:
        """The next stage, and what it does before it can say how it goes."""
        self.stage = stage
        self.began = time.monotonic()
        self.said = -math.inf
        if self.console.is_terminal:
            self.task = self.bar.add_task(stage, total=None, numbers=note)
        else:
            self.console.print(f"{stage}  {note}".rstrip(), soft_wrap=True)

    def end(self, note: str = "") -> None:
        seconds = time.monotonic() - self.began
        if self.task is not None:
            done = self.bar.tasks[-1]
            self.bar.update(self.task, total=done.total or 1, completed=done.total or 1)
            if note:
                self.bar.update(self.task, numbers=note)
        elif note:
            self.console.print(f"{self.stage}: {note} ({seconds:.0f} s)", soft_wrap=True)

    def advance(self, progress: Progress) -> None:
        """After an iteration of a training; this is what a runner calls."""
        numbers = describe(progress, brief=self.console.width < 100)
        if progress.iteration >= progress.total:
            numbers += "  measuring the result"
        if self.task is not None:
            done, total = progress.iteration, progress.total
            self.bar.update(self.task, total=total, completed=done, numbers=numbers)
        elif time.monotonic() - self.said > PERIOD or progress.iteration >= progress.total:
            self.said = time.monotonic()
            place = f"{self.stage} {progress.iteration}/{progress.total}"
            self.console.print(f"{place}  {numbers}", soft_wrap=True)

    def say(self, text: str) -> None:
        """Something that stays, above the line."""
        self.console.print(text, soft_wrap=True, markup=False)

    def count(self, what: str, done: int, total: int) -> None:
        """Before a part of something that is counted but not trained."""
        if self.task is not None:
            self.bar.update(self.task, total=total, completed=done, numbers=what)


def describe(progress: Progress, *, brief: bool = False) -> str:
    """The numbers of a line; those that are not known yet are left out."""
    parts = [f"{progress.steps_per_second:,.0f} steps/s"]
    if math.isfinite(progress.seconds_left):
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if math.isfinite(progress.reward):
        parts.append(f"reward {progress.reward:.2f}")
    error = progress.metrics.get("Metrics/velocity_error", math.nan)
    if math.isfinite(error):
        parts.append(f"{'error' if brief else 'velocity error'} {error:.2f} m/s")
    return "  ".join(parts)
