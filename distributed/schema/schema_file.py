"""The schema file of a source: a YAML that declares, per table, what the source itself does not.

Promises: a name that no table has, or a word that means nothing here, is refused with the table and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from distributed.schema.refusals import ImportRefused, Refusals
from rdl_core.config import checked
from rdl_core.database.table_settings import StypeName

MINIMAL_SCHEMA = """\
customers:
  pkey: customer_id
  time_col: signed_up
orders:
  pkey: order_id
  time_col: ordered_at
  fkeys:
    customer_id: customers"""


@checked
class DeclaredColumn:
    """One column of a schema file: its semantic type, and the column of times from which its cells are known."""

    stype: StypeName | None = None
    known_from: str | None = None


@checked
class DeclaredTable:
    """One table of a schema file; `valid_from` and `valid_to` are the times between which a version of an entity holds."""

    pkey: str | None = None
    fkeys: dict[str, str] | None = None
    time_col: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None
    columns: dict[str, DeclaredColumn] | None = None


def read_schema_file(schema_file: Path, files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    try:
        loaded = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ImportRefused(f"--schema-file {schema_file.name}: {error}; expected YAML") from error
    tables = loaded.get("tables", loaded) if isinstance(loaded, dict) else None
    if not isinstance(tables, dict) or not tables:
        raise ImportRefused(
            f"--schema-file {schema_file.name}: expected a mapping of tables, for example:\n{MINIMAL_SCHEMA}"
        )
    refusals = Refusals()
    for name, declared in tables.items():
        with refusals.each():
            _check_declared(schema_file, name, declared or {}, files)
    if unlisted := sorted(set(files) - set(tables)):
        refusals.problems.append(
            f"--schema-file {schema_file.name}: tables {unlisted} have files but no entry; "
            f"add `{unlisted[0]}: {{}}` (no keys), or move the file away"
        )
    refusals.refuse()
    return {name: dict(declared or {}) for name, declared in tables.items()}


def _check_declared(schema_file: Path, name: str, declared: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    if name not in files:
        raise ImportRefused(
            f"--schema-file {schema_file.name}: no file {name}.csv or {name}.parquet; the folder has {sorted(files)}"
        )
    try:
        _declared_table(declared)
    except (TypeError, ValueError) as error:
        raise ImportRefused(
            f"--schema-file {schema_file.name}, table {name!r}: {error}; put names that YAML reads as something else "
            '(no, on, yes, numbers) in quotes: "no"'
        ) from error


def _declared_table(declared: Mapping[str, Any]) -> DeclaredTable:
    columns = declared.get("columns")
    if isinstance(columns, Mapping):  # each is checked as it is: no name may turn into text in silence
        columns = {name: DeclaredColumn(**(column or {})) for name, column in columns.items()}
    return DeclaredTable(**{**declared, **({} if columns is None else {"columns": columns})})


def columns_settings(declared: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Returns one setting (`stype`, `known_from`) of the columns of a declared table, where it is given."""
    columns = {name: column or {} for name, column in (declared.get("columns") or {}).items()}
    return {name: column[setting] for name, column in columns.items() if column.get(setting) is not None}
