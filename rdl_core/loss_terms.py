"""The three contrastive levels as sums over inputs, from padded rows of one table or one directed edge type.

In: rows padded to [num_samples, max_rows, channels] by a `SampleLayout`. Out: a `LossSum`, that is, the sum over inputs
of L / mu with mu = log(number of negatives + 1) of that input, and the number of inputs. 1.0 is chance at every level.

Invariants: negatives never leave their sample, so the sum of a batch of samples is the sum of their sums. An input
without a negative leaves both total and count. No exponential is taken outside a log-sum-exp, and masked logits are
the smallest finite number, not -inf, so that no gradient is ever NaN.
Cost: one dense matrix [num_samples, anchors, candidates] per table (row, context) and directed edge type (link).
Source: arXiv 2506.22530, Eq. 1-6. A row u joined to v by two keys counts twice in the mean of Eq. 3, once per link.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rdl_core.loss_batch import SampleLayout


@dataclass(frozen=True)
class LossSum:
    """The sum over inputs of L / mu (0-dim) and their number: added over tables, samples and ranks, divided once."""

    total: Tensor
    count: Tensor | int

    def __add__(self, other: "LossSum") -> "LossSum":
        return LossSum(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """total / count; 0 with its graph kept when there is no input."""
        return self.total / (self.count.clamp(min=1) if isinstance(self.count, Tensor) else max(1, self.count))


def self_loss(logits: Tensor, is_input: Tensor, rank: Tensor, max_negatives: int) -> LossSum:
    """Row and context level (Eq. 1 and 4): the positive of row v is row v itself, seen in another way.

    logits: [num_samples, max_rows, max_rows], logits[s, v, u] of anchor v and candidate u; is_input: bool
    [num_samples, max_rows]; rank: int64 [num_samples, max_rows]. In loops:

        for s in range(num_samples):
            for v in inputs(s):
                negatives = sorted((u for u in inputs(s) if u != v), key=rank[s])[:max_negatives]
                if negatives:
                    denominator = exp(logits[s, v, v]) + sum(exp(logits[s, v, u]) for u in negatives)
                    total += -log(exp(logits[s, v, v]) / denominator) / log(len(negatives) + 1)
                    count += 1
    """
    is_other = ~torch.eye(logits.size(1), dtype=torch.bool, device=logits.device)
    is_negative = is_input.unsqueeze(1) & is_input.unsqueeze(2) & is_other
    negative, num_negatives = _reduce_negatives(logits, is_negative, rank, max_negatives)
    positive = logits.diagonal(dim1=1, dim2=2)
    return _loss_sum(positive, negative, num_negatives, num_negatives > 0)


def link_loss(
    logits: Tensor,
    anchors: SampleLayout,
    candidates: SampleLayout,
    links: Tensor,
    is_target: Tensor | None,
    *,
    is_self_reference: bool,
    max_negatives: int,
    skip_without_negative: bool,
) -> LossSum:
    """Link level (Eq. 2) of one directed edge type u -> v: v is the anchor, u the positive.

    logits: [num_samples, max_anchors, max_candidates]; links: int64 [2, num_links], rows (v; u); is_target: bool
    [num_links] or None (all). Negatives of v are the rows of u's table in its sample that no link of this key joins to
    v, whether that link is a target or not; the other positives of v are outside the denominator. When the key
    references its own table, v is no candidate for itself: w == v is never a negative (a row linked to itself keeps
    that link as a positive). With `skip_without_negative`, a sample in which the anchor of some input has no negative
    gives nothing for this directed edge type (as the authors' code does). In loops (with global row numbers):

        for position, (v, u) in enumerate(links.T):
            if is_target is None or is_target[position]:
                negatives = [w for w in candidate_rows(sample[v]) if (v, w) not in links.T]
                if is_self_reference:
                    negatives = [w for w in negatives if w != v]
                negatives = sorted(negatives, key=rank)[:max_negatives]
                if not negatives and skip_without_negative:
                    skipped_samples.add(sample[v])
                inputs.append((v, u, negatives))
        for v, u, negatives in inputs:
            if negatives and sample[v] not in skipped_samples:
                denominator = exp(logits[v, u]) + sum(exp(logits[v, w]) for w in negatives)
                total += -log(exp(logits[v, u]) / denominator) / log(len(negatives) + 1)
                count += 1
    """
    anchor = anchors.cell[links[0]]
    pair = anchor * candidates.max_rows + candidates.slot(links[1])  # flat position in logits
    is_linked = torch.zeros(logits.numel(), dtype=torch.bool, device=logits.device).index_fill(0, pair, True)
    is_negative = anchors.is_row.unsqueeze(2) & candidates.is_row.unsqueeze(1) & ~is_linked.view(logits.shape)
    if is_self_reference:
        is_negative &= ~torch.eye(logits.size(1), dtype=torch.bool, device=logits.device)
    negative, num_negatives = _reduce_negatives(logits, is_negative, candidates.rank, max_negatives)
    num_negatives = num_negatives.flatten()[anchor]
    is_input = num_negatives > 0
    if skip_without_negative:
        is_empty = ~is_input if is_target is None else ~is_input & is_target
        sample = anchor // anchors.max_rows
        num_empty = torch.zeros(anchors.num_samples, dtype=torch.int64, device=logits.device)
        is_input = is_input & (num_empty.index_add(0, sample, is_empty.long()) == 0)[sample]
    if is_target is not None:
        is_input = is_input & is_target
    # index_select, not indexing: its backward adds in place where indexing would sort on a GPU.
    positive = logits.reshape(-1).index_select(0, pair)
    return _loss_sum(positive, negative.reshape(-1).index_select(0, anchor), num_negatives, is_input)


def context_means(
    directed_links: Iterable[tuple[Tensor, Tensor, Tensor | None]],
    zero: Tensor,
    form: Literal["neighbours", "edge_types"],
) -> tuple[Tensor, Tensor]:
    """Eq. 3 for one table: c [num_rows, channels], and which rows have one (bool [num_rows]).

    directed_links: per directed edge type into this table the projected source row of each link (h_u^T W + b,
    [num_links, channels]), the target row of each link (int64 [num_links]), and which links count (bool [num_links] or
    None: all). zero: zeros [num_rows, channels]. A neighbour joined by two keys, or a row of a self-referencing key
    that is both child and parent of v, counts once per directed link. In loops:

        for v in rows:
            sources = [[z for z, row in edge_type if row == v] for edge_type in directed_links]
            if form == "neighbours":
                c[v] = mean(all_of(sources))
            else:
                c[v] = mean([mean(some) for some in sources if some])
    """
    total, weight = zero, zero.new_zeros(zero.size(0), dtype=torch.int64)
    for projected, rows, is_used in directed_links:
        used = torch.ones_like(rows) if is_used is None else is_used.long()
        masked = projected if is_used is None else projected * is_used.unsqueeze(1)
        degree = torch.zeros_like(weight).index_add(0, rows, used)
        if form == "neighbours":
            total, weight = total.index_add(0, rows, masked), weight + degree
        else:
            mean = torch.zeros_like(zero).index_add(0, rows, masked) / degree.clamp(min=1).unsqueeze(1)
            total, weight = total + mean, weight + (degree > 0).long()
    return total / weight.clamp(min=1).unsqueeze(1), weight > 0


def sum_losses(parts: Sequence[LossSum], zero: Tensor) -> LossSum:
    """The sum of the parts; with no part, `zero` (0-dim, with a graph) and count 0."""
    result = LossSum(zero, torch.zeros((), dtype=torch.int64, device=zero.device))
    for part in parts:
        result = result + part
    return result


def _loss_sum(positive: Tensor, negative: Tensor, num_negatives: Tensor, is_input: Tensor) -> LossSum:
    """Sum over inputs of -log(e^positive / (e^positive + e^negative)) / log(num_negatives + 1), all of one shape."""
    mu = num_negatives.clamp(min=1).to(negative.dtype).log1p()  # clamp: only where is_input is false
    loss = -logsigmoid(positive - negative) / mu
    return LossSum(loss.where(is_input, 0.0).sum(), is_input.sum())


def _reduce_negatives(logits: Tensor, is_negative: Tensor, rank: Tensor, max_negatives: int) -> tuple[Tensor, Tensor]:
    """Per anchor [num_samples, anchors]: log-sum-exp over its kept negatives, and their number."""
    if is_negative.size(2) > max_negatives:
        is_negative = _keep_smallest_ranks(is_negative, rank, max_negatives)
    masked = logits.masked_fill(~is_negative, torch.finfo(logits.dtype).min)
    return masked.logsumexp(dim=2), is_negative.sum(dim=2)


def _keep_smallest_ranks(is_negative: Tensor, rank: Tensor, max_negatives: int) -> Tensor:
    """Of each anchor's negatives, the max_negatives ones of smallest rank (rank: [num_samples, candidates])."""
    order = rank.argsort(dim=1)
    by_rank = is_negative.gather(2, order.unsqueeze(1).expand_as(is_negative))
    kept = by_rank & (by_rank.cumsum(dim=2, dtype=torch.int32) <= max_negatives)
    return kept.gather(2, order.argsort(dim=1).unsqueeze(1).expand_as(is_negative))
