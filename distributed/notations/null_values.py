"""Spellings of null: those that everybody uses, and those that the user adds by `--null-values`.

A built-in spelling is null only in a column whose other values are numbers, times, booleans or integer keys: in a text column `NA` may be
Namibia. A spelling that the user adds is null in every column, or in the one that it names. An added number or date also stands for the values
that are equal to it: a date without a time of day for all of that day, so `9999-12-31` covers `9999-12-31 23:59:59`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from distributed.schema.refusals import Refusals
from distributed.schema.source_table import Kind
from distributed.schema.table_plan import TablePlan

SPELLINGS = (
    "", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "null", "(null)", "<null>", "none", "nil", "\\n", "nan", "-nan", "nat",
    "-", "--", "?", ".", "0000-00-00", "0000-00-00 00:00:00", "0000-00-00t00:00:00",
)  # fmt: skip
"""Compared in lower case, without blanks around; `\\n` is MySQL's and PostgreSQL's backslash-N."""


@dataclass(frozen=True, kw_only=True)
class NullValues:
    """The values that count as null beside null itself.

    Args:
        everywhere: Values that the user added for all columns.
        of_column: Values that the user added for one column, by table and column.
    """

    everywhere: tuple[str, ...] = ()
    of_column: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def added(self, table: str, column: str) -> tuple[str, ...]:
        """Returns what the user added for a column."""
        return (*self.everywhere, *self.of_column.get((table, column), ()))


def null_values(entries: Iterable[str], plans: Mapping[str, TablePlan]) -> NullValues:
    """Reads `--null-values`: VALUE for all columns, TABLE.COLUMN=VALUE for one.

    Raises:
        ImportRefused: An entry names a table or column that is not imported; it holds all such entries.
    """
    known = {f"{name}.{column}": (name, column) for name, plan in plans.items() for column in plan.columns}
    everywhere: list[str] = []
    of_column: dict[tuple[str, str], tuple[str, ...]] = {}
    refusals = Refusals()
    for entry in entries:
        owners = sorted((name for name in known if entry.startswith(f"{name}=")), key=len)
        if owners:
            key = known[owners[-1]]
            of_column[key] = (*of_column.get(key, ()), entry.removeprefix(f"{owners[-1]}="))
        elif "=" in entry and "." in entry.partition("=")[0]:
            refusals.problems.append(
                f"--null-values {entry!r}: no column {entry.partition('=')[0]!r}; expected VALUE, or TABLE.COLUMN=VALUE "
                f"with a table of {sorted(plans)}"
            )
        else:
            everywhere.append(entry)
    refusals.refuse()
    return NullValues(everywhere=tuple(everywhere), of_column=of_column)


def spelled_null(text: str, added: Iterable[str], *, is_typed: bool) -> str:
    """Returns the SQL of whether a text is a spelling of null; the built-in ones count where the column `is_typed`."""
    tests = [f"lower({text}) IN ({', '.join(map(literal, SPELLINGS))})"] if is_typed else []
    tests += [f"{text} IN ({', '.join(map(literal, added))})"] if (added := tuple(added)) else []
    return f"({' OR '.join(tests)})" if tests else "false"


def equal_to_null(value: str, kind: Kind, added: Iterable[str]) -> str:
    """Returns the SQL of whether a typed value is one that the user calls null."""
    if kind in ("integer", "float"):
        numbers = [entry for entry in added if _is_number(entry)]
        return f"{value} IN ({', '.join(numbers)})" if numbers else "false"
    if kind == "timestamp":
        return " OR ".join(_is_moment(value, moment) for moment in map(_moment, added) if moment) or "false"
    return "false"


def literal(text: str) -> str:
    """Returns a text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _is_number(text: str) -> bool:
    try:
        return text.strip().lower() not in ("nan", "inf", "-inf", "infinity", "-infinity") and float(text) is not None
    except ValueError:
        return False


def _moment(text: str) -> tuple[datetime, bool] | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None), len(text.strip()) <= len("9999-12-31")
    except ValueError:
        return None


def _is_moment(value: str, moment: tuple[datetime, bool]) -> str:
    start, is_day = moment
    end = (
        start + timedelta(days=1) - timedelta(microseconds=1)
        if start.year < 9999
        else start.replace(hour=23, minute=59, second=59, microsecond=999_999)
    )
    if not is_day:
        return f"{value} = TIMESTAMP '{start}'"
    return f"{value} BETWEEN TIMESTAMP '{start}' AND TIMESTAMP '{end}'"
