"""From a student's run to its ONNX file: finds the checkpoint, its task and what it reached."""

from __future__ import annotations

from pathlib import Path

from tutelage import envs
from tutelage.algos import runs
from tutelage.algos.checkpoint import load_policy
from tutelage.algos.plain import from_plain, read_yaml
from tutelage.algos.recipes import Recipe
from tutelage.algos.train import Settings
from tutelage.policies.model import Model
from tutelage.sim2real.export import ExportError, Origin, export

NUM_ENVS = 8
"""Environments in which the policy's three forms are compared"""


def export_run(path: Path, out: Path | None = None) -> Path:
    """Write the best (else newest) checkpoint of a run, or a given checkpoint; returns the file.

    `out` defaults to `exported/policy.onnx` in the run. ExportError for a teacher, which sees what
    no robot can.
    """
    checkpoint = runs.checkpoint_of(path)
    run = checkpoint.parent
    recipe = from_plain(Recipe, read_yaml(run / "params" / "recipe.yaml"))
    settings = from_plain(Settings, read_yaml(run / "params" / "run.yaml"))
    if settings.kind != "student":
        raise ExportError(
            f"{run} is the run of a {settings.kind}, which sees what only a simulator knows; "
            f"distil it first: tutelage distill {recipe.name} --teacher {run}"
        )
    record = run / "eval" / f"{checkpoint.stem}.json"
    metrics = runs.read_json(record)["results"] if record.is_file() else {}
    model = load_policy(checkpoint)
    if not isinstance(model, Model):
        raise ExportError(
            f"{checkpoint} holds a {type(model).__name__}, which has no exported form; only a "
            f"{Model.__name__} has"
        )
    env = envs.make(
        recipe.task,
        num_envs=NUM_ENVS,
        sim=settings.sim,
        seed=settings.seed,
        history=settings.history,
    )
    origin = Origin(
        recipe=recipe.name,
        seed=settings.seed,
        checkpoint=checkpoint,
        teacher=Path(settings.teacher),
    )
    try:
        return export(
            model,
            env,
            out or run / "exported" / "policy.onnx",
            origin=origin,
            metrics=metrics,
        )
    finally:
        env.close()
