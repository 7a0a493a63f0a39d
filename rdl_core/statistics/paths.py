"""Key paths from a table to the rows whose columns say something of its own rows: a function of tables, keys and settings alone.

Paths first go down (to the latest children), then up (to parents), or only up: customer <- order <- order_line -> product. Each row on the way
brings its statistics, which are one key more: the reviews of the product. Down again after up there is nothing to walk, since statistics cover the
siblings.

Promises: no path walks back over the key that it has just come by; a path whose rows would bring no column is none; no path uses a key that is
filled in later, nor goes down along a key of a table with versions (`valid_to`), whose children are not the same at all times. The same tables,
keys and settings give the same paths in the same order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rdl_core.graph.reg import EdgeType

MAX_HOPS = 4


@dataclass(frozen=True, kw_only=True)
class Path:
    """A table at the end of a path, with the paths that go on from there.

    Args:
        table: The table.
        came_down: Whether its rows are children of the rows before: their own cells are then in the statistics of those.
        num_down: Keys walked downwards.
        parents: (key, path) for each key to a parent that is walked on.
        children: (key, path) for each key to latest children.
    """

    table: str
    came_down: bool = False
    num_down: int = 0
    parents: tuple[tuple[EdgeType, Path], ...] = ()
    children: tuple[tuple[EdgeType, Path], ...] = ()

    @property
    def most_down(self) -> int:
        """Most keys that are walked downwards on any path from the root through here."""
        return max([self.num_down, *(path.most_down for _, path in (*self.parents, *self.children))])


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys that paths may use.

    Args:
        edge_types: Keys whose links are known with their row.
        versioned: Tables with versions.
    """

    edge_types: Sequence[EdgeType]
    versioned: Collection[str] = ()

    def down_from(self, table: str) -> list[EdgeType]:
        """Returns the keys by which a table's rows have children: those of which there are statistics, too."""
        return [e for e in self.edge_types if e[2] == table and not {e[0], e[2]} & set(self.versioned)]

    def up_from(self, table: str) -> list[EdgeType]:
        """Returns the keys by which a table's rows have parents."""
        return [e for e in self.edge_types if e[0] == table]


def default_hops(keys: Keys, table: str) -> int:
    """Returns one key more than the farthest table needs, so that its rows come with their statistics; at most MAX_HOPS."""
    distance, frontier = {table: 0}, [table]
    while frontier:
        near = frontier.pop(0)
        for child, _, parent in keys.edge_types:
            for a, b in ((child, parent), (parent, child)):
                if a == near and b not in distance:
                    distance[b] = distance[a] + 1
                    frontier.append(b)
    return min(max(distance.values()) + 1, MAX_HOPS)


def find_paths(keys: Keys, table: str, hops: int) -> Path:
    """Returns the paths from a table.

    Args:
        keys: The keys that paths may use.
        table: The table that they begin at.
        hops: Longest path, with the key of the last row's statistics.
    """
    return _path(keys, table, hops - 1, None, came_down=False, num_down=0, may_go_down=True)


def _path(
    keys: Keys, table: str, hops: int, walked: EdgeType | None, *, came_down: bool, num_down: int, may_go_down: bool
) -> Path:
    """Returns the paths from a table with so many keys left, of which the last one walked is not taken back."""
    up, down = [], []
    if hops > 0:
        for key in keys.up_from(table):
            if not (came_down and key == walked):
                up.append(
                    (key, _path(keys, key[2], hops - 1, key, came_down=False, num_down=num_down, may_go_down=False))
                )
        for key in keys.down_from(table) if may_go_down else ():
            path = _path(keys, key[0], hops - 1, key, came_down=True, num_down=num_down + 1, may_go_down=True)
            if path.parents or path.children or keys.down_from(path.table):
                down.append((key, path))
    return Path(table=table, came_down=came_down, num_down=num_down, parents=tuple(up), children=tuple(down))
