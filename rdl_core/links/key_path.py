"""Key paths of links: tables whose rows join a row of the source table with one of the destination table, by the keys that lead up to both.

    drivers <- results -> races -> circuits          customers <- invoices <- invoice_lines -> products

Promises: no path uses a key that is filled in later, or a key into or of a table with versions, since their links are not known with their row; the
same keys give the same paths in the same order, the shortest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rdl_core.graph.reg import EdgeType
from rdl_core.graph.store import Store

MAX_KEYS = 4
"""Most keys on a path."""


@dataclass(frozen=True, kw_only=True)
class LinkPath:
    """A table whose rows are links.

    Args:
        table: The table.
        to_source: Keys from it up to the source table; () where it is the source table.
        to_destination: Keys from it up to the destination table; () where it is the destination table.
    """

    table: str
    to_source: tuple[EdgeType, ...]
    to_destination: tuple[EdgeType, ...]

    @property
    def name(self) -> str:
        """The path in words: "results (driverId; raceId, circuitId)"."""
        ends = (", ".join(key[1] for key in keys) or "the row itself" for keys in (self.to_source, self.to_destination))
        return f"{self.table} ({'; '.join(ends)})"


def usable_keys(store: Store) -> list[EdgeType]:
    """Returns the keys whose links are known with their row, for ever."""
    versioned = {name for name, table in store.schema.tables.items() if table.holds_versions}
    late = {name for name, key in store.late_keys.items() if key["is_left_out"]}
    return [e for e in store.graph.edge_types if not {e[0], e[2]} & versioned and f"{e[0]}.{e[1]}" not in late]


def find_link_paths(keys: Sequence[EdgeType], source: str, destination: str) -> list[LinkPath]:
    """Returns the paths of at most MAX_KEYS keys that join two tables, the shortest first.

    Args:
        keys: Keys that may be used.
        source, destination: Tables; they may be one table, which two different paths lead to.
    """
    tables = dict.fromkeys([table for e in keys for table in (e[0], e[2])])
    found = []
    for table in tables:
        ups = _ways_up(keys, table)
        for to_source in (way for way in ups if _end(table, way) == source):
            for to_destination in (way for way in ups if _end(table, way) == destination):
                if to_source != to_destination and not _begin_alike(to_source, to_destination):
                    found.append(LinkPath(table=table, to_source=to_source, to_destination=to_destination))
    short = [path for path in found if len(path.to_source) + len(path.to_destination) <= MAX_KEYS]
    return sorted(short, key=lambda path: len(path.to_source) + len(path.to_destination))


def _ways_up(keys: Sequence[EdgeType], table: str) -> list[tuple[EdgeType, ...]]:
    """Returns the ways from a table to it and its ancestors, none of which comes by a table twice."""
    ways: list[tuple[EdgeType, ...]] = [()]
    for way in ways:  # grows while it is walked
        here, passed = _end(table, way), {table, *(key[2] for key in way)}
        if len(way) < MAX_KEYS:
            ways += [(*way, key) for key in keys if key[0] == here and key[2] not in passed]
    return ways


def _end(table: str, way: tuple[EdgeType, ...]) -> str:
    return way[-1][2] if way else table


def _begin_alike(a: tuple[EdgeType, ...], b: tuple[EdgeType, ...]) -> bool:
    """Returns whether both ways begin with one key: then the row above is the link, and is found there."""
    return bool(a) and bool(b) and a[0] == b[0]
