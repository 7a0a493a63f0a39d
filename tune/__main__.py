"""python -m tune sweep | report

A sweep tries many pretraining settings on one database, on the cores here or on a Ray cluster; the same command goes on after a kill.
Exit status: 0 all trials ended well; 3 some failed or hung (the report says which and why); 1 none gave a loss; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from distributed.__main__ import parsed, run_command
from tune.commands import Report, Sweep

Command = Annotated[Sweep, tyro.conf.subcommand("sweep")] | Annotated[Report, tyro.conf.subcommand("report")]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    command = parsed(Command, "python -m tune", __doc__, words)
    status, result = run_command(command)
    return status if result is None else exit_status(result)


def exit_status(result: Mapping[str, Any]) -> int:
    """0, 3 or 1 by how the trials of a report ended."""
    statuses = [trial["status"] for trial in result["trials"]]
    if not any(trial["metric"] is not None for trial in result["trials"]):
        return 1
    return 3 if {"failed", "hung"} & set(statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
