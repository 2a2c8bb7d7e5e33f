"""`tutelage run`: teacher, student, export, check, in one folder that can be resumed.

    <log root>/<recipe>/<stamp>/
        pipeline.json                 what was asked for, and which stages are done
        <recipe>-teacher/<stamp>/     the runs of `tutelage train` and `tutelage distill`
        <recipe>-student/<stamp>/
        exported/policy.onnx
        check/report.html, report.json

The teacher is verified by `distill` before its first update. Each stage is done when its entry is
in pipeline.json, so that a run that was killed goes on with the stage it was in, and inside of
that with its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.algos import config, runs
from tutelage.algos import train as training
from tutelage.algos.plain import from_plain, to_plain, write_yaml
from tutelage.algos.recipes import Recipe
from tutelage.cli import commands, judging
from tutelage.cli.names import UserError
from tutelage.cli.progress import Line
from tutelage.cli.recipes import recipe_named
from tutelage.cli.training import FAILURES, kept, show
from tutelage.sim2real.export_run import export_run

NOTES = "pipeline.json"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage that is done."""

    name: str
    made: str
    """What it made, a path"""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What a pipeline was asked for, and how far it is."""

    recipe: str
    seed: int
    smoke: bool
    video: bool
    stages: tuple[Stage, ...] = ()
    seconds: tuple[tuple[str, float], ...] = field(default=())
    """Wall-clock time spent in each stage, interrupted attempts included [s]"""

    def made(self, name: str) -> Path:
        return next(Path(stage.made) for stage in self.stages if stage.name == name)


@dataclass
class Pipeline:
    """One run of `tutelage run`."""

    folder: Path
    recipe: Recipe
    notes: Notes
    line: Line

    def perform(self) -> judging.Judged:
        """Every stage that is not done yet; the verdict of the last."""
        stages: dict[str, Callable[[], Stage]] = {
            "teacher": self.teacher,
            "student": self.student,
            "export": self.export,
        }
        for name, work in stages.items():
            if all(stage.name != name for stage in self.notes.stages):
                stage = self.timed(name, work)
                self.note(stages=(*self.notes.stages, stage))
                self.line.end(stage.note)
        judged = self.timed("check", self.check)
        self.line.end(f"verdict: {judged.result.verdict}")
        return judged

    def timed(self, name: str, work: Callable[[], judging.T]) -> judging.T:
        self.line.begin(name, "verifying the teacher" if name == "student" else "")
        began = time.monotonic()
        try:
            return work()
        finally:
            spent = dict(self.notes.seconds)
            spent[name] = round(spent.get(name, 0.0) + time.monotonic() - began, 1)
            self.note(seconds=tuple(spent.items()))

    def note(self, **changes: object) -> None:
        self.notes = dataclasses.replace(self.notes, **changes)  # type: ignore[arg-type]
        runs.write_json(self.folder / NOTES, to_plain(self.notes))

    def teacher(self) -> Stage:
        run = training.train(
            self.recipe,
            log_root=self.folder,
            seed=self.notes.seed,
            resume=self.begun("teacher"),
            smoke=self.notes.smoke,
            on_iteration=self.line.advance,
        )
        return Stage(name="teacher", made=str(run), note=numbers(run))

    def student(self) -> Stage:
        resume = self.begun("student")
        run = training.distill(
            self.recipe,
            None if resume else self.notes.made("teacher"),
            log_root=self.folder,
            seed=self.notes.seed,
            resume=resume,
            smoke=self.notes.smoke,
            on_iteration=self.line.advance,
        )
        return Stage(name="student", made=str(run), note=numbers(run))

    def export(self) -> Stage:
        path = self.folder / "exported" / "policy.onnx"
        export_run(self.notes.made("student"), path)
        return Stage(name="export", made=str(path), note=str(path))

    def check(self) -> judging.Judged:
        return judging.judge(
            self.notes.made("export"),
            self.recipe,
            out=self.folder / "check",
            smoke=self.notes.smoke,
            video=self.notes.video,
            line=self.line,
            curves={
                kind: self.notes.made(kind) / "curve.jsonl" for kind in ("teacher", "student")
            },
        )

    def begun(self, kind: str) -> Path | None:
        """A run of this stage that was interrupted and has something to go on with."""
        found = runs.listing(training.experiment(self.recipe, kind), root=self.folder)
        return next((run for run in reversed(found) if runs.checkpoints(run)), None)


def numbers(run: Path) -> str:
    """What the evaluation at the end of a training measured, on one line."""
    results = runs.read_json(run / "eval" / f"{runs.newest(run).stem}.json")["results"]
    return "  ".join(f"{name} {value:.3f}" for name, value in results.items())


def run(command: commands.Run) -> int:
    recipe_named(command.recipe)
    if command.print_config:
        recipe = recipe_named(command.recipe)
        return show(config.smoke(recipe) if command.smoke else recipe)
    folder, recipe, notes = begin(command)
    try:
        with runs.recorded(folder), Line() as line:
            judged = Pipeline(folder, recipe, notes, line).perform()
    except (runs.Interrupted, KeyboardInterrupt):
        resume = f"tutelage run {recipe.name} --resume {shlex.quote(str(folder))}"
        print(f"\ninterrupted; everything is saved. Resume with:\n{resume}")
        return 130
    except FAILURES as failure:
        print("\n".join([f"\n{failure}", *getattr(failure, "__notes__", []), str(folder)]))
        return 1
    return judging.verdict(judged)


def begin(command: commands.Run) -> tuple[Path, Recipe, Notes]:
    """A new folder, or that of an interrupted run with its own recipe and settings."""
    if command.resume is not None:
        folder = runs.find(command.resume, root=command.log_root)
        if not (folder / NOTES).is_file():
            raise UserError(f"{folder} was not made by `tutelage run`; it has no {NOTES}")
        recipe = kept(command.recipe, folder, command.log_root)
        return folder, recipe, from_plain(Notes, runs.read_json(folder / NOTES))
    recipe = recipe_named(command.recipe)
    recipe = config.smoke(recipe) if command.smoke else recipe
    folder = runs.create(recipe.name, root=command.log_root, name=command.name)
    write_yaml(folder / "params" / "recipe.yaml", recipe)
    runs.write_meta(folder, seed=command.seed, recipe=recipe.name)
    notes = Notes(
        recipe=recipe.name, seed=command.seed, smoke=command.smoke, video=command.video
    )
    runs.write_json(folder / NOTES, to_plain(notes))
    return folder, recipe, notes
