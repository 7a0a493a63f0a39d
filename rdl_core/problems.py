"""The one form in which input is refused: all problems that were found, together, each saying where it is and what to do.

A user repairs a folder or a source with a hundred tables in a few runs, not in a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence

NUM_SHOWN = 10
"""So many problems are written out; `problems` holds all."""


def numbered(problems: Sequence[object], headline: str) -> str:
    """Returns the headline, the first problems with their numbers, and how many more there are."""
    lines = [headline, *(f"{number}. {problem}" for number, problem in enumerate(problems[:NUM_SHOWN], start=1))]
    more = len(problems) - NUM_SHOWN
    return "\n".join([*lines, *([f"... and {more} more"] if more > 0 else [])])


class InputError(ValueError):
    """Input that cannot be used as it is.

    Args:
        problems: What was found; each says where and what to do.
    """

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[object, ...] = tuple(dict.fromkeys(problems))  # two keys may refer to the same bad column
        super().__init__(*self.problems)  # the arguments, so that the error survives pickling between processes

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return numbered(self.problems, f"{len(self.problems)} problems")
