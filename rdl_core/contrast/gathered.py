"""Gathered negatives: the three levels with candidates from all samples of a step, on all workers.

An anchor and its positive are as without gathering; its negatives are the rows of that table in the whole step, each as its own sample sees it. Never
a negative: a copy of the anchor's own row (row and context level, and keys from a table to itself), and a copy of a row that the anchor is linked to
by this key in the database, even where no sample holds both. Of too many, those of smallest `draw` are kept.

What an input adds is a function of the step's samples, so workers change neither sum nor gradient; collectives: step_rows.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rdl_core.batches.row_identity import RowIdentity
from rdl_core.communicator import Communicator
from rdl_core.contrast.gathered_rows import StepRows, step_rows
from rdl_core.contrast.gathered_terms import StepPairs, contrast_step
from rdl_core.contrast.terms import LEVELS, LossSum
from rdl_core.graph.reg import EdgeType

if TYPE_CHECKING:
    from rdl_core.contrast.levels import ThreeLevelLoss


@dataclass(frozen=True, kw_only=True)
class MyRows:
    """This worker's part of a step: what ThreeLevelLoss.forward is called with, in float32 or float64, checked."""

    clean: Mapping[str, Tensor]
    corrupted: Mapping[str, Tensor]
    links: Mapping[EdgeType, Tensor]
    targets: Mapping[EdgeType, Tensor] | None
    sample: Mapping[str, Tensor]
    num_samples: int
    identity: RowIdentity


def gathered_losses(loss: ThreeLevelLoss, mine: MyRows, communicator: Communicator) -> dict[str, LossSum]:
    """Per level this worker's part of the sum; see the file's text."""
    contexts, has_context = loss.contexts(mine.clean, mine.links, mine.targets)
    has_context = {t: has_context.get(t, torch.zeros_like(mine.sample[t], dtype=torch.bool)) for t in loss.node_types}
    rows = step_rows(mine.identity, has_context, loss.edge_types, communicator)
    first, total = {}, 0
    for table in loss.node_types:
        first[table], total = total, total + len(mine.sample[table])
    own, pairs, anchors = [], [], []
    for table, matrix in zip(loss.node_types, loss.row_matrices, strict=True):
        clean, seen = mine.clean[table], mine.corrupted[table]
        seen = seen @ matrix.T if loss.config.row_form == "code" else seen
        own.append(torch.stack([seen, clean, contexts.get(table, torch.zeros_like(clean))], dim=1))
        everyone, some = torch.ones_like(has_context[table]), rows.has_context[table]
        pairs.append(_self_pairs("row", table, everyone, torch.ones_like(some), mine, rows, first))
        anchors.append(clean @ matrix.T)
        if table in contexts:
            pairs.append(_self_pairs("context", table, has_context[table], some, mine, rows, first))
            anchors.append(clean)
    for index, edge_type in enumerate(loss.edge_types):
        pairs += _link_pairs(edge_type, mine, rows, first, loss.config.skip_edge_type_without_negative)
        child, _, parent = edge_type
        if loss.config.link_matrix == "shared":
            matrix = loss.link_matrices[index]
            anchors += [mine.clean[parent] @ matrix.T, mine.clean[child] @ matrix]
        else:
            w_to_parent, w_to_child = loss.link_matrices[2 * index : 2 * index + 2]
            anchors += [mine.clean[parent] @ w_to_parent.T, mine.clean[child] @ w_to_child.T]
    return contrast_step(anchors, torch.cat(own), pairs, rows, loss.config.max_negatives)


def _self_pairs(
    level: str,
    table: str,
    is_input: Tensor,
    is_candidate: Tensor,
    mine: MyRows,
    rows: StepRows,
    first: Mapping[str, int],
) -> StepPairs:
    """Row and context level: the positive of a row is the row itself, seen in another way."""
    order = _order(rows.draw[table], is_candidate)
    anchor = is_input.nonzero().squeeze(1)
    return StepPairs(
        level=LEVELS.index(level), anchor=anchor, positive=anchor + first[table], sample=mine.sample[table][anchor],
        num_samples=mine.num_samples, excluded=mine.identity.row[table], number=rows.row[table][order], itself=None, row=None,
        candidate=rows.place[table][order], skip_without_negative=False,
    )  # fmt: skip


def _link_pairs(
    edge_type: EdgeType, mine: MyRows, rows: StepRows, first: Mapping[str, int], skip_without_negative: bool
) -> list[StepPairs]:
    """[parents with their children as positives, children with their parents]."""
    child, _, parent = edge_type
    links = mine.links[edge_type] if mine.targets is None else mine.links[edge_type][:, mine.targets[edge_type]]
    ways = []
    for anchor_table, table, (positive, anchor), excluded, number in (
        (parent, child, links, mine.identity.row[parent], rows.parent[edge_type]),
        (child, parent, links.flip(0), mine.identity.parent[edge_type], rows.row[parent]),
    ):
        order = _order(rows.draw[table], None)
        itself = mine.identity.row[anchor_table] if child == parent else None
        ways.append(StepPairs(
            level=LEVELS.index("link"), anchor=anchor, positive=positive + first[table], sample=mine.sample[anchor_table][anchor],
            num_samples=mine.num_samples, excluded=excluded, number=number[order], itself=itself,
            row=rows.row[table][order] if child == parent else None, candidate=rows.place[table][order],
            skip_without_negative=skip_without_negative,
        ))  # fmt: skip
    return ways


def _order(draw: Tensor, is_candidate: Tensor | None) -> Tensor:
    """int64: the candidates by `draw`."""
    order = draw.sort(stable=True).indices
    return order if is_candidate is None else order[is_candidate[order]]


def checked_identity(
    identity: RowIdentity | None, sample_dict: Mapping[str, Tensor], links_dict: Mapping[EdgeType, Tensor]
) -> RowIdentity:
    """The identity.

    Raises:
        ValueError: It is missing, of other rows, or says another parent than a link; names table or key.
    """
    if identity is None:
        raise ValueError(
            'LossConfig.negatives is "gathered", which needs to know the rows, and the batch has no identity of them. '
            "Remedy: collate(..., with_identity=True)."
        )
    for table, sample in sample_dict.items():
        sizes = [len(identity.row[table]), len(identity.draw[table])]
        sizes += [len(parent) for (child, _, _), parent in identity.parent.items() if child == table]
        if set(sizes) != {len(sample)}:
            raise ValueError(f"identity[{table!r}]: expected {len(sample)} rows everywhere, got {sizes}.")
    for edge_type, (children, parents) in links_dict.items():
        known, linked = identity.parent[edge_type][children], identity.row[edge_type[2]][parents]
        if not torch.equal(known, linked):
            at = int((known != linked).nonzero()[0])
            raise ValueError(
                f"{edge_type}: link {at} leads to row {int(linked[at])} of {edge_type[2]!r}, and identity says {int(known[at])}. "
                "Give the identity of these very rows, from the store that they were sampled from."
            )
    return identity
