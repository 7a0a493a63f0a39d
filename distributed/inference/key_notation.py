"""Two ways of writing one key (`12.0` and `12`, `00012` and `12`, `abc ` and `ABC`): what a column of seeming orphans may be instead.

In: the values of a foreign key and those of its parent's key. Out: what differs, if most of the values would be found when both are written alike.
A way of writing that makes two keys of the parent one is no candidate. Cost: two semi joins for each way of writing, over distinct values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from distributed.schema.duckdb_sql import first_row


@dataclass(frozen=True, kw_only=True)
class _Step:
    name: str
    sql: str
    remedy: str


_STEPS = (
    _Step(
        name="invisible characters",
        sql="regexp_replace(nfc_normalize({v}), '[\\x{{200B}}-\\x{{200D}}\\x{{2060}}\\x{{FEFF}}]', '', 'g')",
        remedy="write both columns without them, and accents in one form (Unicode NFC)",
    ),
    _Step(
        name="Excel's formulas around the values",
        sql="regexp_replace({v}, '^=\"(.*)\"$', '\\1')",
        remedy="take the formulas away",
    ),
    _Step(
        name="braces around the values",
        sql="regexp_replace({v}, '^[{{(\\[](.*)[}})\\]]$', '\\1')",
        remedy="take the braces away",
    ),
    _Step(
        name="spaces around the values",
        sql="trim({v}, ' ' || chr(9) || chr(10) || chr(13) || chr(160))",
        remedy="take the spaces away",
    ),
    _Step(
        name="quotes around the values",
        sql="regexp_replace({v}, '^[''\"](.*)[''\"]$', '\\1')",
        remedy="take the quotes away",
    ),
    _Step(
        name="thousands separators",
        sql="CASE WHEN regexp_full_match({v}, '\\d{{1,3}}([,.'' ]\\d{{3}})+') THEN regexp_replace({v}, '[,.'' ]', '', 'g') ELSE {v} END",
        remedy="write the numbers without separators",
    ),
    _Step(
        name="a decimal point in whole numbers",
        sql="regexp_replace({v}, '^([+-]?\\d+)[.,]0+$', '\\1')",
        remedy="write whole numbers without the point (pandas: astype('Int64') before to_csv)",
    ),
    _Step(name="upper and lower case", sql="lower({v})", remedy="write both columns in one case"),
    _Step(
        name="leading zeros",
        sql="regexp_replace({v}, '^0+(.)', '\\1')",
        remedy="write both columns with the zeros, or both without them (pandas: read_csv(dtype=str) keeps them)",
    ),
    _Step(
        name="hyphens and spaces within the values",
        sql="regexp_replace({v}, '[-_ ]', '', 'g')",
        remedy="write both columns alike",
    ),
    _Step(
        name="a prefix before the number",
        sql="CASE WHEN regexp_matches({v}, '\\d$') THEN regexp_replace(regexp_extract({v}, '\\d+$'), '^0+(.)', '\\1') ELSE {v} END",
        remedy="write both columns with the prefix, or both without it",
    ),
)
"""Ways of writing in the order in which they are taken away."""


@dataclass(frozen=True, kw_only=True)
class KeyNotation:
    """The difference of notation between a foreign key and the key that it means.

    Args:
        names: What differs.
        num_values: Distinct values of the foreign key.
        num_found: Those that are keys as they stand.
        num_found_then: Those that are keys when both sides are written alike.
        example: A value that is not found, and the key that it would be.
        remedy: What to do at the source.
    """

    names: tuple[str, ...]
    num_values: int
    num_found: int
    num_found_then: int
    example: tuple[str, str]
    remedy: str

    @property
    def text(self) -> str:
        """The difference and how much it explains, for people."""
        written, key = self.example
        return (
            f"the two columns are written differently ({' and '.join(self.names)}: {written!r} for {key!r}); written alike, "
            f"{self.num_found_then:,} of the {self.num_values:,} distinct values have a parent instead of {self.num_found:,}"
        )


def compare_notations(con: duckdb.DuckDBPyConnection, values: str, keys: str) -> KeyNotation | None:
    """Returns what differs between a foreign key and its parent's key; None if most values have no parent however they are written.

    Args:
        con: Connection to the work database.
        values: Query of one column `value`: the foreign key; nulls and repetitions do not matter.
        keys: Query of one column `value`: the parent's key.
    """
    con.execute(_distinct("notation_values", values))
    con.execute(_distinct("notation_keys", keys))
    try:
        return _compare(con)
    finally:
        con.execute("DROP TABLE notation_values")
        con.execute("DROP TABLE notation_keys")


def _compare(con: duckdb.DuckDBPyConnection) -> KeyNotation | None:
    (num_values,) = first_row(con, "SELECT count(*) FROM notation_values") or (0,)
    as_it_stands = _num_found(con, ())
    steps: list[_Step] = []
    for step in _STEPS:
        if _keeps_keys_apart(con, [*steps, step]):
            steps.append(step)
    most = _num_found(con, steps)
    if 2 * most <= num_values or most <= as_it_stands:
        return None
    for step in reversed(list(steps)):  # what explains nothing is not named
        fewer = [other for other in steps if other is not step]
        if _num_found(con, fewer) >= most:
            steps = fewer
    written = _written("v.value", steps)
    example = first_row(
        con,
        f"SELECT v.value, k.value FROM notation_values v JOIN notation_keys k ON {written} = {_written('k.value', steps)} "
        "ANTI JOIN notation_keys s ON s.value = v.value ORDER BY v.value, k.value LIMIT 1",
    )
    assert example is not None  # more values are found than as they stand
    return KeyNotation(
        names=tuple(step.name for step in steps),
        num_values=num_values,
        num_found=as_it_stands,
        num_found_then=most,
        example=(example[0], example[1]),
        remedy="; ".join(step.remedy for step in steps),
    )


def _distinct(name: str, query: str) -> str:
    return f"CREATE TEMP TABLE {name} AS SELECT DISTINCT CAST(value AS VARCHAR) AS value FROM ({query}) WHERE value IS NOT NULL"


def _written(value: str, steps: Sequence[_Step]) -> str:
    for step in steps:
        value = step.sql.format(v=value)
    return value


def _num_found(con: duckdb.DuckDBPyConnection, steps: Sequence[_Step]) -> int:
    left, right = _written("v.value", steps), _written("k.value", steps)
    (number,) = first_row(
        con, f"SELECT count(*) FROM notation_values v SEMI JOIN notation_keys k ON {left} = {right}"
    ) or (0,)
    return int(number)


def _keeps_keys_apart(con: duckdb.DuckDBPyConnection, steps: Sequence[_Step]) -> bool:
    counts = first_row(con, f"SELECT count(*), count(DISTINCT {_written('value', steps)}) FROM notation_keys")
    return counts is not None and counts[0] == counts[1]
