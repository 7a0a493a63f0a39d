"""The three levels in the authors' form (config.paper), as vectorised torch on one sample: dense logits, dense masks, log-sum-exp.

In: rows of one sample after message passing. Out: {level: (sum, count)}. Memory: a few matrices [anchors, candidates] per table and direction of a
key, which is what PyTorch code without kernels of its own does; no loop over rows or links.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rdl_core.contrast import ThreeLevelLoss
from rdl_core.graph.reg import EdgeType

Rows = Mapping[str, Tensor]


class PlainLosses(torch.nn.Module):
    """Row, link and context level.

    Args:
        ours: Its parameters are used as they are: the matrices are the same in both.
    """

    def __init__(self, ours: ThreeLevelLoss) -> None:
        super().__init__()
        config = ours.config
        assert (config.row_form, config.link_matrix, config.context_form) == ("code", "shared", "edge_types")
        assert config.skip_edge_type_without_negative and config.context_bias
        self.max_negatives = config.max_negatives
        self.row, self.link, self.context = ours.row, ours.link, ours.context

    def forward(
        self, h: Rows, corrupted: Rows, links: Mapping[EdgeType, Tensor], rank: Rows
    ) -> dict[str, tuple[Tensor, int]]:
        """{level: (sum of its inputs' losses, their number)}."""
        return {
            "row": _total(
                self._self_loss((corrupted[t] @ w.T), h[t] @ w.T, rank[t])
                for t, w in zip(self.row.node_types, self.row.matrices, strict=True)
            ),
            "link": _total(
                part
                for e, w in zip(self.link.edge_types, self.link.matrices, strict=True)
                for part in self._links(h[e[0]], h[e[2]], w, links[e], rank[e[0]], rank[e[2]])
            ),
            "context": _total(
                self._self_loss(c[has], h[t][has], rank[t][has]) for t, c, has in self._contexts(h, links)
            ),
        }

    def _self_loss(self, candidates: Tensor, anchors: Tensor, rank: Tensor) -> tuple[Tensor, int]:
        logits = anchors @ candidates.T
        is_negative = ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        everyone = torch.arange(len(logits), device=logits.device)
        return self._contrast(logits, is_negative, rank, everyone, everyone, skip=False)

    def _links(
        self, child: Tensor, parent: Tensor, w: Tensor, links: Tensor, child_rank: Tensor, parent_rank: Tensor
    ) -> list[tuple[Tensor, int]]:
        logits = parent @ w.T @ child.T
        linked = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
        linked[links[1], links[0]] = True
        return [
            self._contrast(logits, ~linked, child_rank, links[1], links[0], skip=True),
            self._contrast(logits.T, ~linked.T, parent_rank, links[0], links[1], skip=True),
        ]

    def _contrast(
        self, logits: Tensor, is_negative: Tensor, rank: Tensor, anchor: Tensor, positive: Tensor, *, skip: bool
    ) -> tuple[Tensor, int]:
        if logits.shape[1] > self.max_negatives:
            order = rank.argsort()
            kept = is_negative[:, order]
            kept &= kept.cumsum(1) <= self.max_negatives
            is_negative = kept[:, order.argsort()]
        num_negatives = is_negative.sum(1)[anchor]
        is_input = num_negatives > 0
        if skip and not is_input.all():
            return logits[:0].sum(), 0
        negative = logits.masked_fill(~is_negative, torch.finfo(logits.dtype).min).logsumexp(1)[anchor]
        mu = num_negatives.clamp(min=1).to(logits.dtype).log1p()
        loss = -logsigmoid(logits[anchor, positive] - negative) / mu
        return loss[is_input].sum(), int(is_input.sum())

    def _contexts(self, h: Rows, links: Mapping[EdgeType, Tensor]) -> list[tuple[str, Tensor, Tensor]]:
        parameters = zip(self.context.node_types, self.context.matrices, self.context.biases, strict=True)
        z = {t: h[t] @ w + b for t, w, b in parameters}
        total = {t: torch.zeros_like(x) for t, x in z.items()}
        kinds = {t: x.new_zeros(len(x)) for t, x in z.items()}
        for (child, _, parent), index in links.items():
            for source, target, (u, v) in ((child, parent, index), (parent, child, index.flip(0))):
                degree = kinds[target].new_zeros(len(kinds[target])).index_add(0, v, z[source].new_ones(len(v)))
                summed = torch.zeros_like(total[target]).index_add(0, v, z[source][u])
                total[target] = total[target] + summed / degree.clamp(min=1).unsqueeze(1)
                kinds[target] = kinds[target] + (degree > 0)
        return [(t, c / kinds[t].clamp(min=1).unsqueeze(1), kinds[t] > 0) for t, c in total.items()]


def _total(parts) -> tuple[Tensor, int]:  # type: ignore[no-untyped-def]
    totals, counts = zip(*parts, strict=True)
    return torch.stack(totals).sum(), sum(counts)
