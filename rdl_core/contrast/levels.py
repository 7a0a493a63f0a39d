"""Contrastive pretraining loss on three levels: rows, links, contexts.

In: rows of a batch of samples (disjoint subgraphs) after message passing, clean and corrupted, and the links between
them. Out: one `LossSum` per level, for the caller to add over ranks and divide once. Negatives stay in their sample.

Invariants: 1.0 is chance at every level; every parameter gets a gradient in every batch, even if its table or key is
empty there; finite for logits of +-1e4 in float32. Rows below float32 are raised to float32.
Cost: per table and key one block of logits, dropped as soon as its gradient is known (`loss_terms`); no loop over rows or samples.
Source: Peleska and Sir, Task-Agnostic Contrastive Pretraining for Relational Deep Learning, arXiv 2506.22530, Eq. 1-6.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Module, Parameter, ParameterList

from rdl_core.batches.sample_layout import SampleLayout, check_links, check_rows, sample_layouts
from rdl_core.config import LossConfig
from rdl_core.contrast.contexts import context_sums, projected_sums
from rdl_core.contrast.pairs import Pairs
from rdl_core.contrast.terms import Contrast, LossSum, contrasts
from rdl_core.graph.reg import EdgeType

__all__ = ["LossConfig", "LossSum", "ThreeLevelLoss"]


class ThreeLevelLoss(Module):
    """Row, link and context loss with their matrices.

    node_types: tables. edge_types: foreign keys (child_table, fkey_col, parent_table); a table may reference itself and
    two keys may join the same tables. Tables without any key have no context, hence no context matrix.
    Parameters are numbered, as table names need not be valid parameter names; `parameter_owners` names them.
    Raises ValueError for repeated or unknown names and channels below 1.
    """

    def __init__(
        self, node_types: Sequence[str], edge_types: Sequence[EdgeType], channels: int, config: LossConfig
    ) -> None:
        super().__init__()
        _check_names(node_types, edge_types, channels)
        self.node_types = list(node_types)
        self.edge_types = list(edge_types)
        self.linked_node_types = [t for t in node_types if any(t in (child, parent) for child, _, parent in edge_types)]
        self.channels = channels
        self.config = config
        directions = 2 if config.link_matrix == "per_direction" else 1
        self.row_matrices = ParameterList(self._matrix() for _ in self.node_types)
        self.link_matrices = ParameterList(self._matrix() for _ in range(directions * len(self.edge_types)))
        self.context_matrices = ParameterList(self._matrix() for _ in self.linked_node_types)
        num_biases = len(self.linked_node_types) if config.context_bias else 0
        self.context_biases = ParameterList(Parameter(torch.zeros(channels)) for _ in range(num_biases))

    def _matrix(self) -> Parameter:
        return Parameter(torch.randn(self.channels, self.channels) * (self.config.initial_scale / self.channels**0.5))

    def parameter_owners(self) -> dict[str, tuple[str, ...]]:
        """{parameter name: ("row" | "context" | "context_bias", table) or ("link", *edge_type, direction)}."""
        owners: dict[str, tuple[str, ...]] = {}
        for index, table in enumerate(self.node_types):
            owners[f"row_matrices.{index}"] = ("row", table)
        per_direction = self.config.link_matrix == "per_direction"
        directions = ("child->parent", "parent->child") if per_direction else ("shared",)
        keys = [(*edge_type, direction) for edge_type in self.edge_types for direction in directions]
        for index, key in enumerate(keys):
            owners[f"link_matrices.{index}"] = ("link", *key)
        for index, table in enumerate(self.linked_node_types):
            owners[f"context_matrices.{index}"] = ("context", table)
            if self.config.context_bias:
                owners[f"context_biases.{index}"] = ("context_bias", table)
        return owners

    def forward(
        self,
        h_dict: Mapping[str, Tensor],
        h_corrupted_dict: Mapping[str, Tensor],
        links_dict: Mapping[EdgeType, Tensor],
        target_dict: Mapping[EdgeType, Tensor] | None,
        sample_dict: Mapping[str, Tensor],
        rank_dict: Mapping[str, Tensor],
        num_samples: int,
    ) -> dict[str, LossSum]:
        """The levels "row", "link" and "context", each a LossSum over all tables or keys.

        h_dict, h_corrupted_dict: {table: [num_rows, channels]}, clean and corrupted rows after message passing.
        links_dict: {edge_type: int64 [2, num_links]}, rows (child; parent) within the batch, every link once.
        target_dict: {edge_type: bool [num_links]}, the links hidden from message passing: only they are inputs of the
        link level and feed the contexts, while negatives still exclude every true link. None: all links.
        sample_dict: {table: int64 [num_rows]}, nondecreasing sample number of each row, below num_samples.
        rank_dict: {table: int64 [num_rows]}, a random permutation within each sample: an input with more than
        max_negatives negatives keeps those of smallest rank.
        Raises ValueError naming table, key and first offending row or link; then no work has been done.
        In loops (each level in `loss_terms`; W and b are those of the level):

            row:     logits[v, u] = h_corrupted[u] @ W[table] @ h[v], or (W[table] @ h_corrupted[u]) @ (W[table] @ h[v])
            link:    logits[v, u] = h[u] @ W[u -> v] @ h[v]; shared: W[parent -> child] = W[child -> parent].T
            context: logits[v, u] = c[u] @ h[v], where c[u] is the mean over the neighbours w of u of
                     h[w] @ W[table of w] + b[table of w]
        """
        rows_dicts = {"h_dict": h_dict, "h_corrupted_dict": h_corrupted_dict}
        number_dicts = {"sample_dict": sample_dict, "rank_dict": rank_dict}
        check_rows(rows_dicts, number_dicts, self.node_types, self.channels)
        check_links(links_dict, target_dict, self.edge_types)
        layouts = sample_layouts(links_dict, sample_dict, rank_dict, num_samples)
        rows = {table: _at_least_float32(h_dict[table]) for table in self.node_types}
        with torch.autocast(rows[self.node_types[0]].device.type, enabled=False):
            corrupted = {table: _at_least_float32(h_corrupted_dict[table]) for table in self.node_types}
            parts = self._row_parts(rows, corrupted, layouts) + self._link_parts(rows, links_dict, target_dict, layouts)
            return contrasts(parts + self._context_parts(rows, links_dict, target_dict, layouts))

    def _row_parts(
        self, h: dict[str, Tensor], corrupted: dict[str, Tensor], layouts: dict[str, SampleLayout]
    ) -> list[Contrast]:
        is_code = self.config.row_form == "code"
        return [
            Contrast(
                level="row", anchors=h[table], of_anchors=matrix, candidates=corrupted[table],
                of_candidates=matrix if is_code else None, pairs=self._self_pairs(layouts[table], None, layouts[table].is_row),
            )
            for table, matrix in zip(self.node_types, self.row_matrices, strict=True)
        ]  # fmt: skip

    def _self_pairs(self, layout: SampleLayout, is_target: Tensor | None, is_candidate: Tensor) -> Pairs:
        """Row and context level: the positive of a row is the row itself, seen in another way."""
        return Pairs(
            anchors=layout, candidates=layout, anchor=layout.cell, candidate=layout.cell, is_target=is_target, is_candidate=is_candidate,
            is_self_reference=False, max_negatives=self.config.max_negatives, skip_without_negative=False,
        )  # fmt: skip

    def _link_parts(
        self,
        h: dict[str, Tensor],
        links_dict: Mapping[EdgeType, Tensor],
        target_dict: Mapping[EdgeType, Tensor] | None,
        layouts: dict[str, SampleLayout],
    ) -> list[Contrast]:
        parts = []
        for index, edge_type in enumerate(self.edge_types):
            child, _, parent = edge_type
            child_rows, parent_rows = links_dict[edge_type]
            to_parent = Pairs(
                anchors=layouts[parent],
                candidates=layouts[child],
                anchor=layouts[parent].place(parent_rows),
                candidate=layouts[child].place(child_rows),
                is_target=None if target_dict is None else target_dict[edge_type],
                is_candidate=layouts[child].is_row,
                is_self_reference=child == parent,
                max_negatives=self.config.max_negatives,
                skip_without_negative=self.config.skip_edge_type_without_negative,
            )
            is_shared = self.config.link_matrix == "shared"
            matrix = self.link_matrices[index if is_shared else 2 * index]
            parts.append(Contrast(
                level="link", anchors=h[parent], of_anchors=matrix, candidates=h[child], of_candidates=None,
                pairs=to_parent, both_ways=is_shared,
            ))  # fmt: skip
            if not is_shared:
                # (h_v W^T) . h_u = h_v . (h_u W): the product runs on the parents' side, which is the smaller one.
                parts.append(Contrast(
                    level="link", anchors=h[child], of_anchors=None, candidates=h[parent],
                    of_candidates=self.link_matrices[2 * index + 1].T, pairs=to_parent.turned(),
                ))  # fmt: skip
        return parts

    def _context_parts(
        self,
        h: dict[str, Tensor],
        links_dict: Mapping[EdgeType, Tensor],
        target_dict: Mapping[EdgeType, Tensor] | None,
        layouts: dict[str, SampleLayout],
    ) -> list[Contrast]:
        contexts, has_context = self.contexts(h, links_dict, target_dict)
        return [
            Contrast(
                level="context", anchors=h[table], of_anchors=None, candidates=context, of_candidates=None,
                pairs=self._self_pairs(layouts[table], has_context[table], layouts[table].pad(has_context[table])),
            )
            for table, context in contexts.items()
        ]  # fmt: skip

    def contexts(
        self,
        rows: Mapping[str, Tensor],
        links_dict: Mapping[EdgeType, Tensor],
        target_dict: Mapping[EdgeType, Tensor] | None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Per table with a key ([rows, channels], Eq. 3; bool [rows], whether a row has a context)."""
        if not self.linked_node_types:
            return {}, {}
        sizes = {table: len(rows[table]) for table in self.linked_node_types}
        sums, has_context = context_sums(links_dict, target_dict, sizes, self.config.context_form)
        kept = [rows[table] for table in self.linked_node_types]
        contexts = projected_sums(sums, kept, self.context_matrices, self.context_biases)
        parts = (contexts.split(list(sizes.values())), has_context.split(list(sizes.values())))
        found, has = (dict(zip(self.linked_node_types, part, strict=True)) for part in parts)
        return found, has


def _at_least_float32(h: Tensor) -> Tensor:
    return h.to(torch.promote_types(h.dtype, torch.float32))


def _check_names(node_types: Sequence[str], edge_types: Sequence[EdgeType], channels: int) -> None:
    if not node_types or len(set(node_types)) != len(node_types):
        raise ValueError(f"node_types is {list(node_types)}; expected at least one table, each once.")
    if len(set(edge_types)) != len(edge_types):
        raise ValueError(f"edge_types is {list(edge_types)}; expected each foreign key once.")
    for child, fkey_col, parent in edge_types:
        for table in (child, parent):
            if table not in node_types:
                raise ValueError(
                    f"edge_types: {child}.{fkey_col} -> {parent} names table {table!r}, which is not in node_types "
                    f"{list(node_types)}. Add the table or drop the key."
                )
    if channels < 1:
        raise ValueError(f"channels is {channels}; expected at least 1, the width of the rows after message passing.")
