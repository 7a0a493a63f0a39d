"""Time columns and timestamps: certain if named so and the earliest in every row, at 80 and 90 % of the rows, far-off marks or not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.distributed.inference.small_sources import Table, fkeys, pkeys, proposed, time_cols, write_csv
from tests.distributed.inference.test_traps import day


@pytest.mark.parametrize(
    ("header", "verdict", "column"),
    [
        ("created_at shipped_at", "certain", "created_at"),
        ("order_date due_date", "certain", "order_date"),
        ("planned_start observed", "likely", "observed"),  # the earliest is a plan
        ("started checked", "likely", "started"),  # neither name says which
        ("deleted_at", "likely", "deleted_at"),
        ("checked_on", "certain", "checked_on"),
    ],
)
def test_the_time_of_a_row_is_certain_only_by_name_and_order(
    tmp_path: Path, header: str, verdict: str, column: str
) -> None:
    rows = [(i, *(day(i + 2 * n) for n in range(len(header.split())))) for i in range(60)]
    proposal = proposed(write_csv(tmp_path / "in", {"orders": (f"order_id {header}", rows)}))
    (time,) = proposal.time_columns
    assert (time.verdict, time.column) == (verdict, column)


def test_a_beginning_that_comes_later_in_one_row_is_not_certain(tmp_path: Path) -> None:
    rows = [(i, day(i), day(i + 1 if i else -1)) for i in range(60)]
    proposal = proposed(write_csv(tmp_path / "in", {"orders": ("order_id created_at shipped_at", rows)}))
    assert time_cols(proposal, "certain") == {}
    (time,) = proposal.time_columns
    assert time.earliest_share == pytest.approx(59 / 60, abs=1e-5)


def test_a_birthday_is_no_time(tmp_path: Path) -> None:
    rows = [(i, day(i)) for i in range(60)]
    assert proposed(write_csv(tmp_path / "in", {"people": ("id birth_date", rows)})).time_columns == ()


def test_timestamps_leave_80_and_90_percent_of_all_rows_before_them(tmp_path: Path) -> None:
    tables: dict[str, Table] = {
        "visits": ("visit_id visited_at", [(i, day(i)) for i in range(100)]),
        "calls": ("call_id called_at", [(i, day(i)) for i in range(100)]),
    }
    times = proposed(write_csv(tmp_path / "in", tables)).timestamps
    assert times is not None
    assert (times.val_timestamp, times.test_timestamp) == (str(day(80)), str(day(90)))
    assert (times.num_rows, times.val_share, times.test_share) == (200, 0.8, 0.9)


def test_rows_within_an_hour_are_split_by_the_second(tmp_path: Path) -> None:
    rows = [(i, f"2024-05-01 10:{i // 60:02d}:{i % 60:02d}") for i in range(1000)]
    times = proposed(write_csv(tmp_path / "in", {"clicks": ("click_id at", rows)})).timestamps
    assert times is not None
    assert (times.val_timestamp, times.test_timestamp) == ("2024-05-01 10:13:20", "2024-05-01 10:15:00")


def test_rows_of_one_moment_have_no_timestamps(tmp_path: Path) -> None:
    rows = [(i, "2024-05-01") for i in range(100)]
    assert proposed(write_csv(tmp_path / "in", {"clicks": ("click_id at", rows)})).timestamps is None


def test_keys_of_parquet_files_are_found_though_pandas_wrote_them_as_floats(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"store_id": pa.array(range(20))}), tmp_path / "in" / "stores.parquet")
    store_ids = pa.array([None if i % 10 == 0 else float(i % 20) for i in range(100)], pa.float64())
    pq.write_table(
        pa.table({"sale_id": pa.array(range(100)), "store_id": store_ids}), tmp_path / "in" / "sales.parquet"
    )
    proposal = proposed(tmp_path / "in")
    assert fkeys(proposal, "certain") == {"sales.store_id -> stores.store_id"}
    assert pkeys(proposal, "certain") == {"stores": "store_id", "sales": "sale_id"}
