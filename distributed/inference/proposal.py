"""All that can be inferred for a source, and a source's schema with what is certain of it.

In: typed tables in DuckDB. Out: a `Proposal`; schemas that declare what was accepted. What a source declares is never changed, only added to.
Cost: a scan of each table, one count of distinct values for each column that may be a key; memory bounded by DuckDB's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import duckdb

from distributed.inference.column_profile import ColumnProfile, DistinctValues, TypedRows, profile
from distributed.inference.evidence import (
    ForeignKeyProposal,
    PrimaryKeyProposal,
    Proposal,
    TimeColumnProposal,
)
from distributed.inference.foreign_key import ParentKey, propose_foreign_keys
from distributed.inference.name_match import column_name, entities
from distributed.inference.primary_key import propose_composite_key, propose_primary_key, unique_columns
from distributed.inference.split_timestamps import propose_timestamps
from distributed.inference.time_column import propose_time_column
from distributed.schema.source_table import ForeignKey, SourceTable


def infer(con: duckdb.DuckDBPyConnection, tables: Mapping[str, TypedRows]) -> Proposal:
    """Returns what is proposed for these tables; tables and columns in the source's order."""
    words = entities(tables)
    profiles = {name: profile(con, table) for name, table in tables.items()}
    distinct = DistinctValues(con, tables)
    unique = {name: unique_columns(profiles[name], distinct) for name in tables}
    keys: dict[str, PrimaryKeyProposal] = {}
    for name, table in tables.items():
        if key := propose_primary_key(table, profiles[name], unique[name], words):
            keys[name] = key
    parents = [
        ParentKey(table=name, column=column, is_primary=name in keys and keys[name].columns == (column,))
        for name in tables
        for column in dict.fromkeys([*_single(keys.get(name)), *unique[name]])
        if column in profiles[name]
    ]
    foreign_keys = [
        proposal
        for table in tables.values()
        for proposal in propose_foreign_keys(con, table, profiles, parents, words, distinct)
    ]
    keys = _with_referenced_keys(keys, foreign_keys)
    for name, table in tables.items():
        if name not in keys or keys[name].verdict == "unlikely":
            refers = {
                fkey.column: fkey.verdict in ("declared", "certain") for fkey in foreign_keys if fkey.table == name
            }
            if composite := propose_composite_key(con, table, profiles[name], refers):
                keys[name] = composite
    distinct.drop()
    times = _time_columns(con, tables, profiles, words, keys, foreign_keys)
    taken = {tables[time.table].relation: time.column for time in times if time.verdict in ("declared", "certain")}
    return Proposal(
        primary_keys=tuple(keys[name] for name in tables if name in keys),
        foreign_keys=tuple(foreign_keys),
        time_columns=tuple(times),
        timestamps=propose_timestamps(con, taken),
        unlinked=_unlinked(profiles, keys, foreign_keys),
    )


def accept(proposal: Proposal, schemas: Mapping[str, SourceTable]) -> tuple[Proposal, dict[str, SourceTable]]:
    """Returns the proposal with what is certain marked as accepted, and the schemas that declare it, too.

    A table whose time is not certain is left as it is: the import's own rule asks for what it cannot tell.
    """
    accepted = replace(
        proposal,
        primary_keys=tuple(replace(key, is_accepted=key.verdict == "certain") for key in proposal.primary_keys),
        foreign_keys=tuple(replace(key, is_accepted=key.verdict == "certain") for key in proposal.foreign_keys),
        time_columns=tuple(replace(time, is_accepted=time.verdict == "certain") for time in proposal.time_columns),
    )
    changed = dict(schemas)
    for key in accepted.primary_keys:
        if key.is_accepted:
            changed[key.table] = _with_keys(changed[key.table], key.columns, ())
    for fkey in accepted.foreign_keys:
        if fkey.is_accepted:
            link = ForeignKey(columns=(fkey.column,), parent=fkey.parent, parent_columns=(fkey.parent_column,))
            changed[fkey.table] = _with_keys(changed[fkey.table], changed[fkey.table].pkey, (link,))
    for time in accepted.time_columns:
        if time.is_accepted:
            changed[time.table] = replace(changed[time.table], time_col=time.column, time_col_is_declared=True)
    return accepted, changed


def _with_keys(schema: SourceTable, pkey: tuple[str, ...], fkeys: tuple[ForeignKey, ...]) -> SourceTable:
    """Returns the schema with these keys; as keys, whole numbers that came as floats are integers."""
    keys = {*pkey, *(column for fkey in fkeys for column in fkey.columns)}
    columns = {c: "integer" if c in keys and kind == "float" else kind for c, kind in schema.columns.items()}
    return replace(schema, columns=columns, pkey=pkey, fkeys=(*schema.fkeys, *fkeys))


def _single(key: PrimaryKeyProposal | None) -> tuple[str, ...]:
    return key.columns if key is not None and len(key.columns) == 1 and key.verdict != "unlikely" else ()


def _with_referenced_keys(
    keys: Mapping[str, PrimaryKeyProposal], foreign_keys: list[ForeignKeyProposal]
) -> dict[str, PrimaryKeyProposal]:
    """Returns the keys, certain where a certain foreign key refers to a likely one."""
    referred = {
        (fkey.parent, (fkey.parent_column,)) for fkey in foreign_keys if fkey.verdict in ("declared", "certain")
    }
    return {
        name: replace(key, verdict="certain", why="unique, never null, and a foreign key refers to it")
        if key.verdict == "likely" and (name, key.columns) in referred
        else key
        for name, key in keys.items()
    }


def _time_columns(
    con: duckdb.DuckDBPyConnection,
    tables: Mapping[str, TypedRows],
    profiles: Mapping[str, Mapping[str, ColumnProfile]],
    words: Mapping[str, tuple[str, ...]],
    keys: Mapping[str, PrimaryKeyProposal],
    foreign_keys: list[ForeignKeyProposal],
) -> list[TimeColumnProposal]:
    times = []
    for name, table in tables.items():
        taken = {fkey.column for fkey in foreign_keys if fkey.table == name} | set(_single(keys.get(name)))
        if time := propose_time_column(con, table, profiles[name], words[name], taken):
            times.append(time)
    return times


def _unlinked(
    profiles: Mapping[str, Mapping[str, ColumnProfile]],
    keys: Mapping[str, PrimaryKeyProposal],
    foreign_keys: list[ForeignKeyProposal],
) -> tuple[str, ...]:
    linked = {(fkey.table, fkey.column) for fkey in foreign_keys}
    return tuple(
        f"{table}.{column}"
        for table, columns in profiles.items()
        for column, found in columns.items()
        if found.is_key_like
        and column_name(column).has_strong_key_word
        and (table, column) not in linked
        and (table not in keys or column not in keys[table].columns)
    )
