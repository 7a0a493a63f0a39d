"""A subgraph as HGSampling returns it: row numbers and links, packed in one flat int32 buffer for transport.

The buffer is [rows per table | links per key | row numbers, table after table | child places, key after key | parent places]. A place is a
position within the sampled rows of its table. Nothing else travels: features are gathered where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.reg import EdgeType


@dataclass(frozen=True)
class Subgraph:
    """One sample.

    Args:
        buffer: int32, laid out as the top of this file says.
        node_types: Tables, in the graph's order.
        edge_types: Foreign keys, in the graph's order.
    """

    buffer: NDArray[np.int32]
    node_types: tuple[str, ...]
    edge_types: tuple[EdgeType, ...]

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 [tables + keys]: rows per table, then links per key."""
        return self.buffer[: len(self.node_types) + len(self.edge_types)].astype(np.int64)

    @property
    def num_rows(self) -> dict[str, int]:
        """Sampled rows per table."""
        return dict(zip(self.node_types, self.buffer[: len(self.node_types)].tolist(), strict=True))

    @property
    def num_links(self) -> dict[EdgeType, int]:
        """Links per foreign key, each counted once."""
        first = len(self.node_types)
        return dict(zip(self.edge_types, self.buffer[first : first + len(self.edge_types)].tolist(), strict=True))

    @property
    def rows(self) -> dict[str, NDArray[np.int32]]:
        """Row numbers per table, int32 [rows]; seeds come first in theirs."""
        counts = self.buffer[: len(self.node_types)]
        ends = np.cumsum(counts) + len(self.node_types) + len(self.edge_types)
        return {t: self.buffer[end - n : end] for t, n, end in zip(self.node_types, counts, ends, strict=True)}

    @property
    def links(self) -> dict[EdgeType, NDArray[np.int32]]:
        """Links per foreign key, int32 [2, links]: place of the child row, place of the parent row."""
        num_tables, num_keys = len(self.node_types), len(self.edge_types)
        counts = self.buffer[num_tables : num_tables + num_keys]
        total = int(counts.sum())
        first = num_tables + num_keys + int(self.buffer[:num_tables].sum())
        both = self.buffer[first : first + 2 * total].reshape(2, total)
        ends = np.cumsum(counts)
        return {e: both[:, end - n : end] for e, n, end in zip(self.edge_types, counts, ends, strict=True)}

    def to_bytes(self) -> bytes:
        """Returns the buffer as bytes (int32, this machine's byte order)."""
        return self.buffer.tobytes()

    @classmethod
    def from_bytes(
        cls, data: bytes | memoryview, node_types: tuple[str, ...], edge_types: tuple[EdgeType, ...]
    ) -> Subgraph:
        """Returns the subgraph of such bytes, without a copy."""
        return cls(np.frombuffer(data, dtype=np.int32), node_types, edge_types)
