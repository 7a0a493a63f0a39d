"""The contrastive pretraining loss: the levels on one batch, each a sum and a count, for the caller to add over ranks and divide once.

Promises: finite for logits of +-1e4 in float32; rows below float32 are raised to float32, and no autocast applies;
nothing is read back from a device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Module

from rdl_core.batches.sample_layout import SampleLayout
from rdl_core.config import LossConfig
from rdl_core.contrast.levels import ContextLevel, LinkLevel, LossSum, RowLevel, Rows
from rdl_core.graph.reg import EdgeType

LEVELS = ("row", "link", "context")


class ThreeLevelLoss(Module):
    """Row, link and context level with their matrices.

    A level that is not named is left out, with its matrices. Parameters are numbered in the order of tables and keys, as table names need not be
    valid parameter names.

    Args:
        node_types: Tables.
        edge_types: Foreign keys (child table, column, parent table); a table may reference itself and two keys may join the same tables. Tables
            without any key have no context, hence no context matrix.
        channels: Length of all vectors.
        config: Form of each level.
        levels: Some of LEVELS.
    """

    def __init__(
        self,
        node_types: Sequence[str],
        edge_types: Sequence[EdgeType],
        channels: int,
        config: LossConfig,
        levels: Sequence[str] = LEVELS,
    ) -> None:
        super().__init__()
        linked = [t for t in node_types if any(t in (child, parent) for child, _, parent in edge_types)]
        self.node_types, self.channels, self.config = tuple(node_types), channels, config
        if "row" in levels:
            self.row = RowLevel(node_types, channels, config)
        if "link" in levels:
            self.link = LinkLevel(edge_types, channels, config)
        if "context" in levels:
            self.context = ContextLevel(linked, channels, config)

    def forward(self, h: Rows, h_corrupted: Rows, layout: SampleLayout) -> dict[str, LossSum]:
        """Returns a LossSum per level that is on, over all tables or keys.

        Args:
            h, h_corrupted: [rows, channels] per table, clean and corrupted rows after message passing.
            layout: Of the same rows.

        Raises:
            ValueError: A table is missing or has other rows than the layout; the message names it. No work has been done then.
        """
        clean, corrupted = (self._checked(name, x, layout) for name, x in (("h", h), ("h_corrupted", h_corrupted)))
        with torch.autocast(clean[self.node_types[0]].device.type, enabled=False):
            return {name: level(clean, corrupted, layout) for name, level in self.named_children()}

    def _checked(self, name: str, x: Rows, layout: SampleLayout) -> dict[str, Tensor]:
        """Returns the rows in float32 at least."""
        for table in self.node_types:
            shape, got = [len(layout.grids[table].cell), self.channels], x.get(table)
            if got is None or list(got.shape) != shape or not got.is_floating_point():
                found = "no tensor" if got is None else f"{list(got.shape)} and {got.dtype}"
                raise ValueError(
                    f"{name}[{table!r}]: expected shape {shape} and a floating dtype, got {found}. Pass the rows that the layout is of."
                )
        return {t: x[t].to(torch.promote_types(x[t].dtype, torch.float32)) for t in self.node_types}
