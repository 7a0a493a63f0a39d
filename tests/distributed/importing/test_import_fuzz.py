"""Random folders of CSV against an oracle: whatever columns are called and however values are written, the import reads each as it was meant, says a
line, or refuses; it never crashes, and never loses a value in silence.

Each column has a meaning (the values, which the oracle keeps) and a notation (how they are written, with spellings of null among them). 20 seconds
with fixed choices are part of the fast tests; five minutes of free choices are the slow one.
"""

from __future__ import annotations

import csv
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import run

NAMES = [
    "order",
    "select",
    "näme",
    "名前",
    "a b",
    'quo"te',
    "it's",
    "x.y",
    "v",
    "raw",
    "key",
    "timestamp",
    "__row",
    "1st",
    "A,B",
    "ts",
    "date",
    "text",
    "%d",
]
NULLS = ["", "NA", "NULL", "null", "None", "\\N", "NaN", "n/a", "#N/A", "-", "0000-00-00"]
WORDS = [
    "Oslo",
    "NA",
    "x",
    "true story",
    "12 apples",
    "2024 was",
    "ß",
    "名",
    "0x1F",
    " pad ",
    'say "hi"',
    "a,b",
    "two\nlines",
]
FIRST = datetime(1991, 3, 1)

Written = Callable[[Any], str]


@dataclass(frozen=True)
class Meaning:
    """The values of a column, and how one is written; `may_stay_text` where a reader cannot know."""

    values: st.SearchStrategy[Any]
    written: Written


def seconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp())


MOMENTS = st.integers(0, 30 * 365 * 86_400).map(lambda s: FIRST + timedelta(seconds=s))
DAYS = st.integers(0, 30 * 365).map(lambda day: FIRST + timedelta(days=day))
MEANINGS = {
    "integers": Meaning(st.integers(-(2**63), 2**63 - 1), str),
    "small": Meaning(st.integers(-5, 300), str),
    "long": Meaning(st.integers(2**63, 2**80).map(str), str),
    "codes": Meaning(st.integers(0, 99999).map(lambda n: f"0{n}"), str),
    "floats": Meaning(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), repr),
    "scientific": Meaning(st.floats(-1e30, 1e30), lambda x: f"{x:.17e}"),
    "comma": Meaning(st.integers(-(10**6), 10**6).map(lambda n: n / 100), lambda x: f"{x:.2f}".replace(".", ",")),
    "thousands": Meaning(st.integers(-(10**9), 10**9).map(lambda n: n / 100), lambda x: f"{x:,.2f}"),
    "booleans": Meaning(st.booleans(), lambda b: "true" if b else "False"),
    "yes": Meaning(st.booleans(), lambda b: "yes" if b else "no"),
    "iso": Meaning(MOMENTS, str),
    "offset": Meaning(MOMENTS, lambda t: f"{t + timedelta(hours=2):%Y-%m-%dT%H:%M:%S}+0200"),
    "utc": Meaning(MOMENTS, lambda t: f"{t:%Y-%m-%d %H:%M:%S} UTC"),
    "day_first": Meaning(MOMENTS, lambda t: f"{t:%d/%m/%Y %H:%M:%S}"),
    "month_first": Meaning(DAYS, lambda t: f"{t:%m/%d/%Y}"),
    "month_name": Meaning(DAYS, lambda t: f"{t:%d %b %Y}"),
    "rfc": Meaning(MOMENTS, lambda t: f"{t:%a, %d %b %Y %H:%M:%S} GMT"),
    "unix_s": Meaning(MOMENTS, lambda t: str(seconds(t))),
    "unix_ms": Meaning(MOMENTS, lambda t: str(seconds(t) * 1000)),
    "yyyymmdd": Meaning(DAYS, lambda t: f"{t:%Y%m%d}"),
    "text": Meaning(st.sampled_from(WORDS), str),
    "unicode": Meaning(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r", exclude_categories=["Cs"]), min_size=1, max_size=8), str),
}  # fmt: skip
ENCODINGS = ["utf-8", "utf-8-sig"]


@dataclass(frozen=True)
class Column:
    """A column of the oracle: what is meant, what is written, None and a spelling for null."""

    name: str
    meaning: str
    values: list[Any]
    texts: list[str]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], str, str, int]:
    """Columns of one table, its encoding and delimiter, and the place of an unreadable value or -1."""
    num_rows = draw(st.integers(1, 25))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique_by=str.casefold))
    columns = []
    for name in names:
        meaning = draw(st.sampled_from(sorted(MEANINGS)))
        values = draw(st.lists(st.none() | MEANINGS[meaning].values, min_size=num_rows, max_size=num_rows))
        null = draw(st.sampled_from(NULLS))
        texts = [null if value is None else MEANINGS[meaning].written(value) for value in values]
        columns.append(Column(name=name, meaning=meaning, values=values, texts=texts))
    odd = draw(st.sampled_from([-1, -1, -1, num_rows - 1]))
    if odd >= 0:
        columns[0].texts[odd] = columns[0].values[odd] = "odd one"  # type: ignore[call-overload]
    return columns, draw(st.sampled_from(ENCODINGS)), draw(st.sampled_from([",", ";"])), odd


def check(table: tuple[list[Column], str, str, int]) -> None:
    columns, encoding, delimiter, _ = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "in").mkdir()
        rows = zip(range(len(columns[0].values)), *(column.texts for column in columns), strict=True)
        with (path / "in" / "t.csv").open("w", encoding=encoding, newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            writer.writerows([["row id", *(column.name for column in columns)], *rows])
        schema = {"t": {"pkey": "row id", "delimiter": delimiter, "time_col": None}}
        (path / "schema.yaml").write_text(yaml.safe_dump(schema), encoding="utf-8")
        try:
            times = {"val_timestamp": "2000-01-01", "test_timestamp": "2010-01-01", "timeless": True}
            lines = run(str(path / "in"), path / "out", schema_file=path / "schema.yaml", **times)
        except ImportRefused as refused:
            if "'t'" not in str(refused) or (path / "out").exists():
                raise AssertionError("a refusal that names no table, or leaves something behind") from refused
            return
        found = pq.read_table(path / "out" / "db" / "t.parquet")
        assert len(found) == len(columns[0].values)
        for column in columns:
            check_column(column, found, lines)


def check_column(column: Column, found: pa.Table, lines: list[str]) -> None:
    """Every value is the oracle's; or the column is text, of which each value is as it was written."""
    assert column.name in found.column_names, (found.column_names, lines)
    array = found[column.name]
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us"))
    values = array.to_pylist()
    if pa.types.is_string(array.type):
        # The field that is empty is null; every other text is itself, but for what long integers drop: spellings of null.
        said = any(line.startswith(f"t.{column.name}: ") for line in lines)
        for value, text, meant in zip(values, column.texts, column.values, strict=True):
            assert value == (text or None) or (meant is None and value is None) or (said and value == text.strip()), (
                column,
                values,
                lines,
            )
        readable = {"small", "integers", "floats", "iso", "utc", "offset", "rfc", "booleans"}
        given = [meant for meant in column.values if meant is not None and meant != "odd one"]
        assert (
            said
            or column.meaning not in readable
            or len(given) < len([v for v in column.values if v is not None])
            or not given
        ), (column, lines)
        return
    for value, meant in zip(values, column.values, strict=True):
        assert same(value, meant), (column, value, meant, lines)


def same(value: Any, meant: Any) -> bool:
    if value is None or meant is None:
        return value is None and meant is None
    if isinstance(value, datetime):
        return isinstance(meant, datetime) and value == meant
    if isinstance(meant, datetime):  # numbers that are times stay numbers where the name says nothing of time
        return float(value) in (seconds(meant), seconds(meant) * 1000, int(f"{meant:%Y%m%d}"))
    if isinstance(meant, str):  # words that are numbers
        return math.isclose(float(value), float(meant.replace(",", ".")))
    return (
        bool(value == meant)
        if not isinstance(meant, float)
        else math.isclose(value, meant, rel_tol=1e-12, abs_tol=1e-9)
    )


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
@given(tables())
def test_no_import_crashes_or_loses_a_value_in_silence(table: tuple[list[Column], str, str, int]) -> None:
    check(table)


@pytest.mark.slow
def test_no_import_crashes_or_loses_a_value_in_silence_for_five_minutes() -> None:
    end_s, num_examples = time.monotonic() + 300, 0

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=QUIET)
    @given(tables())
    def search(table: tuple[list[Column], str, str, int]) -> None:
        nonlocal num_examples
        num_examples += 1
        check(table)

    while time.monotonic() < end_s:
        search()
    print(f"{num_examples:,} tables")
