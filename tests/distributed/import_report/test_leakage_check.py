"""Keys to later rows, names of updates in place, and a clean database on which no check says anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from relbench.manifest import TableSpec

from rdl_core.database.table_settings import TableSettings, write_table_settings
from tests.distributed.import_report.small_folders import NUM_READERS, SPECS, Tables, findings, labels, library, places

RNG = np.random.default_rng(6)


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_database_raises_no_doubt(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    assert findings(tmp_path / "in", library(seed), labels((rng.random(NUM_READERS) < 0.3).astype(int))) == []


def shifted(number: int, by: str) -> Callable[[Tables], None]:
    def shift(tables: Tables) -> None:
        late = tables["loans"]["reader"].iloc[:number].to_numpy()
        tables["readers"].loc[late, "joined"] = tables["loans"]["at"].iloc[:number].to_numpy() + pd.Timedelta(by)
        tables["loans"] = tables["loans"].drop_duplicates("reader").reset_index(drop=True)
        tables["loans"]["id"] = range(len(tables["loans"]))

    return shift


@pytest.mark.parametrize(("number", "by"), [(1, "1s"), (1, "400D"), (7, "1h"), (20, "1D"), (50, "30D")])
def test_children_dated_before_their_parent_are_counted(tmp_path: Path, number: int, by: str) -> None:
    tables = library()
    shifted(number, by)(tables)
    late = tables["readers"]["joined"].to_numpy()[tables["loans"]["reader"]] - tables["loans"]["at"].to_numpy()
    expected = int((late > np.timedelta64(0)).sum())
    (found,) = findings(tmp_path / "in", tables)
    assert (found.kind, found.place, found.num_rows) == ("key_to_later_row", "loans.reader", expected) and expected >= 1
    assert str(pd.Timedelta(late.max()).to_pytimedelta()) in found.text


@pytest.mark.parametrize("setting", ["filled_later", "known_with_row"])
def test_a_key_that_is_declared_raises_no_doubt(tmp_path: Path, setting: str) -> None:
    tables = library()
    shifted(7, "1D")(tables)
    (tmp_path / "in").mkdir()
    write_table_settings(tmp_path / "in", {"loans": TableSettings(**{setting: ("reader",)})})
    assert findings(tmp_path / "in", tables) == []


def test_a_key_to_a_later_row_of_its_own_table_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["friend"] = pd.Series([NUM_READERS - 1] * 3 + [None] * (NUM_READERS - 3), dtype="Int64")
    specs = {**SPECS, "readers": TableSpec(pkey="id", time_col="joined", fkeys={"town": "towns", "friend": "readers"})}
    found = [one for one in findings(tmp_path / "in", tables, specs=specs) if one.kind == "key_to_later_row"]
    assert [(one.place, one.num_rows) for one in found] == [("readers.friend", 3)]


@pytest.mark.parametrize("whole", ["loans", "readers", "both"])
def test_a_day_without_a_time_is_not_before_an_hour_of_the_same_day(tmp_path: Path, whole: str) -> None:
    tables = library()
    tables["readers"]["joined"] = pd.Timestamp("2019-12-31 09:00") + pd.to_timedelta(np.arange(NUM_READERS), unit="s")
    tables["loans"]["at"] = pd.Timestamp("2019-12-31 12:00") + pd.to_timedelta(
        np.arange(len(tables["loans"])), unit="s"
    )
    if whole != "readers":
        tables["loans"]["at"] = tables["loans"]["at"].dt.normalize()
    if whole != "loans":
        tables["readers"]["joined"] = tables["readers"]["joined"].dt.normalize()
    assert findings(tmp_path / "in", tables) == []


TIME = pd.Timestamp("2022-05-01")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("towns", "updated_at", TIME),
        ("towns", "lastModified", TIME),
        ("profiles", "last_login", TIME),
        ("profiles", "modification_date", TIME),
        ("readers", "current_fines", 2.5),
        ("readers", "lifetime_loans", 17),
        ("towns", "latest_event", "fair"),
    ],
)
def test_a_name_that_tells_of_an_update_in_place_is_reported(
    tmp_path: Path, table: str, column: str, value: Any
) -> None:
    tables = library()
    tables[table][column] = [value] * 4 + [None] * (len(tables[table]) - 4)
    (found,) = findings(tmp_path / "in", tables)
    assert (found.kind, found.place, found.num_rows) == ("overwritten", f"{table}.{column}", 4)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("readers", "last_name", "Ek"),
        ("readers", "updated_at", pd.Timestamp("2019-01-01")),  # no later than its row, so known from then on
        ("loans", "current_page", 12),  # of a row that nothing refers to
        ("towns", "founded", TIME),
        ("towns", "blasted", TIME),
        ("towns", "last_updated", pd.NaT),
    ],
)
def test_other_names_are_not_reported(tmp_path: Path, table: str, column: str, value: Any) -> None:
    tables = library()
    tables[table][column] = value
    assert findings(tmp_path / "in", tables) == []


def test_a_folder_without_times_is_checked(tmp_path: Path) -> None:
    tables = {name: frame for name, frame in library().items() if name == "towns"}
    assert places(findings(tmp_path / "in", tables)) == []


ODD = [
    '"',
    'a"b',
    "t.at",
    "row",
    "seed",
    "entity",
    "time",
    "label",
    "number",
    "bin",
    "bucket",
    "newest",
    "count",
    "__row",
    "__ROW_",
    "Ž ☃",
]


def test_odd_names_and_every_type_of_column_are_read(tmp_path: Path) -> None:
    tables = library()
    number = len(tables["loans"])
    for name in ODD:
        tables["loans"][name] = RNG.integers(0, 9, number)
        tables["readers"][name] = RNG.integers(0, 9, NUM_READERS)
    odd: dict[str, Any] = {
        "lists": [[1, 2]] * number,
        "bytes": [b"\x00\xff"] * number,
        "decimals": [Decimal("1.25")] * number,
        "days": [date(2020, 1, 1)] * number,
        "clock": [time(1, 2)] * number,
        "spans": [pd.Timedelta("1h")] * number,
        "flags": [True, None] * (number // 2),
        "not_numbers": [np.nan, np.inf, -np.inf, 0.0] * (number // 4),
        "nothing": [None] * number,
        "far": [datetime(1700, 1, 1)] * number,
    }
    for name, values in odd.items():
        tables["loans"][name] = values
    target = (RNG.random(NUM_READERS) < 0.3).astype(int)
    assert findings(tmp_path / "in", tables, labels(target)) == []


@pytest.mark.parametrize("table", ["readers", "loans", "profiles", "towns"])
def test_tables_without_rows_are_read(tmp_path: Path, table: str) -> None:
    tables = library()
    tables[table] = tables[table].head(0)
    found = findings(tmp_path / "in", tables, labels((RNG.random(NUM_READERS) < 0.3).astype(int)))
    assert found == []


def test_times_that_are_all_null_or_the_same_are_read(tmp_path: Path) -> None:
    tables = library()
    tables["loans"]["at"] = pd.NaT
    tables["readers"]["joined"] = pd.Timestamp("2020-01-01")
    assert findings(tmp_path / "in", tables, labels((RNG.random(NUM_READERS) < 0.3).astype(int))) == []
