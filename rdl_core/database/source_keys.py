"""The names of rows: each row's own key as the source has it, under the key's own name.

An import keeps the source's keys in keys/<table>.parquet (source_key, row_number), a key of several columns as a struct of them. Of a folder that no
import made, the primary key itself is the name: RelBench's keys are row numbers, 0..n-1.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from relbench.load import RelBenchDataset

from rdl_core.database.column_checks import DatabaseError, Problem


def read_source_keys(dataset: RelBenchDataset, table: str) -> pa.Table:
    """Returns the key of each row of a table, in row order: a column by the key's own name; of a key of several columns, one for each.

    Raises:
        DatabaseError: There is no such table, it has no key of its own, or the file of its keys is of another number of rows.
    """
    tables = dataset.manifest.tables
    if table not in tables:
        raise _error(dataset, f"table {table!r}", f"one of: {', '.join(tables)}", "no such table", "correct the name")
    pkey, path = tables[table].pkey, dataset.dataset_dir / "keys" / f"{table}.parquet"
    if pkey is None:
        raise _error(
            dataset,
            f"table {table!r}",
            "a key of its own, by which its rows are called",
            "none",
            "declare its pkey in the source, or in a schema file, and import again",
        )
    rows = dataset.db_dir / f"{table}.parquet"
    if not path.is_file():
        return pq.read_table(rows, columns=[pkey])
    keys, num_rows = pq.read_table(path).sort_by("row_number"), pq.read_metadata(rows).num_rows
    if len(keys) != num_rows:
        place, expected = f"keys/{table}.parquet", f"the keys of the table's {num_rows:,} rows"
        raise _error(dataset, place, expected, f"{len(keys):,} keys", "import again")
    key = keys["source_key"]
    return pa.Table.from_struct_array(key) if pa.types.is_struct(key.type) else pa.table({pkey: key})


def _error(dataset: RelBenchDataset, place: str, expected: str, got: str, remedy: str) -> DatabaseError:
    return DatabaseError(str(dataset.dataset_dir), [Problem(place=place, expected=expected, got=got, remedy=remedy)])
