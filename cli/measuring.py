"""`tutelage bench`: measure, write, print."""

from __future__ import annotations

import json
from pathlib import Path

from tutelage.cli import commands
from tutelage.cli.names import UserError
from tutelage.cli.progress import Line
from tutelage.cli.recipes import recipe_named

RESULTS = Path("benchmarks/results")


def bench(command: commands.Bench) -> int:
    recipe = recipe_named(command.recipe)
    for name in ("num_envs", "windows", "steps"):
        if getattr(command, name) < 1:
            raise UserError(f"{name} must be at least 1, not {getattr(command, name)}")
    from tutelage.algos.runs import Interrupted
    from tutelage.benchmarks import velocity

    plan = velocity.Plan(
        num_envs=command.num_envs, windows=command.windows, steps=command.steps
    )
    with Line() as line:
        line.begin(f"bench {recipe.name}")
        try:
            result = velocity.measure(recipe, plan, line.count)
        except Interrupted:  # the trainer's word for Ctrl-C; there is no run to resume
            raise KeyboardInterrupt from None
        line.end("measured")
    out = command.out or RESULTS / f"{recipe.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{plan.num_envs} environments, medians of {plan.windows} windows [steps/s]")
    for name, speed in result["steps_per_second"].items():
        low, high = speed["low"], speed["high"]
        print(f"  {name:<24}{speed['median']:>12,.0f}   ({low:,.0f} to {high:,.0f})")
    for name, ratio in result["ratios"].items():
        print(f"  {name:<36}{ratio:.3f}")
    print(f"  {'peak memory':<36}{result['peak_memory_mib']['this task']:,.0f} MiB")
    print(out)
    return 0
