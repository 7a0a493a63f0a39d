"""HGSampling on a graph that lies in shares (share.py): the same kernels, fed with the answers of the shares.

Promises
- Samples are bit-equal to those of `HGSampling` on the whole graph, whatever the number of shares.
- There is one round of requests (at most one per share) for each hop of a whole batch of subgraphs, and one for the keys of the rows drawn last:
  num_hops + 1 rounds per batch. Their cells take one more (`batches/row_source.py`).
- Nothing here is proportional to the size of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import HGSamplingConfig
from rdl_core.graph.reg import RelationalEntityGraph, offsets, read_only
from rdl_core.random_streams import fold
from rdl_core.sampling.hg_kernels import GraphView, clear, grow_hop, pack, plant, read_parents
from rdl_core.sampling.hg_sampling import HGSampling, SubgraphScratch, sample_streams
from rdl_core.sampling.share import Ownership, Request, Response
from rdl_core.sampling.subgraph import Subgraph

Ask = Callable[[dict[int, Request]], dict[int, Response]]
"""Sends requests to shares, by number, and returns the answers: one round."""

NO_BOUNDS = np.zeros(2, np.int64)


class ShardedHGSampling(HGSampling):
    """Grows subgraphs by asking shares.

    Args:
        graph: The store's graph, of which sizes and the times of seed rows are read, no topology.
        owned: The assignment of rows to shares.
        ask: Sends one round of requests.
        config, seed, before_s: Like those of HGSampling; the shares have the same.
    """

    def __init__(
        self,
        graph: RelationalEntityGraph,
        owned: Ownership,
        ask: Ask,
        config: HGSamplingConfig,
        *,
        seed: int,
        before_s: int,
    ) -> None:
        super().__init__(graph, config, seed=seed, before_s=before_s)
        self.owned, self._ask = owned, ask

    def _seen(self) -> RelationalEntityGraph:
        return self.graph  # the shares leave out what is not valid any more

    def grow(self, seeds: NDArray[np.int64], cursors: Sequence[tuple[int, int]]) -> list[Subgraph]:
        """Grows subgraphs as HGSampling does; they grow side by side, so that they share rounds."""
        bounds = self.seeds.bounds(seeds)
        batch = _Batch(self, len(cursors))
        limits = (self.config.rows_per_hop, self.config.num_hops, self.config.max_children)
        streams = sample_streams(self.seed, cursors)
        for s, scratch in enumerate(batch.scratch):
            plant(
                self.graph.row_offset, seeds[s], scratch.counters, scratch.entries, batch.rows[s], batch.num_sampled[s]
            )
        for hop in range(self.config.num_hops):
            hop_streams = np.array([_fold(stream, hop) for stream in streams], np.uint64)
            seen = bounds[:, [0, 2 if hop == 0 else 1]]
            view = batch.view(self._ask, seen, hop_streams, with_lists=True)
            for s, scratch in enumerate(batch.scratch):
                scratch.entries = grow_hop(
                    view,
                    NO_BOUNDS,
                    batch.lists[s],
                    limits,
                    hop_streams[s],
                    scratch.counters,
                    scratch.entries,
                    scratch.segments,
                    batch.arrays(s),
                    batch.first_new[s],
                )
        view = batch.view(self._ask, bounds[:, :2], streams, with_lists=False)
        return [self._finished(batch, view, s) for s in range(len(cursors))]

    def _finished(self, batch: _Batch, view: GraphView, s: int) -> Subgraph:
        shape, scratch = self.graph, batch.scratch[s]
        rows, parents, num_sampled, _ = batch.arrays(s)
        read_parents(view, batch.lists[s], batch.first_new[s], num_sampled, parents)
        buffer = np.empty(scratch.max_buffer, np.int32)
        length = pack(
            shape.row_offset,
            shape.child_type,
            shape.parent_type,
            scratch.counters,
            scratch.entries,
            rows,
            parents,
            num_sampled,
            buffer,
        )
        clear(scratch.counters, scratch.entries)
        self._scratch.append(scratch)
        return Subgraph(buffer[:length].copy(), shape.node_types, shape.edge_types)

    def lease(self) -> SubgraphScratch:
        """Returns clean memory for one subgraph."""
        return self._scratch.pop() if self._scratch else SubgraphScratch(self.graph, self.config, direct=False)


def _fold(stream: int, number: int) -> int:
    return fold(np.uint64(stream), number)


class _Batch:
    """Subgraphs that grow side by side. Arrays lead with [samples]; see hg_kernels.py for their parts."""

    def __init__(self, sampler: ShardedHGSampling, num_samples: int) -> None:
        shape, config = sampler.graph, sampler.config
        self.shape, self.owned = shape, sampler.owned
        self.scratch = [sampler.lease() for _ in range(num_samples)]
        num_tables, num_keys = len(shape.node_types), len(shape.edge_types)
        capacity = config.seeds_per_sample + config.num_hops * config.rows_per_hop
        self.rows = np.zeros((num_samples, num_tables, capacity), np.int64)
        self.lists = np.zeros((num_samples, num_tables, capacity), np.int64)
        self.parents = np.zeros((num_samples, max(1, num_keys), capacity), np.int32)
        self.num_sampled = np.zeros((num_samples, num_tables), np.int64)
        self.first_new = np.zeros((num_samples, num_tables), np.int64)
        self.drawing = self.scratch[0].fixed[3]
        self.one_bound = config.time_bound == "cutoff"

    def arrays(self, s: int) -> tuple:
        """Returns the kernels' `scratch` of sample s."""
        return self.rows[s], self.parents[s], self.num_sampled[s], self.drawing

    def view(self, ask: Ask, bounds: NDArray[np.int64], streams: NDArray[np.uint64], *, with_lists: bool) -> GraphView:
        """Asks the shares about all new rows in one round. Returns the answers as the kernels' view; `lists` names each new row's list."""
        new = [self._new_rows(t) for t in range(len(self.shape.node_types))]
        owners = [self.owned.owner(t, rows) for t, (_, rows) in enumerate(new)]
        asked = {s for owner in owners for s in np.unique(owner).tolist()}
        places_of = {s: [np.flatnonzero(owner == s) for owner in owners] for s in sorted(asked)}
        requests, spread = {}, {}
        for share, places in places_of.items():
            requests[share], spread[share] = _request(new, places, bounds, streams, with_lists, self.one_bound)
        return self._assemble(ask(requests), places_of, spread, [len(rows) for _, rows in new])

    def _new_rows(self, table: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns (samples, rows) of the new rows of a table, and numbers their lists."""
        place = np.arange(self.rows.shape[2])
        is_new = (place >= self.first_new[:, table, None]) & (place < self.num_sampled[:, table, None])
        samples, places = np.nonzero(is_new)
        self.lists[samples, table, places] = np.arange(len(samples))
        return samples, self.rows[samples, table, places]

    def _assemble(
        self, responses: dict[int, Response], places_of: dict[int, list], spread: dict[int, list], sizes: list[int]
    ) -> GraphView:
        """Puts the answers in the order of the lists."""
        shape = self.shape
        parent_offset = np.concatenate([[0], np.cumsum([sizes[t] for t in shape.child_type])]).astype(np.int64)
        list_offset = np.concatenate([[0], np.cumsum([sizes[t] for t in shape.parent_type])]).astype(np.int64)
        parent = np.full(parent_offset[-1], -1, np.int32)
        begin, end = np.zeros(list_offset[-1], np.int64), np.zeros(list_offset[-1], np.int64)
        base, children = 0, [np.zeros(0, np.int32)]
        for share, response in responses.items():
            at_parent, at_list = 0, 0
            for k in range(len(shape.edge_types)):
                child, parent_table = shape.child_type[k], shape.parent_type[k]
                unique_rows, which = spread[share][child]
                found = response.parents[at_parent : at_parent + unique_rows]
                parent[parent_offset[k] + places_of[share][child]] = found[which]
                at_parent += unique_rows
                places = places_of[share][parent_table]
                answered = slice(at_list, at_list + len(places))
                begin[list_offset[k] + places] = base + response.begins[answered].astype(np.int64)
                end[list_offset[k] + places] = begin[list_offset[k] + places] + response.lengths[answered]
                at_list += len(places)
            base += len(response.children)
            children.append(response.children)
        return GraphView(
            row_offset=shape.row_offset,
            time=read_only(np.zeros(0, np.int64)),
            child_type=shape.child_type,
            parent_type=shape.parent_type,
            parent_offset=read_only(parent_offset),
            parent=read_only(parent),
            children=read_only(np.concatenate(children)),
            list_offset=read_only(list_offset),
            list_begin=read_only(begin),
            list_end=read_only(end),
        )


def _request(
    new: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    places: list[NDArray[np.int64]],
    bounds: NDArray[np.int64],
    streams: NDArray[np.uint64],
    with_lists: bool,
    one_bound: bool,
) -> tuple[Request, list[tuple[int, NDArray[np.int64]]]]:
    """Returns the request to one share and, per table, (number of rows asked for, which of them each of its places wants)."""
    rows, row_bounds, list_row, list_stream, spread = [], [], [], [], []
    num_rows = 0
    for (samples, all_rows), at in zip(new, places, strict=True):
        wanted, of_sample = all_rows[at], samples[at]
        if one_bound:  # a row that several samples want is asked for once
            unique, which = np.unique(wanted, return_inverse=True)
            row_bounds.append(np.zeros((0, 2), np.int64))
        else:
            unique, which = wanted, np.arange(len(wanted))
            row_bounds.append(bounds[of_sample])
        rows.append(unique)
        list_row.append(num_rows + which)
        list_stream.append(streams[of_sample])
        spread.append((len(unique), which))
        num_rows += len(unique)
    request = Request(
        row_begin=offsets(rows),
        rows=np.concatenate(rows),
        bounds=np.concatenate(row_bounds),
        list_begin=offsets(list_row),
        list_row=np.concatenate(list_row),
        list_stream=np.concatenate(list_stream),
        with_lists=with_lists,
    )
    return request, spread
