"""Success by kind of ground and difficulty: teacher and student in training's own simulator.

    python -m tutelage.benchmarks.grounds TEACHER_RUN STUDENT_RUN [--report report.json]

Both walk the same tiles with the same commands, pushes and draws. An episode of ten seconds
succeeds when the robot neither fell nor tracked worse than the bounds of the check's `rough`
scenario. The report of the independent check is put beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from tutelage import envs
from tutelage.algos import runs
from tutelage.algos.checkpoint import load_policy
from tutelage.algos.machine import describe_machine, package_versions
from tutelage.envs.env import Env
from tutelage.sim2real.metrics import wilson

RESULTS = Path(__file__).parent / "results"
STEPS = 500
BOUND = 0.45
"""Largest mean velocity error [m/s] and yaw-rate error [rad/s] of a success"""
BANDS = 4
"""Groups of neighbouring difficulty rows"""


def walk(env: Env, run: Path) -> Tensor:
    """Whether each environment succeeded. (B,) bool"""
    policy = load_policy(runs.checkpoint_of(run))
    obs = env.get_observations()
    fallen = torch.zeros(env.num_envs, dtype=torch.bool)
    errors = torch.zeros(2, env.num_envs)
    terms = list(env.task.metrics.values())
    policy.reset()
    with torch.inference_mode():
        for _ in range(STEPS):
            obs, _, done, extras = env.step(policy(obs))
            policy.reset(done)
            fallen |= done & ~extras["time_outs"]
            context = env.context()
            errors += torch.stack([term(context) for term in terms])
    return ~fallen & (errors / STEPS <= BOUND).all(0)


def table(env: Env, success: Tensor) -> dict[str, list[dict[str, Any]]]:
    """Kind of ground -> one entry for each band of difficulty, easy to hard."""
    terrain = env.task.terrain
    kinds = terrain.column_kinds()
    band = env.tiles.level * BANDS // terrain.rows
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in dict.fromkeys(kinds):
        columns = torch.tensor([name == kind for name in kinds])[env.tiles.column]
        for i in range(BANDS):
            here = success[columns & (band == i)]
            low, high = wilson(int(here.sum()), len(here))
            entry = {
                "difficulty": [i / BANDS, (i + 1) / BANDS], "episodes": len(here),
                "success": here.float().mean().item(), "low": low, "high": high,
            }
            found.setdefault(kind, []).append(entry)
    return found


def markdown(results: Mapping[str, Any]) -> str:
    """The table people read: teacher and student in training's simulator, student in the check."""
    bands = [f"{i / BANDS:g} to {(i + 1) / BANDS:g}" for i in range(BANDS)]
    lines = [
        f"# {results['task']}: success by kind of ground and difficulty",
        "",
        "Teacher / student in the training simulator / student in the independent check, whose "
        "four sizes are those of difficulty 0.25, 0.5, 0.75 and 1.",
        "",
        f"| ground | {' | '.join(bands)} |",
        "|---" * (BANDS + 1) + "|",
    ]
    for kind, teacher in results["teacher"].items():
        cells = []
        for i, (t, s) in enumerate(zip(teacher, results["student"][kind], strict=True)):
            checked = results.get("check", {}).get("grounds", {}).get(kind, [])
            third = f"{checked[i]['success']:.2f}" if i < len(checked) else "-"
            cells.append(f"{t['success']:.2f} / {s['success']:.2f} / {third}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    teacher: Annotated[Path, tyro.conf.Positional],
    student: Annotated[Path, tyro.conf.Positional],
    task: str = "go2-rough",
    num_envs: int = 800,
    seed: int = 20_000,
    report: Path | None = None,
) -> None:
    """Write benchmarks/results/grounds-<task>.json; prints teacher/student by kind, easy first."""
    full = replace(envs.known_tasks()[task](), curriculum=None)
    results: dict[str, Any] = {"task": task, "num_envs": num_envs, "seed": seed, "bound": BOUND}
    for who, run in (("teacher", teacher), ("student", student)):
        env = envs.build(full, num_envs=num_envs, seed=seed)
        results[who] = table(env, walk(env, run))
        env.close()
    if report:
        judged = json.loads(report.read_text())
        results["check"] = {key: judged[key] for key in ("metrics", "grounds", "scenario_sha256")}
    results |= {
        "machine": describe_machine(), "packages": package_versions(),
        "git": runs.git_state(Path(runs.__file__).parent),
    }
    path = RESULTS / f"grounds-{task}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(results))
    print(markdown(results), path)


if __name__ == "__main__":
    tyro.cli(main)
