"""From the words of a command line to one command's work, and how it ends.

    preset, kinds of rows and aggregation -> a whole configuration -> its fields (--config...) -> short options (--learning-rate)

Promises: every setting of a configuration has a name here; one setting named twice, differently, is refused; a list given twice adds up. Bad input
ends with status 2 and one screen of text, Ctrl-C with status 130 and one line; an error that is neither shows its traceback and ends with status 1.
Nothing heavy is loaded before a command's options are right.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import json
import os
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from distributed.cannot_run import CannotRun
from distributed.commands.entry import interrupted
from rdl_core import __version__
from rdl_core.config import changed
from rdl_core.problems import InputError

LAST_LINES = 12
"""Lines of a worker's error that are shown."""
INPUT_ERRORS = (ValueError, OSError, ModuleNotFoundError, FloatingPointError, CannotRun)
"""Errors whose text tells what to give instead."""
COMMON = ("data", "max_steps", "seed")
"""Options that every command takes, so that a script may pass them to all; a command that has none of these ignores it."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Args:
        options: Dataclass of its options. It may have `defaults`, which makes configurations of the words of the command line, and `SHORT`,
            {option: dotted path of the setting that it names}.
        runner: "module:function", which takes the options and returns what --json prints; imported when the command runs.
        exit_status: Exit status of a result.
    """

    options: type[Any]
    runner: str
    exit_status: Callable[[Mapping[str, Any]], int] = lambda result: 0

    @property
    def summary(self) -> str:
        """The first sentence of its help."""
        return (self.options.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def main(program: str, about: str | None, commands: Mapping[str, Command], words: Sequence[str]) -> int:
    """Runs the command that the words name and returns the exit status.

    Raises:
        SystemExit: 0 after a command's help, 2 for options that it does not have.
    """
    if not words or words[0] in ("-h", "--help"):
        print(_overview(program, about, commands), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    name, rest = _named(words, commands)
    if name not in commands:
        near = difflib.get_close_matches(name, commands, n=1)
        print(f"error: there is no command {name!r}{f'; did you mean {near[0]}?' if near else ''}", file=sys.stderr)
        print(f"commands: {', '.join(commands)}; `{program} --help` says what they do", file=sys.stderr)
        return 2
    return run(commands[name], parse(commands[name], rest, f"{program} {name}"))


def _named(words: Sequence[str], commands: Mapping[str, Command]) -> tuple[str, list[str]]:
    """Returns the name that the words begin with, of one word or of two (`task new`), and the words behind it."""
    has_two = words[0] in {name.partition(" ")[0] for name in commands if " " in name}
    name = " ".join(words[: 2 if has_two else 1])
    return name, list(words[2 if has_two else 1 :])


def parse(command: Command, words: Sequence[str], program: str) -> Any:
    """Returns the command's options, their configurations complete.

    Raises:
        SystemExit: 0 after the help, 2 for words that mean nothing.
    """
    options = command.options
    words = _lists_joined(_without_ignored(words, options), _lists_of(options))
    try:
        made = {"default": options.defaults(functools.partial(_last, words))} if hasattr(options, "defaults") else {}
        parsed = tyro.cli(options, prog=program, args=words, config=(tyro.conf.AvoidSubcommands,), **made)
        return _with_short_options(parsed, words)
    except INPUT_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run(command: Command, options: Any) -> int:
    """Runs a command, shows what went wrong and, with --json, prints the result; returns the exit status."""
    try:
        module, _, function = command.runner.partition(":")
        result = getattr(importlib.import_module(module), function)(options)
    except (KeyboardInterrupt, Exception) as error:
        from distributed.runs.folder import remove_unused_runs

        remove_unused_runs()
        if isinstance(error, KeyboardInterrupt):
            return interrupted(error)
        if os.environ.get("RDL_TRACEBACK"):
            raise
        # A worker's first: Ray's error of a task is of its cause's type, too.
        if (last_lines := _of_a_worker(error)) is not None:
            _show(f"the run failed on a worker\n{last_lines}", "(RDL_TRACEBACK=1 shows all of it)")
            return 1
        if not isinstance(error, INPUT_ERRORS):
            raise
        is_ours = isinstance(
            error, InputError | CannotRun | OSError
        )  # the text says it all; the class of another one says more
        headline = str(error) if is_ours else f"{type(error).__name__}: {error}"
        _show(headline, "(RDL_TRACEBACK=1 shows where it was raised)")
        return 2
    if options.json:
        print(json.dumps(result, default=str), flush=True)
    return command.exit_status(result)


def _overview(program: str, about: str | None, commands: Mapping[str, Command]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    more = f"`{program} COMMAND --help` explains a command's options; `{program} --version` prints the version."
    return f"usage: {program} COMMAND [OPTIONS]\n\n{(about or '').strip()}\n\ncommands:\n" + "\n".join(
        [*lines, "", more]
    )


def _show(text: str, remark: str) -> None:
    from distributed.console import console

    console.print("[bold red]error:[/]", end=" ", highlight=False)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(remark, style="dim")


def _of_a_worker(error: Exception) -> str | None:
    """Returns the last lines of an error that Ray brings from a worker; None for all others."""
    if "ray" not in sys.modules:
        return None
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    from distributed.training.failures import last_screen

    if not isinstance(error, TrainingFailedError | RayError):
        return None
    return "\n".join(last_screen(error).splitlines()[:LAST_LINES])


def _without_ignored(words: Sequence[str], options: type[Any]) -> list[str]:
    """The words without the common options that the command has nothing to do with, each with its value."""
    fields = {field.name for field in dataclasses.fields(options)}
    ignored = {f"--{name.replace('_', '-')}" for name in COMMON if name not in fields}
    left, rest = [], iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name.replace("_", "-") not in ignored:
            left.append(word)
        elif not equals:
            next(rest, None)
    return left


def _lists_of(options: type[Any]) -> set[str]:
    """The options that take several values, also those of configurations."""
    found = set()
    for name, hint in typing.get_type_hints(options).items():
        kinds = (hint, *typing.get_args(hint))
        if {typing.get_origin(kind) for kind in kinds} & {tuple, dict}:
            found.add(f"--{name.replace('_', '-')}")
        for kind in (kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            found |= {f"--{name.replace('_', '-')}.{below[2:]}" for below in _lists_of(kind)}
    return found


def _lists_joined(words: Sequence[str], lists: set[str]) -> list[str]:
    """The words with all values of a list behind its first mention."""
    groups: list[list[str]] = [[]]
    group_of: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if not word.startswith("--"):
            groups[-1].append(word)
        elif name in lists:
            group = group_of.setdefault(name, [name])
            if len(group) > 1:
                groups.remove(group)
            groups.append(group)
            group += [value] if equals else []
        else:
            groups.append([word])
    return [word for group in groups for word in group]


def _last(words: Sequence[str], option: str) -> str | None:
    """The last value that the words give an option; None if they do not name it."""
    value = None
    for place, word in enumerate(words):
        name, equals, given = word.partition("=")
        if name.replace("_", "-") == option:
            value = given if equals else words[place + 1] if place + 1 < len(words) else None
    return value


def _is_flag_given(words: Sequence[str], option: str) -> bool:
    """Returns whether the words name a flag, or its negative."""
    before, _, name = option.rpartition(".")
    negative = f"{before}.no-{name}" if before else f"--no-{name.removeprefix('--')}"
    return any(word.replace("_", "-") in (option, negative) for word in words)


def _with_short_options(options: Any, words: Sequence[str]) -> Any:
    """The options with configurations that have what short options name.

    Raises:
        ValueError: A short option and a field name one setting differently, or the configuration refuses the value.
    """
    configs: dict[str, Any] = {}
    for name, path in getattr(options, "SHORT", {}).items():
        value = getattr(options, name)
        short, long = (f"--{text.replace('_', '-')}" for text in (name, path))
        if value is None or isinstance(value, bool) and not _is_flag_given(words, short):
            continue
        root, *below = path.split(".")
        config = configs.get(root, getattr(options, root))
        if (_last(words, long) is not None or _is_flag_given(words, long)) and (
            given := functools.reduce(getattr, below, config)
        ) != value:
            raise ValueError(f"{short} {value} and {long} {given} name one setting differently; give it once")
        change = functools.reduce(lambda inner, key: {key: inner}, reversed(below), value)
        try:
            configs[root] = changed(config, change, "")
        except ValueError as error:
            raise ValueError(re.sub(rf"(\w+\.)?\b{re.escape('.'.join(below))}\b", short, str(error), count=1)) from None
    return dataclasses.replace(options, **configs)
