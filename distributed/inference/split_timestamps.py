"""The validation and the test timestamp at 80 and 90 % of the rows in time, where nobody gave them.

In: the time columns of a source. Out: two timestamps at whole days (seconds, if the rows span less than twenty days), the first rows up to them. Rows
of all tables count alike. Cost: one aggregate a table; memory of one count for each distinct day.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from distributed.inference.evidence import SplitTimestamps
from distributed.schema.duckdb_sql import first_row, quoted

VAL_SHARE, TEST_SHARE = 0.8, 0.9
_DAYS = 20


def propose_timestamps(con: duckdb.DuckDBPyConnection, time_columns: Mapping[str, str]) -> SplitTimestamps | None:
    """Returns the timestamps; None where no row has a time, or all rows have about the same.

    Args:
        con: Connection to the work database.
        time_columns: {relation, quoted: time column}.
    """
    if not time_columns:
        return None
    for unit in ("day", "second"):
        found = _at(con, time_columns, unit)
        if found is not None:
            return found
    return None


def _at(con: duckdb.DuckDBPyConnection, time_columns: Mapping[str, str], unit: str) -> SplitTimestamps | None:
    # Rows at most at the timestamp come before it: a day's rows are before the next midnight.
    counts = " UNION ALL ".join(
        f"SELECT date_trunc('{unit}', {quoted(column)}) + INTERVAL 1 {unit} AS upto, count(*) AS num_rows FROM {relation} "
        f"WHERE {quoted(column)} BETWEEN TIMESTAMP '1678-01-01' AND TIMESTAMP '2261-12-31' GROUP BY 1"
        for relation, column in time_columns.items()
    )
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE rows_over_time AS SELECT upto, sum(num_rows) AS num_rows FROM ({counts}) GROUP BY 1"
    )
    try:
        shares = (
            "SELECT upto, sum(num_rows) OVER (ORDER BY upto) / sum(num_rows) OVER () AS share, sum(num_rows) OVER () AS total "
            "FROM rows_over_time"
        )
        (num_moments, last, total) = first_row(
            con, "SELECT count(*), max(upto), sum(num_rows) FROM rows_over_time"
        ) or (0, None, 0)
        if num_moments < (_DAYS if unit == "day" else 3):
            return None
        val = first_row(con, f"SELECT upto, share FROM ({shares}) WHERE share >= {VAL_SHARE} ORDER BY upto LIMIT 1")
        test = first_row(con, f"SELECT upto, share FROM ({shares}) WHERE share >= {TEST_SHARE} ORDER BY upto LIMIT 1")
    finally:
        con.execute("DROP TABLE rows_over_time")
    if val is None or test is None or not val[0] < test[0] < last:
        return None
    val_timestamp, test_timestamp = (str(moment[0].date() if unit == "day" else moment[0]) for moment in (val, test))
    return SplitTimestamps(
        val_timestamp=val_timestamp,
        test_timestamp=test_timestamp,
        num_rows=int(total),
        val_share=round(float(val[1]), 4),
        test_share=round(float(test[1]), 4),
    )
