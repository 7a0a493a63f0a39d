"""What an import refuses: as many problems in one go as can be found independently of each other, each with the option that helps.

A user repairs a source with a hundred tables in a few runs, not in a hundred: `Refusals` collects what the tables, columns, keys or files of one
stage have wrong, and refuses them together before the next stage, which could only find consequences.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

NUM_SHOWN = 10


class ImportRefused(ValueError):
    """The source, or the configuration, cannot become a RelBench folder.

    Args:
        problems: What was found; each says where and what to do. The text has the first ten.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(dict.fromkeys(problems))  # two keys may refer to the same bad column
        super().__init__(self.problems[0] if len(self.problems) == 1 else _numbered(self.problems))


class SourceUnreadable(ImportRefused):
    """The source itself does not answer; whatever came after it would be a consequence."""


def _numbered(problems: Sequence[str]) -> str:
    lines = [f"{number}. {problem}" for number, problem in enumerate(problems[:NUM_SHOWN], start=1)]
    more = len(problems) - NUM_SHOWN
    return "\n".join([f"{len(problems)} problems", *lines, *([f"... and {more} more"] if more > 0 else [])])


class Refusals:
    """The problems of one stage of an import."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    @contextmanager
    def each(self) -> Iterator[None]:
        """Keeps what the body refuses, and goes on after it.

        Raises:
            ImportRefused: The source does not answer any more; with what was found before.
        """
        try:
            yield
        except ImportRefused as refused:
            self.problems += refused.problems
            if isinstance(refused, SourceUnreadable):
                raise ImportRefused(*self.problems) from refused

    def refuse(self) -> None:
        """Raises ImportRefused with all that was kept, if there is any."""
        if self.problems:
            raise ImportRefused(*self.problems)


def exclude_option(*names: str) -> str:
    """The option that leaves these `table.column` out, as a shell takes it."""
    return f"--exclude {shlex.join(names)}"
