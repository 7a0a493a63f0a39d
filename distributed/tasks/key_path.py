"""The way from the rows that a target is about to the entity that they belong to, along foreign keys; and the key that gives them a time.

    order_lines.order_id -> orders, orders.customer_id -> customers        lines of a customer, as of the time of their order

Promises: a path goes from child to parent only, so that a row belongs to one entity; the shortest is taken; where several are equally short, all are
named and none is taken until --via names a key of one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relbench.manifest import TableSpec

from distributed.tasks.target import no_such
from rdl_core.problems import InputError

MAX_STEPS = 6


@dataclass(frozen=True)
class Step:
    """One foreign key: `child.column` refers to `parent`."""

    child: str
    column: str
    parent: str

    def __str__(self) -> str:
        return f"{self.child}.{self.column}"


Path = tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class KeyPath:
    """The way in which rows of a table belong to entities.

    Args:
        to_entity: Keys from the table to the entity's.
        to_time: Keys from the table to the one whose time column dates its rows; () where it has one itself.
    """

    to_entity: Path
    to_time: Path

    @property
    def steps(self) -> frozenset[Step]:
        """All keys."""
        return frozenset((*self.to_entity, *self.to_time))

    def __str__(self) -> str:
        words = f"{' -> '.join(map(str, self.to_entity))} -> {self.to_entity[-1].parent}"
        return words if not self.to_time else f"{words}, dated by {' -> '.join(map(str, self.to_time))}"


def find_key_path(tables: Mapping[str, TableSpec], table: str, entity: str, via: Sequence[str] = ()) -> KeyPath:
    """Returns the way from the rows of `table` to their row of `entity`.

    Args:
        tables: Keys and times.
        via: Keys (table.column) that it must go along.

    Raises:
        InputError: There is no way, several are equally short, nothing dates the rows, or `via` names no key of a way.
    """
    for name in via:
        _check_key(tables, name)
    to_entity = list(_paths(tables, table, entity))
    if not to_entity:
        raise InputError(
            f"no foreign keys lead from {table} to {entity}; a target is about rows that belong to an entity. {_reachable(tables, entity)}"
        )
    to_time = list(time_paths(tables, table, entity))
    if not to_time:
        if tables[entity].time_col is not None:
            raise InputError(
                f"nothing dates the rows of {table} but their row of {entity}, the entity: they are there when it is, and none comes later, so that "
                f"a window holds none. Remedy: ask about another table, or another --entity"
            )
        raise InputError(
            f"nothing dates the rows of {table}: neither it nor a table that it refers to has a time, so no window can hold them"
        )
    found = [KeyPath(to_entity=one, to_time=time) for one in to_entity for time in to_time]
    kept = [path for path in found if set(via) <= {str(step) for step in path.steps}]
    if not kept:
        raise InputError(
            f"--via {shlex.join(via)}: no way from {table} to {entity} goes along it; there are: {'; '.join(map(str, found))}"
        )
    shortest = min(_length(path) for path in kept)
    kept = [path for path in kept if _length(path) == shortest]
    if len(kept) > 1:
        raise InputError(
            f"rows of {table} belong to {entity} in {len(kept)} ways; name one by a key that only it has:\n"
            + "\n".join(f"  --via {shlex.join(_telling(path, kept))}    {path}" for path in kept)
        )
    return kept[0]


def time_paths(tables: Mapping[str, TableSpec], table: str, entity: str) -> Iterator[Path]:
    """Yields the shortest ways from a table to one that has a time, none of them over `entity`; () for a table with a time."""
    if tables[table].time_col is not None:
        yield ()
        return
    ways: list[Path] = [()]
    for _ in range(MAX_STEPS):
        ways = [
            (*way, Step(child, column, parent))
            for way in ways
            for child in [way[-1].parent if way else table]
            for column, parent in tables[child].fkeys.items()
            if parent not in (entity, table, *(step.parent for step in way))
        ]
        if dated := [way for way in ways if tables[way[-1].parent].time_col is not None]:
            yield from dated
            return


def _paths(tables: Mapping[str, TableSpec], table: str, entity: str, so_far: Path = ()) -> Iterator[Path]:
    """Yields all ways from a table to the entity's that meet no table twice."""
    for column, parent in tables[table].fkeys.items():
        way = (*so_far, Step(table, column, parent))
        if parent == entity:
            yield way
        elif len(way) < MAX_STEPS and parent not in {step.child for step in way}:
            yield from _paths(tables, parent, entity, way)


def _length(path: KeyPath) -> tuple[int, int]:
    """The number of keys to the entity, and of those keys that only the time needs."""
    return len(path.to_entity), len(set(path.to_time) - set(path.to_entity))


def _telling(path: KeyPath, others: Sequence[KeyPath]) -> list[str]:
    """Returns the fewest keys of a way that tell it from the others."""
    chosen: list[Step] = []
    left = [other for other in others if other != path]
    for step in (*path.to_entity, *path.to_time):
        if any(step not in other.steps for other in left):
            chosen.append(step)
            left = [other for other in left if step in other.steps]
    return [str(step) for step in chosen]


def _check_key(tables: Mapping[str, TableSpec], name: str) -> None:
    keys = [f"{table}.{column}" for table, spec in tables.items() for column in spec.fkeys]
    if name not in keys:
        raise InputError(f"--via: {no_such('foreign key', name, keys)}")


def _reachable(tables: Mapping[str, TableSpec], entity: str) -> str:
    names = [name for name in tables if any(True for _ in _paths(tables, name, entity))]
    return f"Tables whose rows belong to {entity}: {', '.join(names) or 'none'}"
