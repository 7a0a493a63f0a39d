"""The way into the commands, and out of them at Ctrl-C, which may come while their modules are loaded: none is imported here."""

import sys
from collections.abc import Sequence
from importlib import import_module

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 + SIGINT, as shells have it."""
COMMAND_MODULES = (
    "distributed.commands.options",
    "distributed.tasks.command",
    "distributed.prediction.options",
    "distributed.embedding.options",
    "distributed.explanation.options",
)
"""Modules with commands of one database, each with its own in COMMANDS."""


def run_words(program: str, about: str | None, modules: Sequence[str], words: Sequence[str]) -> int:
    """Runs one of the commands that the modules have and returns its exit status."""
    try:
        from distributed.commands import command_line

        commands = {name: command for module in modules for name, command in import_module(module).COMMANDS.items()}
        return command_line.main(program, about, commands, words)
    except KeyboardInterrupt as interrupt:
        return interrupted(interrupt)


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Prints one line, with what the interrupt says if it says something, and returns the exit status."""
    text = f"interrupted {interrupt}" if interrupt.args else "interrupted; the same command starts again"
    print(text, file=sys.stderr, flush=True)
    return INTERRUPTED
