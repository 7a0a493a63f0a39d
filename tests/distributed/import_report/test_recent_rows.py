"""Columns that are filled in or changed after the row's time are found by their recent rows; columns that are not, are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distributed.import_report.recent_rows import snake_case
from rdl_core.database.table_settings import TableSettings, write_table_settings
from tests.distributed.import_report.small_folders import END, NUM_LOANS, SPECS, Tables, findings, library, places

RNG = np.random.default_rng(5)


def after(tables: Tables, days: float, value: Any, before: Any = None, share: float = 1.0) -> pd.Series:
    """A column of loans that is `before`, until some time (exponential, of this mean) after the loan makes it `value` in a share of the rows."""
    delay = pd.to_timedelta(RNG.exponential(days, NUM_LOANS), unit="D")
    done = (tables["loans"]["at"] + delay <= END) & (RNG.random(NUM_LOANS) < share)
    return pd.Series(np.where(done, value, before))


def drifting(first: float, last: float) -> np.ndarray:
    return RNG.random(NUM_LOANS) < np.linspace(first, last, NUM_LOANS)


@pytest.mark.parametrize(
    ("column", "make"),
    [
        ("verdict", lambda t: after(t, 60, "fine")),
        ("fee", lambda t: after(t, 20, 1.5).astype(float)),
        ("days_kept", lambda t: after(t, 300, 12).astype("Int64")),
        ("closed", lambda t: pd.to_datetime(after(t, 90, pd.Timestamp("2022-12-31")))),
        ("complaint", lambda t: after(t, 150, "torn", share=0.4)),
        (
            "refund",
            lambda t: np.where((t["loans"]["at"] < END - pd.Timedelta("120D")) & drifting(0.2, 0.2), 1.0, np.nan),
        ),
        ("was_kept", lambda t: after(t, 60, True).astype("boolean")),
    ],
)
def test_a_column_filled_in_later_is_found(tmp_path: Path, column: str, make: Callable[[Tables], pd.Series]) -> None:
    tables = library()
    tables["loans"][column] = make(tables)
    (found,) = findings(tmp_path / "in", tables)
    assert (found.kind, found.place) == ("filled_in_later", f"loans.{column}") and 0 < found.num_rows <= NUM_LOANS
    assert f"--exclude loans.{column}" in found.remedy and f"{column}: {{known_from: TIME_COLUMN}}" in found.remedy


def test_a_key_filled_in_later_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["loans"]["town"] = after(tables, 60, 3).astype("Int64")
    specs = {
        **SPECS,
        "loans": type(SPECS["loans"])(pkey="id", time_col="at", fkeys={"reader": "readers", "town": "towns"}),
    }
    (found,) = findings(tmp_path / "in", tables, specs=specs)
    assert (found.kind, found.place) == ("filled_in_later", "loans.town") and "filled_later: [town]" in found.remedy


def test_the_report_counts_the_rows_of_the_clearest_cut(tmp_path: Path) -> None:
    tables = library()
    recent = np.arange(NUM_LOANS) >= NUM_LOANS - 500  # the last eighth
    tables["loans"]["fee"] = np.where(recent, np.nan, 1.0)
    (found,) = findings(tmp_path / "in", tables)
    assert (
        found.num_rows in (499, 500)
        and "is null in 100% of the" in found.text
        and "and in 0.0% of those before" in found.text
    )


@pytest.mark.parametrize(
    ("column", "make"),
    [
        ("status", lambda t: after(t, 60, "returned", "pending")),
        ("is_paid", lambda t: after(t, 60, True, False).astype(bool)),
        ("amountPaid", lambda t: after(t, 200, 5.0, 0.0).astype(float)),
        ("stage", lambda t: after(t, 90, "shelved", "on the trolley")),
        ("progress", lambda t: after(t, 200, "done", "Processing")),
        ("loan_state", lambda t: after(t, 60, 7, 1).astype(int)),
    ],
)
def test_a_state_that_changes_later_is_found(tmp_path: Path, column: str, make: Callable[[Tables], pd.Series]) -> None:
    tables = library()
    tables["loans"][column] = make(tables)
    assert places(findings(tmp_path / "in", tables)) == [("changes_later", f"loans.{column}")]


@pytest.mark.parametrize(
    ("column", "make"),
    [
        ("verdict", lambda t: np.where(drifting(0.5, 0.5), None, "fine")),
        ("verdict", lambda t: np.where(drifting(0.9, 0.1), None, "fine")),
        ("verdict", lambda t: np.where(drifting(0.30, 0.45), None, "fine")),
        ("verdict", lambda t: np.full(NUM_LOANS, None)),
        ("status", lambda t: RNG.choice(["kept", "returned"], NUM_LOANS)),
        ("status", lambda t: np.where(drifting(0.2, 0.6), "kept", "returned")),
        ("year", lambda t: t["loans"]["at"].dt.year),
        ("system_version", lambda t: t["loans"]["at"].dt.month + 12 * t["loans"]["at"].dt.year),
        ("discount", lambda t: np.where(drifting(0.6, 0.8), 0.0, 1.0)),
        ("genre_code", lambda t: np.where(t["loans"]["at"] > "2022-06-01", "new genre", "old genre")),
    ],
)
def test_a_column_that_is_known_at_once_is_not_reported(
    tmp_path: Path, column: str, make: Callable[[Tables], Any]
) -> None:
    tables = library()
    tables["loans"][column] = make(tables)
    assert findings(tmp_path / "in", tables) == []


def test_a_table_too_small_to_tell_is_not_reported(tmp_path: Path) -> None:
    tables = library()
    tables["loans"] = tables["loans"].head(80).assign(fee=[1.0] * 70 + [None] * 10)
    assert findings(tmp_path / "in", tables) == []


def test_a_column_whose_time_of_knowledge_is_declared_raises_no_doubt(tmp_path: Path) -> None:
    tables = library()
    tables["loans"]["status"] = after(tables, 60, "returned", "pending")
    tables["loans"]["closed"] = pd.to_datetime(after(tables, 60, pd.Timestamp("2022-12-31")))
    (tmp_path / "in").mkdir()
    write_table_settings(tmp_path / "in", {"loans": TableSettings(known_from={"status": "closed", "closed": "closed"})})
    assert findings(tmp_path / "in", tables) == []


def test_words_of_a_name_are_found_in_any_spelling() -> None:
    assert [snake_case(name) for name in ("isPaid", "Order Status", "PAID_AT")] == [
        "is_paid",
        "order_status",
        "paid_at",
    ]
