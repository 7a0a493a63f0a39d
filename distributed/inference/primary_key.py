"""Primary keys: the column that tells rows apart and is named like a key, or a few columns that do so together.

In: profiles. Out: one proposal a table, or none. Uniqueness is counted exactly; a column that only happens to be unique (prices of a small table)
is no more than likely. Cost: one count of distinct values for each column that is nearly unique by its sketch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

import duckdb

from distributed.inference.column_profile import ColumnProfile, DistinctValues, TypedRows
from distributed.inference.evidence import PrimaryKeyProposal, Verdict
from distributed.inference.name_match import ORDINAL_WORDS, column_name, similarity_to_own_key
from distributed.schema.duckdb_sql import first_row, quoted

_NEARLY_UNIQUE = 0.8  # the sketch errs by a few percent
_CERTAIN = 0.8
_MOST_PARTS = 8


def unique_columns(profiles: Mapping[str, ColumnProfile], distinct: DistinctValues) -> list[str]:
    """Returns the columns that are never null and never equal in two rows."""
    return [
        column
        for column, profile in profiles.items()
        if profile.is_key_like
        and profile.num_values == profile.num_rows
        and profile.num_distinct >= _NEARLY_UNIQUE * profile.num_rows
        and distinct.of(profile.table, column)[1] == profile.num_rows
    ]


def propose_primary_key(
    table: TypedRows,
    profiles: Mapping[str, ColumnProfile],
    unique: Collection[str],
    entities: Mapping[str, tuple[str, ...]],
) -> PrimaryKeyProposal | None:
    """Returns the best key of one column, or what the source declares; None where no column is unique."""
    name = table.schema.name
    num_rows = next((p.num_rows for p in profiles.values()), 0)
    if table.schema.pkey:
        return PrimaryKeyProposal(
            table=name,
            columns=table.schema.pkey,
            verdict="declared",
            num_rows=num_rows,
            num_distinct=num_rows,
            name_similarity=1.0,
            runner_up=None,
            why="declared",
        )
    ranked = sorted(
        ((_similarity(column, table, entities), column) for column in unique if num_rows), key=lambda pair: -pair[0]
    )  # stable: of equal ones, the first column
    if not ranked:
        return None
    similarity, column = ranked[0]
    verdict: Verdict = "certain" if similarity >= _CERTAIN else "likely" if similarity >= 0.5 else "unlikely"
    why = "unique, never null"
    if verdict == "certain":
        why += ", named like this table's key"
    elif _names_another(column, name, entities):
        why += ", but named like the key of another table"
    else:
        why += ", but not named like a key; it may be unique by chance"
    return PrimaryKeyProposal(
        table=name,
        columns=(column,),
        verdict=verdict,
        num_rows=num_rows,
        num_distinct=num_rows,
        name_similarity=similarity,
        runner_up=f"{ranked[1][1]} ({ranked[1][0]:.2f})" if len(ranked) > 1 else None,
        why=why,
    )


def propose_composite_key(
    con: duckdb.DuckDBPyConnection,
    table: TypedRows,
    profiles: Mapping[str, ColumnProfile],
    foreign_keys: Mapping[str, bool],
) -> PrimaryKeyProposal | None:
    """Returns the smallest set of two or three key-like columns that is unique; None where there is none.

    Args:
        foreign_keys: Columns that refer to another table; whether that is certain.
    """
    parts = [
        column
        for column, profile in profiles.items()
        if profile.is_key_like
        and profile.num_values == profile.num_rows
        and profile.num_distinct > 1
        and (column in foreign_keys or column_name(column).has_key_word or _is_ordinal(column))
    ]
    parts = sorted(parts, key=lambda c: (c not in foreign_keys, not _is_ordinal(c)))[:_MOST_PARTS]
    num_rows = next((p.num_rows for p in profiles.values()), 0)
    found: list[tuple[str, ...]] = []
    for size in (2, 3):
        for columns in combinations(parts, size):
            room = 1
            for column in columns:
                room *= profiles[column].num_distinct
            if room >= _NEARLY_UNIQUE * num_rows and _num_combinations(con, table.relation, columns) == num_rows:
                found.append(columns)
        if found:
            break
    if not found:
        return None
    is_built = [_is_built(columns, foreign_keys) for columns in found]
    best = found[is_built.index(True)] if any(is_built) else found[0]
    is_certain = is_built.count(True) == 1
    others = [columns for columns in found if columns != best]
    return PrimaryKeyProposal(
        table=table.schema.name,
        columns=tuple(column for column in table.kinds if column in best),
        verdict="certain" if is_certain else "likely",
        num_rows=num_rows,
        num_distinct=num_rows,
        name_similarity=1.0 if is_certain else 0.5,
        runner_up=", ".join(others[0]) if others else None,
        why="unique together: keys of other tables and a number within them"
        if is_certain
        else "unique together; no smaller set of key-like columns is, which may be by chance",
    )


def _similarity(column: str, table: TypedRows, entities: Mapping[str, tuple[str, ...]]) -> float:
    return similarity_to_own_key(
        column,
        entities[table.schema.name],
        is_first=column == next(iter(table.kinds)),
        names_another=_names_another(column, table.schema.name, entities),
    )


def _names_another(column: str, table: str, entities: Mapping[str, tuple[str, ...]]) -> bool:
    stem = column_name(column).stem
    return stem != entities[table] and any(stem == words for other, words in entities.items() if other != table)


def _is_ordinal(column: str) -> bool:
    name = column_name(column)
    return bool(name.words) and (name.words[-1] in ORDINAL_WORDS or bool(set(name.stem) & ORDINAL_WORDS))


def _is_built(columns: tuple[str, ...], foreign_keys: Mapping[str, bool]) -> bool:
    """Returns whether these are certain keys of other tables and one number within them, as `(order_id, line_no)`."""
    others = [column for column in columns if not foreign_keys.get(column)]
    return len(others) == 1 and len(columns) > 1 and _is_ordinal(others[0])


def _num_combinations(con: duckdb.DuckDBPyConnection, relation: str, columns: tuple[str, ...]) -> int:
    selected = ", ".join(quoted(column) for column in columns)
    (number,) = first_row(con, f"SELECT count(*) FROM (SELECT DISTINCT {selected} FROM {relation})") or (0,)
    return int(number)
