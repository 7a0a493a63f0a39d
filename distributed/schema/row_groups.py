"""Rows that come in batches of any size, as row groups of a fixed size: the bytes of a Parquet file do not depend on the batches."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

ROW_GROUP_ROWS = 131_072


def row_groups(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yields tables of `ROW_GROUP_ROWS` rows, the last one shorter, and one without rows of an empty reader.

    Each column is one chunk: page boundaries follow chunks, and DuckDB's chunks depend on its threads.
    """
    pending, num_rows = reader.schema.empty_table(), 0
    for batch in reader:
        pending = pa.concat_tables([pending, pa.Table.from_batches([batch])])
        while len(pending) >= ROW_GROUP_ROWS:
            yield pending.slice(0, ROW_GROUP_ROWS).combine_chunks()
            num_rows += ROW_GROUP_ROWS
            pending = pending.slice(ROW_GROUP_ROWS)
    if len(pending) or not num_rows:
        yield pending.combine_chunks()
