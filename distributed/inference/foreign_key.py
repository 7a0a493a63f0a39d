"""Foreign keys: columns whose distinct values are another table's keys, and whose name says so.

Inclusion alone proves nothing: counts, ranks, years and every other dense key lie among 1..n. So a foreign key is certain only if all its values are
found AND its name names the parent AND no other parent is as good; without a name, only codes and numbers with gaps are shown at all, as likely.

In: profiles and keys. Out: at most one proposal a column. Cost: distinct values of each candidate once, a semi join for each pair that names, types
and ranges leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from distributed.inference.column_profile import ColumnProfile, DistinctValues, TypedRows
from distributed.inference.evidence import ForeignKeyProposal, Verdict
from distributed.inference.key_notation import compare_notations
from distributed.inference.name_match import column_name, similarity_to_parent, similarity_to_self

_SAME_NAME = 0.9
_DESCRIPTION = 0.5  # two tables with a `name`
_AMBIGUOUS = 0.04
_MOST_ORPHANS = 0.1


@dataclass(frozen=True, kw_only=True)
class ParentKey:
    """A unique column that others may refer to; `is_primary` if it is its table's primary key."""

    table: str
    column: str
    is_primary: bool


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    child: ColumnProfile
    parent: ColumnProfile
    key: ParentKey
    similarity: float
    num_distinct: int
    num_found: int
    num_keys: int

    @property
    def inclusion(self) -> float:
        return self.num_found / max(self.num_distinct, 1)

    @property
    def score(self) -> float:
        return 0.6 * self.similarity + 0.3 * self.inclusion + 0.1 * self.parent.is_distinctive

    @property
    def rank(self) -> tuple[float, bool, bool]:
        """The order of parents: of equal ones the one whose key has the very name, then the primary key."""
        is_same = self.child.column.casefold() == self.key.column.casefold()
        return (self.score, is_same, self.key.is_primary)


def propose_foreign_keys(
    con: duckdb.DuckDBPyConnection,
    table: TypedRows,
    profiles: Mapping[str, Mapping[str, ColumnProfile]],
    parents: Sequence[ParentKey],
    entities: Mapping[str, tuple[str, ...]],
    distinct: DistinctValues,
) -> list[ForeignKeyProposal]:
    """Returns the proposals of one table, those that the source declares first.

    Args:
        con: Connection to the work database.
        table: The table whose columns may refer.
        profiles: {table: {column: profile}} of all tables.
        parents: All columns that may be referred to.
        entities: What a row of each table is, in words.
        distinct: The distinct values of columns.
    """
    declared = {column for fkey in table.schema.fkeys for column in fkey.columns}
    proposals = [
        _declared(table.schema.name, fkey.columns[0], fkey.parent, fkey.parent_columns[0])
        for fkey in table.schema.fkeys
        if len(fkey.columns) == 1
    ]
    own_keys = {key.column for key in parents if key.table == table.schema.name and key.is_primary}
    for column, profile in profiles[table.schema.name].items():
        if column in declared or not profile.is_key_like:
            continue
        if column in own_keys and not _names_another(column, table.schema.name, entities):
            continue
        candidates = sorted(_candidates(profile, profiles, parents, entities, distinct), key=lambda c: c.rank)
        if candidates and (proposal := _proposal(con, candidates, distinct)):
            proposals.append(proposal)
    return proposals


def _candidates(
    child: ColumnProfile,
    profiles: Mapping[str, Mapping[str, ColumnProfile]],
    parents: Sequence[ParentKey],
    entities: Mapping[str, tuple[str, ...]],
    distinct: DistinctValues,
) -> Iterator[_Candidate]:
    for key in parents:
        if (key.table, key.column) == (child.table, child.column):
            continue
        parent = profiles[key.table][key.column]
        similarity = _similarity(child, key, entities)
        if not similarity and not _may_refer_without_a_name(child, parent):
            continue
        as_text = child.is_number != parent.is_number
        pair = (child.table, child.column), (key.table, key.column)
        yield _Candidate(
            child=child,
            parent=parent,
            key=key,
            similarity=similarity,
            num_distinct=distinct.of(*pair[0], as_text=as_text)[1],
            num_found=distinct.num_shared(*pair, as_text=as_text),
            num_keys=distinct.of(*pair[1], as_text=as_text)[1],
        )


def _similarity(child: ColumnProfile, key: ParentKey, entities: Mapping[str, tuple[str, ...]]) -> float:
    similarity = similarity_to_parent(child.column, entities[key.table], key.column)
    name, key_name = column_name(child.column), column_name(key.column)
    if not key.is_primary:  # the parent's name stands for its primary key; another key must be named itself
        is_named = bool(key_name.words) and name.words[-len(key_name.words) :] == key_name.words
        similarity = 0.0 if not is_named else similarity if key_name.has_key_word else min(similarity, _DESCRIPTION)
    if key.table != child.table:
        return similarity
    if name.stem == entities[key.table]:  # another key of the row itself
        return 0.0
    return max(similarity, similarity_to_self(child.column)) if key.is_primary else similarity


def _may_refer_without_a_name(child: ColumnProfile, parent: ColumnProfile) -> bool:
    return (
        child.is_number == parent.is_number
        and parent.is_distinctive
        and 3 <= child.num_distinct <= 1.1 * parent.num_distinct
        and child.num_distinct < child.num_rows
        and not column_name(child.column).is_measure
        and parent.least <= child.least
        and child.most <= parent.most
    )


def _proposal(
    con: duckdb.DuckDBPyConnection, candidates: Sequence[_Candidate], distinct: DistinctValues
) -> ForeignKeyProposal | None:
    best = candidates[-1]
    others = [c for c in candidates if c.key.table != best.key.table]
    second = others[-1] if others else None
    verdict, why = _verdict(best, second)
    if verdict is None:
        return None
    if best.inclusion < 0.5:
        why += _notation(con, best, distinct)
    return ForeignKeyProposal(
        table=best.child.table,
        column=best.child.column,
        parent=best.key.table,
        parent_column=best.key.column,
        verdict=verdict,
        num_distinct=best.num_distinct,
        num_found=best.num_found,
        inclusion=round(best.inclusion, 6),
        parent_coverage=round(best.num_found / max(best.num_keys, 1), 6),
        is_distinctive=best.parent.is_distinctive,
        name_similarity=best.similarity,
        score=round(best.score, 6),
        runner_up=f"{second.key.table}.{second.key.column} ({second.score:.2f})" if second else None,
        why=why,
    )


def _verdict(best: _Candidate, second: _Candidate | None) -> tuple[Verdict | None, str]:
    """Returns the verdict and its reason; None for a pair that is not worth a line."""
    name = column_name(best.child.column)
    num_lost = best.num_distinct - best.num_found
    if not best.similarity:
        return ("likely", "all values are found, but the name says nothing") if not num_lost else (None, "")
    if num_lost:
        orphans = f"{num_lost:,} of {best.num_distinct:,} values have no parent"
        if 1 - best.inclusion <= _MOST_ORPHANS and best.similarity >= 0.5:
            return "likely", f"{orphans}: declare it with --dangling null, or add the parents"
        is_worth_a_line = best.similarity >= _SAME_NAME and not name.is_measure
        return ("unlikely", orphans) if is_worth_a_line else (None, "")
    if (
        second is not None
        and second.num_found == second.num_distinct
        and best.similarity - second.similarity < _AMBIGUOUS
    ):
        return "likely", f"{second.key.table}.{second.key.column} is as good a parent"
    if name.is_measure:
        return "likely" if best.similarity >= 0.95 else None, "all values are found, but this is named like a quantity"
    is_told_apart = best.parent.is_distinctive or (best.child.kind == "text" and best.num_distinct > 2)
    if best.similarity >= _SAME_NAME:
        key_words = column_name(best.key.column).words
        if name.has_key_word or is_told_apart or name.words[-len(key_words) :] == key_words:
            return "certain", "all values are found, and the name names the parent"
        return "likely", "the name names the parent, but whole numbers without gaps are found in any dense key"
    if best.similarity == 0.8 or (best.similarity == 0.7 and is_told_apart):
        return "certain", "all values are found, and the name means this parent"
    return "likely", "all values are found, and the name may mean this parent"


def _notation(con: duckdb.DuckDBPyConnection, best: _Candidate, distinct: DistinctValues) -> str:
    children, _ = distinct.of(best.child.table, best.child.column)
    keys, _ = distinct.of(best.key.table, best.key.column)
    found = compare_notations(con, f"SELECT value FROM {children}", f"SELECT value FROM {keys}")
    return "" if found is None else f"; {found.text}"


def _names_another(column: str, table: str, entities: Mapping[str, tuple[str, ...]]) -> bool:
    stem = column_name(column).stem
    return stem != entities[table] and any(stem == words for other, words in entities.items() if other != table)


def _declared(table: str, column: str, parent: str, parent_column: str) -> ForeignKeyProposal:
    return ForeignKeyProposal(
        table=table,
        column=column,
        parent=parent,
        parent_column=parent_column,
        verdict="declared",
        num_distinct=0,
        num_found=0,
        inclusion=1.0,
        parent_coverage=0.0,
        is_distinctive=False,
        name_similarity=1.0,
        score=1.0,
        runner_up=None,
        why="declared",
    )
