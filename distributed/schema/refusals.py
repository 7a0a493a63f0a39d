"""The refusal of an import: as many problems in one go as can be found independently of each other, each with the option that helps.

`Refusals` collects what the tables, columns, keys or files of one stage have wrong, and refuses them together before the next stage, which could
only find consequences.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from rdl_core.problems import InputError


class ImportRefused(InputError):
    """The source, or the configuration, cannot become a RelBench folder."""


class SourceUnreadable(ImportRefused):
    """The source itself does not answer; whatever came after it would be a consequence."""


class Refusals:
    """The problems of one stage of an import."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    @contextmanager
    def each(self) -> Iterator[None]:
        """Keeps what the body refuses, and goes on after it.

        Raises:
            ImportRefused: The source does not answer any more; the error holds what was found before, too.
        """
        try:
            yield
        except ImportRefused as refused:
            self.problems += map(str, refused.problems)
            if isinstance(refused, SourceUnreadable):
                raise ImportRefused(*self.problems) from refused

    def refuse(self) -> None:
        """Refuses all that was kept.

        Raises:
            ImportRefused: There is a problem.
        """
        if self.problems:
            raise ImportRefused(*self.problems)


def exclude_option(*names: str) -> str:
    """Returns the option that leaves these `table.column` out, as a shell takes it."""
    return f"--exclude {shlex.join(names)}"
