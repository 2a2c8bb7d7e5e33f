"""From a recipe to a trained teacher, and from a teacher to a student.

A run is described on disk before anything is built, and resumed from that description: the recipe
and configuration that count are the run's own, so a resumed run cannot drift from what it was.

The student is distilled on the full range of commands and terrain; the curriculum is there for a
teacher that cannot walk yet.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tutelage import envs
from tutelage.algos import checkpoint, runs
from tutelage.algos import config as configs
from tutelage.algos.checkpoint import load_policy
from tutelage.algos.evaluate import GateFailed, evaluate, judge
from tutelage.algos.plain import from_plain, read_yaml, to_plain, write_yaml
from tutelage.algos.progress import OnIteration
from tutelage.algos.recipes import Recipe
from tutelage.algos.runner import Runner
from tutelage.algos.runs import LOG_ROOT
from tutelage.envs.env import Env

__all__ = ["TeacherMismatch", "distill", "experiment", "load_policy", "measure", "train"]

EVAL_ENVS = 256
EVAL_STEPS = 500
"""Control steps of an evaluation: 10 s, two changes of command and two pushes in most of them"""
EVAL_SEED = 10_000
"""Added to a run's seed: no environment of the evaluation was trained on"""
SMOKE_STEPS = 50
"""Control steps of an evaluation that only shows that it works"""
TOLERANCE = 0.05
"""Share by which the teacher's return may differ from its record, before distillation"""


class TeacherMismatch(Exception):
    """The teacher does not do what its record says, so its labels are not to be trusted."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run was asked for beside its recipe; `params/run.yaml`."""

    kind: str
    """"teacher" or "student" """
    seed: int
    num_envs: int
    iterations: int
    sim: str
    smoke: bool
    history: int
    """Frames in the observation group "history"; 1: no such group"""
    teacher: str
    """Checkpoint that is distilled; empty for a teacher"""


def experiment(recipe: Recipe, kind: str) -> str:
    """Folder below the log root that holds a recipe's runs of a kind."""
    return f"{recipe.name}-{kind}"


def train(
    recipe: Recipe,
    *,
    log_root: Path = LOG_ROOT,
    seed: int = 0,
    num_envs: int | None = None,
    iterations: int | None = None,
    sim: str = "mujoco_cpu",
    resume: Path | None = None,
    name: str = "",
    on_iteration: OnIteration | None = None,
    smoke: bool = False,
) -> Path:
    """Train the teacher, measure it, hold it against `recipe.teacher_gates`; returns the run.

    `resume` continues a run or one of its checkpoints; the run then says what seed, environments
    and simulator are. `smoke` takes a tiny budget and does not enforce the gates.
    """
    recipe = configs.smoke(recipe) if smoke else recipe
    t = recipe.teacher
    if resume is None:
        settings = Settings(
            kind="teacher",
            seed=seed,
            num_envs=num_envs or t.num_envs,
            iterations=iterations or t.iterations,
            sim=sim,
            smoke=smoke,
            history=1,
            teacher="",
        )
        run = _create(recipe, settings, configs.teacher_config(recipe), log_root, name, {})
    else:
        run, settings = _reopen(recipe, "teacher", resume, log_root, num_envs, iterations)
    return _carry_out(recipe, run, settings, resume, on_iteration)


def distill(
    recipe: Recipe,
    teacher: Path | None = None,
    *,
    log_root: Path = LOG_ROOT,
    seed: int = 0,
    num_envs: int | None = None,
    iterations: int | None = None,
    sim: str = "mujoco_cpu",
    resume: Path | None = None,
    name: str = "",
    on_iteration: OnIteration | None = None,
    smoke: bool = False,
) -> Path:
    """Distil a teacher (a run or checkpoint) into the recipe's student; returns the run.

    The teacher's network and observations come from its checkpoint, and its return is compared
    with its record before the first update; TeacherMismatch if it is not the same.
    """
    recipe = configs.smoke(recipe) if smoke else recipe
    s = recipe.student
    if resume is not None:
        run, settings = _reopen(recipe, "student", resume, log_root, num_envs, iterations)
        return _carry_out(recipe, run, settings, resume, on_iteration)
    if teacher is None:
        raise ValueError("distillation needs a teacher (a run or a checkpoint of one)")
    source = runs.checkpoint_of(teacher)
    infos = checkpoint.read(source)["infos"]
    if "actor" not in infos["networks"]:
        raise checkpoint.CheckpointError(
            f"{source} is the checkpoint of a {infos['kind']}, not of a teacher; "
            f"it has the networks {', '.join(infos['networks'])}"
        )
    verify_teacher(recipe, source)
    settings = Settings(
        kind="student",
        seed=seed,
        num_envs=num_envs or s.num_envs,
        iterations=iterations or s.iterations,
        sim=sim,
        smoke=smoke,
        history=s.history,
        teacher=str(source.resolve()),
    )
    more = {"teacher": {"checkpoint": str(source.resolve()), "sha256": sha256(source)}}
    config = configs.student_config(recipe, infos)
    run = _create(recipe, settings, config, log_root, name, more)
    return _carry_out(recipe, run, settings, None, on_iteration)


def _create(
    recipe: Recipe,
    settings: Settings,
    config: Mapping[str, Any],
    root: Path,
    name: str,
    more: Mapping[str, Any],
) -> Path:
    """A run directory that says what is to be done in it."""
    run = runs.create(experiment(recipe, settings.kind), root=root, name=name)
    # before the runner is built, since construct_algorithm edits the configuration in place
    write_yaml(run / "params" / "recipe.yaml", recipe)
    write_yaml(run / "params" / f"{settings.kind}.yaml", config)
    write_yaml(run / "params" / "run.yaml", settings)
    runs.write_meta(run, seed=settings.seed, recipe=recipe.name, sim=settings.sim, **more)
    return run


def _reopen(
    recipe: Recipe,
    kind: str,
    resume: Path,
    root: Path,
    num_envs: int | None,
    iterations: int | None,
) -> tuple[Path, Settings]:
    """The run to be resumed and what it was asked for; refused if that differs from the recipe."""
    run = runs.find(resume, root=root)
    settings = from_plain(Settings, read_yaml(run / "params" / "run.yaml"))
    if settings.kind != kind:
        raise ValueError(f"{run} is the run of a {settings.kind}; a {kind} cannot resume it")
    was = read_yaml(run / "params" / "recipe.yaml")
    different = _differences(to_plain(recipe), was)
    if different:
        raise ValueError(f"{run} was made by another recipe; different: {'; '.join(different)}")
    if num_envs not in (None, settings.num_envs):
        raise ValueError(f"{run} has {settings.num_envs} environments, not {num_envs}")
    settings = replace(settings, iterations=iterations or settings.iterations)
    write_yaml(run / "params" / "run.yaml", settings)
    return run, settings


def _differences(now: Any, was: Any, where: str = "") -> list[str]:
    """What differs between two recipes, as far as the past of the run depends on it."""
    if isinstance(now, dict) and isinstance(was, dict):
        free = {"summary", "gates", "teacher_gates", "scenario", "iterations"}
        keys = [key for key in {**now, **was} if key not in free]
        parts = [_differences(now.get(k), was.get(k), f"{where}.{k}".strip(".")) for k in keys]
        return [difference for part in parts for difference in part]
    return [] if now == was else [f"{where} is {now} now and was {was}"]


def _carry_out(
    recipe: Recipe,
    run: Path,
    settings: Settings,
    resume: Path | None,
    on_iteration: OnIteration | None,
) -> Path:
    """Build, load, learn, measure, judge."""
    with runs.recorded(run):
        rank = int(os.environ.get("RANK", "0"))
        own = checkpoint.seed_everything(settings.seed, rank)
        config = read_yaml(run / "params" / f"{settings.kind}.yaml")
        word = "train" if settings.kind == "teacher" else "distill"
        env = _environment(
            recipe, settings, settings.num_envs, own, full=settings.kind == "student"
        )
        try:
            runner = Runner(
                env,
                config,
                run,
                str(env.device),
                stage=settings.kind,
                on_iteration=on_iteration,
                resume_command=f"tutelage {word} {recipe.name} --resume {run}",
            )
            if resume is not None:
                runner.load(str(resume if resume.is_file() else runs.newest(run)))
            elif settings.teacher:
                runner.load(settings.teacher)
            left = settings.iterations - runner.current_learning_iteration
            runner.learn(max(left, 0), init_at_random_ep_len=True)
        finally:
            env.close()
        gates = recipe.teacher_gates if settings.kind == "teacher" else ()
        record = measure(recipe, runs.newest(run), gates=gates)
        failed = [verdict for verdict in record["gates"] if not verdict["passed"]]
        if failed and not settings.smoke:
            raise GateFailed(f"the {settings.kind} of {run}", failed)
    return run


def _environment(
    recipe: Recipe, settings: Settings, num_envs: int, seed: int, *, full: bool
) -> Env:
    """The recipe's task; `full` means without the curriculum, at its full range."""
    known = envs.known_tasks()
    if recipe.task not in known:
        raise ValueError(f"unknown task '{recipe.task}'; known are {sorted(known)}")
    task = known[recipe.task]()
    if full:
        task = replace(task, curriculum=None)
    return envs.build(
        task, num_envs=num_envs, sim=settings.sim, seed=seed, history=settings.history
    )


def measure(recipe: Recipe, path: Path, *, gates: Any = (), keep: bool = True) -> dict[str, Any]:
    """Evaluate a checkpoint of a run on the full task; writes `eval/<checkpoint>.json`.

    Number of environments, seed and simulator follow from the run, so that the same checkpoint
    always has the same measurement. `keep` false leaves the record as it is.
    """
    run = path.parent
    settings = from_plain(Settings, read_yaml(run / "params" / "run.yaml"))
    num_envs = min(EVAL_ENVS, settings.num_envs)
    seed = settings.seed + EVAL_SEED
    policy = load_policy(path)
    env = _environment(recipe, settings, num_envs, seed, full=True)
    steps = min(SMOKE_STEPS if settings.smoke else EVAL_STEPS, int(env.max_episode_length))
    try:
        results = evaluate(policy.to(env.device), env, steps)
    finally:
        env.close()
    record = {
        "checkpoint": path.name,
        "sha256": sha256(path),
        "kind": settings.kind,
        "task": recipe.task,
        "sim": settings.sim,
        "seed": seed,
        "num_envs": num_envs,
        "steps": steps,
        "results": results,
        "gates": judge(results, gates),
    }
    if keep:
        runs.write_json(run / "eval" / f"{path.stem}.json", record)
    return record


def verify_teacher(recipe: Recipe, path: Path) -> None:
    """TeacherMismatch unless the checkpoint's return is that of its record."""
    place = path.parent / "eval" / f"{path.stem}.json"
    if not place.is_file():
        there = sorted(p.stem for p in place.parent.glob("model_*.json"))
        raise TeacherMismatch(
            f"{path} has no record of its return ({place.name}), so its training did not end; "
            f"measured checkpoints of this run: {', '.join(there) or 'none'}. "
            f"Resume it: tutelage train {recipe.name} --resume {path.parent}"
        )
    record = runs.read_json(place)
    if record["sha256"] != sha256(path):
        raise TeacherMismatch(f"{path} is not the file that {place} measured (other SHA-256)")
    recorded = float(record["results"]["return"])
    measured = float(measure(recipe, path, keep=False)["results"]["return"])
    if not abs(measured - recorded) <= TOLERANCE * abs(recorded):
        raise TeacherMismatch(
            f"the return of the teacher {path} is {measured:.4f} now and {recorded:.4f} in its "
            f"record, more than {TOLERANCE:.0%} apart; task, simulator or network are not what "
            f"it was trained with"
        )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
