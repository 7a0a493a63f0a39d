"""Values keep their meaning."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.distributed.importing.small_imports import column


def test_values_keep_their_meaning(imported: Path) -> None:
    times = column(imported, "order", "order_time")
    assert times == [pd.Timestamp("2019-12-31 22:00"), *[pd.Timestamp("2020-02-01 10:00")] * 2, None]
    assert pq.read_schema(imported / "db" / "order.parquet").field("order_time").type == pa.timestamp("ns")
    assert column(imported, "order", "paid") == [True, False, True, None]
    assert column(imported, "order", "price") == [3.0, 12.0, 1.5, None]
    assert column(imported, "order", "note") == ["null", None, '{"a": 1}', "[2]"]
    assert sorted(column(imported, "person", "name")) == ["Ann", "Žofie", "名前"]
    # Text of which every value is an ISO date is a time; text of which some is, stays text.
    assert column(imported, "label", "made") == [pd.Timestamp("2020-02-01"), *[pd.Timestamp("2020-03-01")] * 2]
    assert column(imported, "label", "said") == ["2020-02-01", "x", "x"]
