"""A batch of samples as the contrastive levels see it: checked, counted and laid out once, on the host, before the step.

In: per table the rows of `num_samples` disjoint subgraphs ("samples") one after another, with the number of the sample of each row and its rank
within it; per foreign key the links between those rows. Out: a `SampleLayout`, tensors alone: a grid [num_samples, max_rows, ...] per table, so that
all pairs of a sample come from one batched matrix product; per level and table or key which logits are positives and negatives (`Pairs`) and how
much each input weighs; whose vectors a row's context is the mean of.

Invariants: a row keeps its order within its sample; negatives never leave their sample and no link crosses samples (checked); where there are more
than `max_negatives`, those of smallest rank are kept; an input without a negative leaves sum and count. `max_rows` is at least 1, so that a table
without rows needs no special case later and its parameters still get a gradient (zeros), as DistributedDataParallel expects on every rank.
Source: Peleska and Sir, Task-Agnostic Contrastive Pretraining for Relational Deep Learning, arXiv 2506.22530, Eq. 1-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.batches.edges import Edges, make_edges
from rdl_core.config import LossConfig
from rdl_core.graph.reg import EdgeType
from rdl_core.kernel_cache import kernel
from rdl_core.kernels.info_nce import Pairs

NO_CANDIDATE = np.iinfo(np.int32).max


@dataclass(frozen=True)
class RowGrid:
    """The place of each row of one table in the grid [num_samples, max_rows].

    Args:
        num_samples, max_rows: Size of the grid.
        cell: int64 [rows], the flat position of each row, ascending: sample * max_rows + place within the sample.
    """

    num_samples: int
    max_rows: int
    cell: Tensor

    def pad(self, x: Tensor) -> Tensor:
        """Returns [num_samples, max_rows, channels] from [rows, channels], zeros in the padding; a view where there is one sample."""
        if self.num_samples == 1 and len(x) == self.max_rows:
            return x.unsqueeze(0)
        grid = x.new_zeros(self.num_samples * self.max_rows, x.shape[1])
        return grid.index_copy(0, self.cell, x).view(self.num_samples, self.max_rows, -1)


@dataclass(frozen=True)
class SampleLayout:
    """All that the levels need of a batch besides rows.

    Args:
        grids: Per table.
        row: Per table, anchors and candidates both its rows; the positive of a row is the row itself in the other view.
        link: Per foreign key two Pairs: anchors parents and candidates children, anchors children and candidates parents.
        context: Per table with a key, anchors its rows, candidates those that have a context, the positive of a row its own context.
        context_means: Means one after another that make contexts of rows of all tables with a key, numbered table after table.
    """

    grids: dict[str, RowGrid]
    row: dict[str, Pairs]
    link: dict[EdgeType, tuple[Pairs, Pairs]]
    context: dict[str, Pairs]
    context_means: tuple[Edges, ...]


def sample_layout(
    links: Mapping[EdgeType, Tensor],
    targets: Mapping[EdgeType, Tensor] | None,
    sample: Mapping[str, Tensor],
    rank: Mapping[str, Tensor],
    num_samples: int,
    config: LossConfig,
) -> SampleLayout:
    """Returns the layout of a batch.

    Args:
        links: Per foreign key int64 [2, links], rows (child; parent) within the batch, every link once.
        targets: Per foreign key bool [links], the links hidden from message passing: they alone are inputs of the link level and feed the contexts,
            while negatives exclude every link; None: all links.
        sample: Per table int64 [rows], nondecreasing sample numbers below num_samples.
        rank: Per table int64 [rows], a permutation within each sample.
        num_samples: Samples, at least 1.
        config: Most negatives, form of contexts, and whether a key without a negative is skipped.

    Raises:
        ValueError: An input breaks these rules; the message names table, key and the first offending row or link.
    """
    samples = {table: numbers.numpy() for table, numbers in sample.items()}
    for table, numbers in samples.items():
        _check_samples(table, numbers, num_samples)
    ends = {edge_type: of_key.numpy() for edge_type, of_key in links.items()}
    for edge_type, rows in ends.items():
        _check_links(edge_type, rows, samples)
    is_target = {e: np.ones(x.shape[1], np.bool_) if targets is None else targets[e].numpy() for e, x in ends.items()}
    grids = {table: _grid(numbers, num_samples) for table, numbers in samples.items()}
    cells = {table: grid.cell.numpy() for table, grid in grids.items()}
    ranks = {table: _rank_grid(table, grids[table], samples[table], rank[table].numpy()) for table in grids}
    link = {}
    for edge_type, rows in ends.items():
        child, _, parent = edge_type
        children, parents = cells[child][rows[0]], cells[parent][rows[1]]
        itself = cells[child][:0] if child != parent else np.delete(cells[child], rows[0][rows[0] == rows[1]])
        is_input = np.concatenate([is_target[edge_type], np.zeros(len(itself), np.bool_)])
        children, parents = np.concatenate([children, itself]), np.concatenate([parents, itself])
        skip = config.skip_edge_type_without_negative
        link[edge_type] = (
            _pairs(parents, children, is_input, ranks[parent].shape[1], ranks[child], config.max_negatives, skip),
            _pairs(children, parents, is_input, ranks[child].shape[1], ranks[parent], config.max_negatives, skip),
        )
    sizes = {table: len(cells[table]) for table in cells if any(table in (e[0], e[2]) for e in ends)}
    means, has_context = _context_means(ends, is_target, sizes, config)
    context = {}
    for table, has in has_context.items():
        among = ranks[table].copy()
        among.reshape(-1)[cells[table][~has]] = NO_CANDIDATE
        context[table] = _self_pairs(cells[table][has], among, config)
    return SampleLayout(
        grids=grids,
        row={table: _self_pairs(cells[table], ranks[table], config) for table in grids},
        link=link,
        context=context,
        context_means=means,
    )


def _grid(samples: NDArray[np.int64], num_samples: int) -> RowGrid:
    counts = np.bincount(samples, minlength=num_samples)
    max_rows = max(1, int(counts.max()))
    first = np.cumsum(counts) - counts
    cell = samples * max_rows + np.arange(len(samples)) - first[samples]
    return RowGrid(num_samples, max_rows, torch.from_numpy(cell))


def _rank_grid(table: str, grid: RowGrid, samples: NDArray[np.int64], rank: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns int32 [num_samples, max_rows], NO_CANDIDATE in the padding."""
    cells = grid.cell.numpy()
    first = samples << 32
    is_bad = np.sort(first + rank) != first + cells % grid.max_rows
    if is_bad.any():
        sample = samples[is_bad.argmax()]
        found = rank[samples == sample]
        raise ValueError(
            f"rank[{table!r}]: sample {sample} has ranks {found[:9]}; expected 0 to {len(found) - 1}, each once."
        )
    ranks = np.full((grid.num_samples, grid.max_rows), NO_CANDIDATE, np.int32)
    ranks.reshape(-1)[cells] = rank
    return ranks


def _self_pairs(cells: NDArray[np.int64], rank: NDArray[np.int32], config: LossConfig) -> Pairs:
    """Returns the pairs whose positives are rows beside themselves."""
    return _pairs(cells, cells, np.ones(len(cells), np.bool_), rank.shape[1], rank, config.max_negatives, False)


def _pairs(*arguments: Any) -> Pairs:
    """Returns what `_count_pairs` finds as tensors."""
    *arrays, count = _count_pairs(*arguments)
    place, weight, rank, bound = map(torch.from_numpy, arrays)
    return Pairs(place, weight, rank, bound, torch.tensor(count))


@kernel
def _count_pairs(anchor, candidate, is_input, num_anchors, rank, max_negatives, skip):  # type: ignore[no-untyped-def]
    """Returns place, weight, rank, bound and count of `Pairs`.

    anchor, candidate: int64 [places], cells of what is no negative. is_input: bool [places]. rank: int32 [samples, candidates], within each sample
    different numbers below the number of candidates, or NO_CANDIDATE. skip: a sample in which the anchor of some input has no negative has no input.

    A candidate that an anchor must leave out pushes the anchor's bound one further, if it lies below it; candidates are visited by rank.
    """
    num_samples, num_candidates = rank.shape
    max_negatives = min(max_negatives, num_candidates)
    by_rank = np.full((num_samples, num_candidates), -1, np.int64)
    order = np.full((num_samples, num_candidates), NO_CANDIDATE, np.int32)
    number = np.zeros((num_samples, num_anchors), np.int64)
    bound = np.full((num_samples, num_anchors), max_negatives, np.int32)
    for s in range(num_samples):
        for c in range(num_candidates):
            if rank[s, c] != NO_CANDIDATE:
                by_rank[s, rank[s, c]] = c
        kept = 0
        for c in by_rank[s]:
            if c >= 0:
                by_rank[s, kept], order[s, c] = c, kept
                kept += 1
        by_rank[s, kept:] = -1
        number[s] = kept
    begins = np.zeros(num_samples * num_anchors + 1, np.int64)
    for v in anchor:
        number[v // num_anchors, v % num_anchors] -= 1
        begins[v + 1] += 1
    if num_candidates > max_negatives:
        head, following = np.full(num_samples * num_candidates, -1, np.int64), np.empty(len(candidate), np.int64)
        for p in range(len(candidate)):
            following[p], head[candidate[p]] = head[candidate[p]], p
        for s in range(num_samples):
            for k in range(num_candidates):
                p = head[s * num_candidates + by_rank[s, k]] if by_rank[s, k] >= 0 else -1
                while p >= 0:
                    bound[s, anchor[p] % num_anchors] += k < bound[s, anchor[p] % num_anchors]
                    p = following[p]
    is_skipped = np.zeros(num_samples, np.bool_)
    for p in range(len(anchor) if skip else 0):
        s, a = anchor[p] // num_anchors, anchor[p] % num_anchors
        is_skipped[s] |= is_input[p] and number[s, a] <= 0
    begins = np.cumsum(begins)
    place, weight, count = np.empty(len(anchor), np.int64), np.zeros(len(anchor), np.float64), 0
    for p in range(len(anchor)):
        s, a = anchor[p] // num_anchors, anchor[p] % num_anchors
        at = begins[anchor[p]]
        begins[anchor[p]] += 1
        place[at] = anchor[p] * num_candidates + candidate[p] % num_candidates
        if is_input[p] and number[s, a] > 0 and not is_skipped[s]:
            weight[at] = 1.0 / np.log1p(min(number[s, a], max_negatives))
            count += 1
    return place, weight, order, bound, count


def _context_means(
    ends: Mapping[EdgeType, NDArray[np.int64]],
    is_target: Mapping[EdgeType, NDArray[np.bool_]],
    sizes: Mapping[str, int],
    config: LossConfig,
) -> tuple[tuple[Edges, ...], dict[str, NDArray[np.bool_]]]:
    """Returns (the means of Eq. 3, per table bool [rows] whether a row has a context).

    A neighbour joined by two keys, or a row of a self-referencing key that is both child and parent of v, counts once per directed link.
    """
    if not sizes:
        return (), {}
    total, num_types = sum(sizes.values()), 2 * len(ends)
    first = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    used = {e: rows[:, is_target[e]] + np.array([[first[e[0]]], [first[e[2]]]]) for e, rows in ends.items()}
    source = np.concatenate([rows[side] for rows in used.values() for side in (0, 1)])
    target = np.concatenate([rows[1 - side] for rows in used.values() for side in (0, 1)])
    has = np.zeros(total, np.bool_)
    has[target] = True
    by_table = dict(zip(sizes, np.split(has, list(first.values())[1:]), strict=True))
    if config.context_form == "neighbours":
        return (make_edges(source, target, total, total),), by_table
    kind = np.repeat(np.arange(num_types), [rows.shape[1] for rows in used.values() for _ in (0, 1)])
    is_met = np.zeros(num_types * total, np.bool_)
    is_met[kind * total + target] = True  # a row and one of its edge types
    met = np.flatnonzero(is_met)
    number = np.cumsum(is_met) - 1
    by_type = make_edges(source, number[kind * total + target], total, len(met))
    return (by_type, make_edges(np.arange(len(met)), met % total, len(met), total)), by_table


def _check_samples(table: str, samples: NDArray[np.int64], num_samples: int) -> None:
    is_bad = (samples < 0) | (samples >= num_samples)
    is_bad[1:] |= samples[1:] < samples[:-1]
    if not is_bad.any():
        return
    row = int(is_bad.argmax())
    before = f" after {samples[row - 1]}" if row else ""
    raise ValueError(
        f"sample[{table!r}]: row {row} has sample number {samples[row]}{before}; expected nondecreasing numbers from 0 to "
        f"{num_samples - 1} (num_samples is {num_samples}). Concatenate the samples in order."
    )


def _check_links(edge_type: EdgeType, rows: NDArray[np.int64], samples: Mapping[str, NDArray[np.int64]]) -> None:
    child, fkey_col, parent = edge_type
    sizes = np.array([[len(samples[child])], [len(samples[parent])]])
    is_bad = ((rows < 0) | (rows >= sizes)).any(axis=0)
    if not is_bad.any():
        is_bad = samples[child][rows[0]] != samples[parent][rows[1]]
    if not is_bad.any():
        return
    position = int(is_bad.argmax())
    raise ValueError(
        f"{child}.{fkey_col} -> {parent}: link {position} joins child row {rows[0, position]} to parent row {rows[1, position]}; "
        f"expected row numbers below {len(samples[child])} and {len(samples[parent])}, both ends in one sample. "
        "When samples are joined to a batch, shift the row numbers of each by the rows of those before it."
    )
