"""The keys in a file of --entities, or in the words of --entity, read with the types that the source's keys have, so that "007" stays what it is.

Promise: nothing is guessed: a file without the key's column, or words that are no such key, are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rdl_core.prediction.entity_keys import EntityKeys
from rdl_core.problems import InputError


def read_entities(path: Path, keys: EntityKeys) -> pa.Table:
    """Returns the columns of the key, in the file's order of rows; an empty cell of a CSV file is null.

    Raises:
        FileNotFoundError: There is no such file.
        InputError: It lacks a column of the key, or holds what is no such key.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"--entities {path}: no such file; expected one with the column {', '.join(keys.names)}"
        )
    if path.stat().st_size == 0:
        raise InputError(
            f"--entities {path}: expected the column {', '.join(keys.names)}, the key of {keys.table}; the file is empty. "
            "Remedy: a first line with the columns' names, then a line per key"
        )
    types = {name: keys.table_of_keys.schema.field(name).type for name in keys.names}
    try:
        if path.suffix == ".parquet":
            _require_columns(path, pq.read_schema(path).names, keys)
            return pq.read_table(path, columns=keys.names)
        with pa_csv.open_csv(path) as reader:
            names = reader.schema.names
        _require_columns(path, names, keys)
        parse = pa_csv.ParseOptions(ignore_empty_lines=len(names) > 1)  # of one column an empty line is an empty cell
        convert = pa_csv.ConvertOptions(
            column_types=types, include_columns=keys.names, strings_can_be_null=True, null_values=[""]
        )
        return pa_csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        kinds = ", ".join(f"{name} of type {kind}" for name, kind in types.items())
        raise InputError(
            f"--entities {path}: expected keys of {keys.table}, {kinds}; {error}. Remedy: write the keys as the source does"
        ) from error


def key_in_words(words: Sequence[str], keys: EntityKeys) -> pa.Table:
    """Returns the one key that words of the command line name, a value for each of its columns.

    Raises:
        InputError: There is not one word per column, or one is no such value.
    """
    if len(words) != len(keys.names):
        raise InputError(
            f"--entity {' '.join(words)}: expected a value for {' and '.join(keys.names)}, the key of {keys.table}; got {len(words)} values"
        )
    columns = {}
    for name, word in zip(keys.names, words, strict=True):
        kind = keys.table_of_keys.schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        try:
            columns[name] = pa.array([word]).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"--entity {word!r}: expected {name}, the key of {keys.table}, of type {kind}. Remedy: write it as the source does"
            ) from error
    return pa.table(columns)


def _require_columns(path: Path, found: list[str], keys: EntityKeys) -> None:
    missing = [name for name in keys.names if name not in found]
    if missing:
        raise InputError(
            f"--entities {path}: expected the column {', '.join(missing)}, the key of {keys.table}; got the columns {', '.join(found)}. "
            "Remedy: a first line with the columns' names"
        )
