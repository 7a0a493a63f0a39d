"""The target of a task, in one line: what is asked of the rows that a window holds.

    COUNT(orders)                      a number: how many
    EXISTS(orders)                     yes or no: any at all
    SUM(orders.amount), AVG, MIN, MAX  a number
    MODE(orders.channel)               a class: the most frequent value, of equally frequent ones the least
    NEXT(orders.channel)               the first known value: a class if it is a text, a number if it is a number

and a comparison behind it (`COUNT(orders) = 0`, `NEXT(orders.channel) = 'web'`) makes it yes or no. Of an empty window COUNT, EXISTS and SUM are 0;
the others have no value there, so they are asked only where there is a row.

In: a text, and the columns of all tables. Out: a `Target`. What does not exist, or does not fit the type of its column, is refused with what is near.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
from relbench.base import TaskType

from rdl_core.problems import InputError

OF_NUMBERS = ("SUM", "AVG", "MIN", "MAX")
OF_VALUES = ("MODE", "NEXT")
OF_ROWS = ("COUNT", "EXISTS")
AGGREGATES = (*OF_ROWS, *OF_NUMBERS, *OF_VALUES)
OF_EMPTY_WINDOWS = ("COUNT", "EXISTS", "SUM")
"""Those that have a value where no row is."""
OPERATORS = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<=": "<=", ">=": ">=", "<": "<", ">": ">"}
EXAMPLES = "COUNT(orders) = 0, SUM(orders.amount), EXISTS(orders), MODE(orders.channel)"
_FORM = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*(?:(<=|>=|==|!=|<>|=|<|>)\s*(.+?))?\s*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TEXT = re.compile(r"'(?:[^']|'')*'", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The target of a question.

    Args:
        aggregate: One of AGGREGATES.
        table, column: Whose rows, and which of their cells; no column for COUNT and EXISTS.
        kind: What the aggregate gives: "number", "text", "integer" or "boolean".
        operator, value: The comparison as SQL; None without one.
    """

    aggregate: str
    table: str
    column: str | None
    kind: str
    operator: str | None = None
    value: str | None = None

    @property
    def task_type(self) -> str:
        """The type of the task, as RelBench names it."""
        if self.operator is not None or self.kind == "boolean":
            return TaskType.BINARY_CLASSIFICATION.value
        if self.kind == "number":
            return TaskType.REGRESSION.value
        return TaskType.MULTICLASS_CLASSIFICATION.value

    @property
    def is_asked_everywhere(self) -> bool:
        """Tells whether an empty window has a value."""
        return self.aggregate in OF_EMPTY_WINDOWS

    def __str__(self) -> str:
        inside = self.table if self.column is None else f"{self.table}.{self.column}"
        comparison = "" if self.operator is None else f" {self.operator} {self.value}"
        return f"{self.aggregate}({inside}){comparison}"


def read_target(
    text: str, columns: Mapping[str, Mapping[str, pa.DataType]], keys: Mapping[str, Collection[str]]
) -> Target:
    """Returns the target that a text names.

    Args:
        text: As in the file's head.
        columns: Per table the type of each column.
        keys: Per table its primary and foreign keys, which are row numbers and no values.

    Raises:
        InputError: It has another form, names what does not exist, or asks of a column what its type does not have.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(f"--target {text!r}: expected an aggregate of a table or column, such as {EXAMPLES}")
    aggregate, inside, operator, value = found[1].upper(), found[2].strip(), found[3], found[4]
    if aggregate not in AGGREGATES:
        raise InputError(
            f"--target {text!r}: no aggregate {found[1]!r}{_near(aggregate, AGGREGATES)}; expected one of {', '.join(AGGREGATES)}"
        )
    table, column = _resolved(text, inside, columns)
    if (column is None) != (aggregate in OF_ROWS):
        form = f"{aggregate}({table})" if aggregate in OF_ROWS else f"{aggregate}({table}.COLUMN)"
        of = "rows, whatever their cells" if aggregate in OF_ROWS else f"a column of {', '.join(columns[table])}"
        raise InputError(f"--target {text!r}: {aggregate} is of {of}; expected {form}")
    kind = "boolean" if aggregate == "EXISTS" else "number"
    if column is not None:
        kind = _kind(text, aggregate, f"{table}.{column}", columns[table][column], is_key=column in keys[table])
    if operator is None:
        return Target(aggregate=aggregate, table=table, column=column, kind=kind)
    _check_value(text, value, kind)
    return Target(
        aggregate=aggregate, table=table, column=column, kind=kind, operator=OPERATORS[operator], value=value.strip()
    )


def no_such(what: str, name: str, known: Collection[str]) -> str:
    """Returns "no table 'order' among customers, orders; did you mean 'orders'?"."""
    return f"no {what} {name!r} among {', '.join(known) or 'none'}{_near(name, known)}"


def _near(name: str, known: Collection[str]) -> str:
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def _resolved(text: str, inside: str, columns: Mapping[str, Mapping[str, pa.DataType]]) -> tuple[str, str | None]:
    """Returns (table, column) of "table" or "table.column"; names may hold dots, and may stand in double quotes."""
    words = inside
    if quoted := re.fullmatch(r'"((?:[^"]|"")+)"(?:\."((?:[^"]|"")+)")?', inside):
        words = ".".join(part.replace('""', '"') for part in quoted.groups() if part is not None)
    if words in columns:
        return words, None
    of = [table for table in columns if words.startswith(f"{table}.")]
    for table in sorted(of, key=len, reverse=True):
        if (column := words.removeprefix(f"{table}.")) in columns[table]:
            return table, column
    if of:
        table = max(of, key=len)
        column = words.removeprefix(f"{table}.")
        raise InputError(f"--target {text!r}: table {table!r} has {no_such('column', column, columns[table])}")
    name = words if "." not in words else words.partition(".")[0]
    raise InputError(f"--target {text!r}: {no_such('table', name, columns)}")


def _kind(text: str, aggregate: str, place: str, kind: pa.DataType, *, is_key: bool) -> str:
    """Returns what an aggregate of a column gives."""
    if is_key:
        raise InputError(f"--target {text!r}: {place} is a key, a row number and no value; expected another column")
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    if aggregate in OF_NUMBERS and is_number:
        return "number"
    if aggregate in OF_VALUES and pa.types.is_boolean(kind):
        return "boolean"
    if aggregate in OF_VALUES and is_text:
        return "text"
    if aggregate == "MODE" and pa.types.is_integer(kind):
        return "integer"
    if aggregate == "NEXT" and is_number:
        return "number"
    expected = {"MODE": "texts, whole numbers or yes and no", "NEXT": "texts, numbers or yes and no"}.get(
        aggregate, "numbers"
    )
    raise InputError(f"--target {text!r}: {aggregate} is of {expected}; got {place}, which holds {kind}")


def _check_value(text: str, value: str, kind: str) -> None:
    is_right = {
        "text": _TEXT.fullmatch(value),
        "boolean": value.casefold() in ("true", "false"),
    }.get(kind, _NUMBER.fullmatch(value))
    if is_right:
        return
    expected = {"text": f"a text in single quotes, such as '{value.strip(chr(34))}'", "boolean": "true or false"}.get(
        kind, "a number"
    )
    raise InputError(f"--target {text!r}: compared with {value}; expected {expected}")
