"""The way from the keys of a table's rows, as its source has them, to row numbers and back.

Promises: a key finds its row and no other; keys that are null, of another type or unknown are refused before anything is computed, named, with their
number. Cost: one hash table over all keys, made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.database.source_keys import read_source_keys
from rdl_core.problems import InputError

NUM_KEYS_SHOWN = 5
"""So many keys are named in an error."""


class EntityKeys:
    """The keys of one table.

    Args:
        dataset: A validated dataset.
        table: One of its tables, with a key of its own.

    Attributes:
        names: Names of the key's columns, mostly one.
        table_of_keys: The key of each row, a column for each of these: Arrow [rows].

    Raises:
        DatabaseError: The table has no key.
    """

    def __init__(self, dataset: RelBenchDataset, table: str) -> None:
        self.table = table
        self.table_of_keys = read_source_keys(dataset, table).combine_chunks()
        self.names: list[str] = self.table_of_keys.column_names
        self._index = pd.Index(_comparable(self.table_of_keys), tupleize_cols=False)

    def __len__(self) -> int:
        return len(self.table_of_keys)

    @property
    def label(self) -> str:
        """The key's name, for people."""
        return f"{self.table}.{'+'.join(self.names)}"

    def rows(self, keys: Iterable[Any] | pa.Table) -> NDArray[np.int64]:
        """Returns the row of each key: int64 [keys].

        Args:
            keys: The source's keys, in any order, as often as wanted: a list, a pandas Series, a NumPy or an Arrow array. Of a key of several columns
                a data frame or an Arrow table with these columns, or a list of mappings of their names to values.

        Raises:
            InputError: There is none; or some are null, of another type than the table's keys, or of no row.
        """
        given = self._as_table(keys)
        if not len(given):
            raise InputError(
                f"no {self.table} to predict for: the list of keys ({self.label}) is empty. Remedy: pass at least one key, or all of them (--all)"
            )
        for name in self.names:
            self._check_column(name, given[name])
        found = self._index.get_indexer(pd.Index(_comparable(given), tupleize_cols=False))
        if (unknown := np.flatnonzero(found < 0)).size:
            distinct = list(dict.fromkeys(map(repr, self._shown(given, unknown[: 50 * NUM_KEYS_SHOWN]))))
            shown = ", ".join(distinct[:NUM_KEYS_SHOWN]) + (", ..." if len(distinct) > NUM_KEYS_SHOWN else "")
            raise InputError(
                f"{len(unknown):,} of {len(given):,} keys are of no row of {self.table}: {shown} ({self.label}). Remedy: correct or leave them out; "
                "for rows that are newer than the data, import again and predict on that"
            )
        return found.astype(np.int64)

    def of_rows(self, rows: NDArray[np.int64]) -> pa.Table:
        """Returns the keys of rows: Arrow [rows], a column for each of `names`."""
        return self.table_of_keys.take(pa.array(rows))

    def shown(self, rows: NDArray[np.int64]) -> list[Any]:
        """Returns the keys of some rows as people read them."""
        return self._shown(self.table_of_keys, rows)

    def _shown(self, keys: pa.Table, places: NDArray[np.int64]) -> list[Any]:
        some = keys.take(pa.array(places)).to_pylist()
        return [key[self.names[0]] for key in some] if len(self.names) == 1 else some

    def _check_column(self, name: str, given: pa.ChunkedArray) -> None:
        """Refuses a column of keys with nulls, or of another type.

        Raises:
            InputError: Naming the column.
        """
        own = self.table_of_keys[name]
        if given.null_count:
            places = np.flatnonzero(given.is_null().to_numpy())
            shown = ", ".join(map(str, places[:NUM_KEYS_SHOWN].tolist()))
            raise InputError(
                f"{given.null_count:,} of {len(given):,} keys of {self.table}.{name} are null (NaN), first at position {shown}. "
                "Remedy: leave them out"
            )
        if _family(given.type) != _family(own.type):
            raise InputError(
                f"keys of {self.table}.{name} are of type {own.type}, such as {own[0].as_py()!r}; got {given.type}, such as {given[0].as_py()!r}. "
                "Remedy: convert them"
            )

    def _as_table(self, keys: Iterable[Any] | pa.Table) -> pa.Table:
        """Returns the keys as Arrow has them, a column for each of `names`.

        Raises:
            InputError: They are of several types, not a list of keys, or lack a column.
        """
        if isinstance(keys, str | bytes | Mapping) or not isinstance(keys, Iterable | pa.Table):
            raise InputError(f"expected a list of keys of {self.label}, got {keys!r}. Remedy: [{keys!r}]")
        try:
            return self._converted(keys)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"keys of {self.label} must all be of type {self._types}; got several types: {error}. Remedy: convert them"
            ) from error
        except OverflowError as error:
            raise InputError(
                f"keys of {self.label} are of type {self._types}; got a number that is too large for 64 bits. Remedy: correct or leave it out"
            ) from error
        except KeyError as error:
            raise InputError(
                f"a key of {self.table} has the columns {', '.join(self.names)}; got keys without {error}. Remedy: add the column"
            ) from error

    @property
    def _types(self) -> str:
        return ", ".join(str(field.type) for field in self.table_of_keys.schema)

    def _converted(self, keys: Iterable[Any] | pa.Table) -> pa.Table:
        if isinstance(keys, pd.DataFrame):
            keys = pa.Table.from_pandas(keys[self.names], preserve_index=False)
        if isinstance(keys, pa.Table):
            return keys.select(self.names)
        if not isinstance(keys, np.ndarray | pd.Series | pd.Index | pa.Array | pa.ChunkedArray):
            keys = list(keys)
        if not len(keys):  # type: ignore[arg-type]
            return self.table_of_keys.slice(0, 0)
        if isinstance(keys, list) and isinstance(keys[0], Mapping):
            return pa.table({name: pa.array([key[name] for key in keys], from_pandas=True) for name in self.names})
        if len(self.names) > 1:
            raise KeyError(self.names[1])
        given = keys if isinstance(keys, pa.Array | pa.ChunkedArray) else pa.array(keys, from_pandas=True)
        return pa.table({self.names[0]: given})


def _family(kind: pa.DataType) -> str:
    """Returns what a type's values are to a person: two types of one family can hold the same key."""
    if pa.types.is_dictionary(kind):
        return _family(kind.value_type)
    families = {
        "integer": (pa.types.is_integer,),
        "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "time": (pa.types.is_timestamp, pa.types.is_date),
    }
    return next((name for name, tests in families.items() if any(is_of(kind) for is_of in tests)), str(kind))


def _comparable(keys: pa.Table) -> NDArray[Any]:
    """Returns keys by which a hash table finds them: int64 [keys], or objects; of several columns the tuples of their values."""
    if keys.num_columns == 1 and pa.types.is_signed_integer(keys.column(0).type):
        return keys.column(0).to_numpy().astype(np.int64)
    objects = np.empty(len(keys), object)
    columns = [keys[name].to_pylist() for name in keys.column_names]
    objects[:] = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
    return objects
