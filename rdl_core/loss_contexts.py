"""Eq. 3: the context of a row as a weighted sum of its neighbours' projected rows, for all tables as one RowSums.

A neighbour joined by two keys, or a row of a self-referencing key that is both child and parent of v, counts once per directed link. Rows are
numbered table after table. In loops:

    for v in rows:
        sources = [[u for u, row in edge_type if row == v] for edge_type in directed edge types into v's table]
        if form == "neighbours":
            c[v] = mean(z[u] for u in all_of(sources))
        else:
            c[v] = mean([mean(z[u] for u in some) for some in sources if some])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from rdl_core.reg import EdgeType
from rdl_core.row_sums import RowSums


def context_sums(
    links_dict: Mapping[EdgeType, Tensor],
    target_dict: Mapping[EdgeType, Tensor] | None,
    num_rows: Mapping[str, int],
    form: Literal["neighbours", "edge_types"],
) -> tuple[RowSums, Tensor]:
    """(the sums, bool [all rows] whether a row has a context).

    links_dict: {edge_type: int64 [2, links]}, rows (child; parent). target_dict: {edge_type: bool [links]}, the links that count; None: all.
    num_rows: rows of each table, in the order of the result.
    """
    first, total = {}, 0
    for table, number in num_rows.items():
        first[table], total = total, total + number
    sources: list[Tensor] = []
    targets: list[Tensor] = []
    kinds: list[Tensor] = []
    for (child, _, parent), links in links_dict.items():
        is_used = None if target_dict is None else target_dict[child, _, parent]
        children, parents = links if is_used is None else links[:, is_used]
        children, parents = children + first[child], parents + first[parent]
        for u, v in ((children, parents), (parents, children)):
            sources.append(u)
            targets.append(v)
            kinds.append(torch.full_like(v, len(kinds)))
    source, target, kind = torch.cat(sources), torch.cat(targets), torch.cat(kinds)
    degree = torch.bincount(target, minlength=total)
    if form == "neighbours":
        weight = 1.0 / degree[target].double()
    else:
        cell = kind * total + target  # a row and one of its edge types
        per_kind = torch.bincount(cell, minlength=len(kinds) * total)
        num_kinds = (per_kind.view(len(kinds), total) > 0).sum(0)
        weight = 1.0 / (per_kind[cell] * num_kinds[target]).double()
    return RowSums.of(target, source, weight, total, total), degree > 0
