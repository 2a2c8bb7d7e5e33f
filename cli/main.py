"""The `tutelage` command: reads what was typed, calls what does it, prints what came of it.

Exit codes: 0 done; 1 a gate failed, or a part of this machine is broken; 2 what was typed cannot
be; 130 interrupted. A mistake of the user's is one sentence, `--debug` shows where it arose;
anything else is a defect of ours and comes with its traceback.
"""

from __future__ import annotations

import importlib
import sys
import traceback
import warnings
from collections.abc import Sequence

import tyro

from tutelage.cli import commands
from tutelage.cli.names import UserError, unknown
from tutelage.cli.recipes import recipe_named

DESCRIPTION = (
    "From a privileged teacher in simulation to a policy that is checked for the real robot."
)
MISTAKES = (UserError, ValueError, FileNotFoundError, FileExistsError, NotADirectoryError)
"""What our constructors and readers raise for a value that cannot be, naming it."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in commands.NAMES:
            raise unknown("command", arguments[0], commands.NAMES)
        command = parse(arguments)
    except UserError as error:
        return complain(error)
    try:
        return perform(command)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except MISTAKES as error:
        if command.debug:
            traceback.print_exc()
        hint = "" if command.debug or isinstance(error, UserError) else " (--debug shows where)"
        return complain(error, hint)


def parse(arguments: list[str]) -> commands.AnyCommand:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tyro.cli(
            commands.AnyCommand,
            prog="tutelage",
            description=DESCRIPTION,
            args=arguments or ["--help"],
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
        )


def perform(command: commands.AnyCommand) -> int:
    """Call `perform` of the command's own module, which is imported only now."""
    if isinstance(command, commands.Training | commands.Run | commands.Bench):
        recipe_named(command.recipe)  # before anything large is imported
    word = type(command).__name__.lower()
    module = importlib.import_module(f"tutelage.cli.{PERFORMED_BY[word]}")
    done: int = getattr(module, word)(command)
    return done


PERFORMED_BY = {
    "list": "listing",
    "train": "training",
    "distill": "training",
    "export": "judging",
    "check": "judging",
    "play": "judging",
    "run": "pipeline",
    "bench": "measuring",
    "doctor": "doctor",
}


def complain(error: BaseException, hint: str = "") -> int:
    print(f"tutelage: {error}{hint}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
