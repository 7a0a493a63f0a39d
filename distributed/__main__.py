"""python -m distributed import | materialize | sample | pretrain | finetune | evaluate | status

Every command prints what it did on stderr, writes result.json into its run folder and, with --json, prints it as the last line of stdout.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import tyro

from distributed.commands.options import (
    Evaluate,
    Finetune,
    Import,
    Materialize,
    Pretrain,
    Sample,
    Status,
    check_lists,
    without_ignored,
)

LAST_LINES = 12
INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 + SIGINT, as shells have it."""

Command = (
    Annotated[Import, tyro.conf.subcommand("import")]
    | Annotated[Materialize, tyro.conf.subcommand("materialize")]
    | Annotated[Sample, tyro.conf.subcommand("sample")]
    | Annotated[Pretrain, tyro.conf.subcommand("pretrain")]
    | Annotated[Finetune, tyro.conf.subcommand("finetune")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Status, tyro.conf.subcommand("status")]
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; bad input gives a message of one screen and exit status 2."""
    words = sys.argv[1:] if arguments is None else arguments
    command = parsed(Command, "python -m distributed", __doc__, without_ignored(words))
    return run_command(command)[0]


def parsed(command: Any, program: str, description: str | None, words: list[str]) -> Any:
    """The command of a command line, or exit status 2 with what is wrong with it, or 0 with its help."""
    try:
        check_lists(words)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    return tyro.cli(command, prog=program, description=description, args=words)


def run_command(command: Any) -> tuple[int, dict[str, Any] | None]:
    """Runs a command, shows what went wrong and, with --json, prints the result; returns (exit status, result)."""
    try:
        return _run(command)
    except KeyboardInterrupt as interrupt:
        # Not by Rich, which may not be imported yet.
        print(
            f"interrupted {interrupt}" if interrupt.args else "interrupted; the same command starts again",
            file=sys.stderr,
        )
        return INTERRUPTED, None


def _run(command: Any) -> tuple[int, dict[str, Any] | None]:
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    from distributed.console import console
    from distributed.runs.folder import remove_unused_runs
    from distributed.training.failures import last_screen

    try:
        result = command.run()
    except KeyboardInterrupt:
        remove_unused_runs()
        raise
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError, FloatingPointError) as error:
        remove_unused_runs()
        if os.environ.get("RDL_TRACEBACK"):
            raise
        console.print(f"[bold red]error:[/] {type(error).__name__}", highlight=False)
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        console.print("(RDL_TRACEBACK=1 shows where it was raised)", style="dim")
        return 2, None
    except (TrainingFailedError, RayError) as error:
        if os.environ.get("RDL_TRACEBACK"):
            raise
        console.print("[bold red]error:[/] the run failed on a worker", highlight=False)
        text = last_screen(error).splitlines()[:LAST_LINES]
        console.print("\n".join(text), markup=False, highlight=False, soft_wrap=True)
        console.print("(RDL_TRACEBACK=1 shows all of it)", style="dim")
        return 1, None
    if command.json:
        print(json.dumps(result, default=str), flush=True)
    return 0, result


if __name__ == "__main__":
    sys.exit(main())
