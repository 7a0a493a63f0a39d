"""The sampler alone, in one process: against the peer, against itself on a hundred times larger database, on two threads; temporal trees.

Each function takes samplers that are ready and returns plain numbers; `sampling.py` opens the databases and prints. All samples are of epoch 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from relbench.load import RelBenchDataset

from benchmarks.samplers.links import LinkCount, add_up, count_links, read_keys, row_pairs
from benchmarks.samplers.peer import HGTSample
from benchmarks.timing import at_once, in_turns
from rdl_core.database import load_task
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.labels import read_split

PEER_SUBGRAPHS, BATCH_SEEDS = 5, 512
"""Subgraphs of the peer in a round (tens of milliseconds each); seeds of a temporal batch."""


@dataclass(frozen=True, kw_only=True)
class SamplerRate:
    """One sampler on one core.

    Args:
        subgraphs_per_s, rows_per_s: Medians.
        bytes_per_subgraph: Mean size of the packed buffer.
        peer_subgraphs_per_s: Rate of `hgt_sample` in the same run, or None.
    """

    subgraphs_per_s: float
    rows_per_s: float
    bytes_per_subgraph: float
    peer_subgraphs_per_s: float | None

    @property
    def ratio(self) -> float | None:
        """Our rate over the peer's."""
        return None if self.peer_subgraphs_per_s is None else self.subgraphs_per_s / self.peer_subgraphs_per_s


def rate(sampler: HGSampling, peer: HGTSample | None, *, per_round: int = 64, rounds: int = 15) -> SamplerRate:
    """Returns the rate of the sampler and, in turns and from the same seeds, of the peer."""
    seen: list[Subgraph] = []

    def ours(number: int) -> None:
        seen.extend(sampler.sample(0, numbers(sampler, number * per_round, per_round)))

    calls = {"ours": ours}
    if peer is not None:
        calls["peer"] = lambda number: _peer_round(sampler, peer, number)
    seconds = in_turns(calls, rounds)
    return SamplerRate(
        subgraphs_per_s=per_round / seconds["ours"],
        rows_per_s=float(np.mean([sum(s.num_rows.values()) for s in seen])) * per_round / seconds["ours"],
        bytes_per_subgraph=float(np.mean([s.buffer.nbytes for s in seen])),
        peer_subgraphs_per_s=None if peer is None else PEER_SUBGRAPHS / seconds["peer"],
    )


def links_lost(
    dataset: RelBenchDataset, sampler: HGSampling, peer: HGTSample | None, num_samples: int
) -> tuple[LinkCount, LinkCount | None]:
    """Returns (our count, the peer's) against the join; the peer returns each direction of a key by itself, so child -> parent counts."""
    keys = read_keys(dataset)
    samples = numbers(sampler, 0, num_samples)
    ours = add_up(count_links(keys, s.rows, row_pairs(s)) for s in sampler.sample(0, samples))
    if peer is None:
        return ours, None
    counts = []
    for sample in samples:
        rows, pairs = peer.rows_and_pairs(seed_rows(sampler, 0, sample))
        counts.append(count_links(keys, rows, pairs))
    return ours, add_up(counts)


def growth(large: HGSampling, small: HGSampling, *, per_round: int = 32, rounds: int = 15) -> tuple[float, float]:
    """Returns (seconds per subgraph of the large database, of the small one), measured in turns."""
    seconds = in_turns(
        {name: _sampling(s, per_round) for name, s in (("large", large), ("small", small))},
        rounds,
    )
    return seconds["large"] / per_round, seconds["small"] / per_round


def two_threads(sampler: HGSampling, *, per_round: int = 128, rounds: int = 11) -> float:
    """Returns how many times as many subgraphs a second two threads make with one sampler as one does.

    Args:
        per_round: Subgraphs of a thread in a round, in one call.
    """
    work = _sampling(sampler, per_round)
    seconds = in_turns({"one": work, "two": lambda n: at_once([lambda: work(n), lambda: work(n + 1)])}, rounds)
    return 2 * seconds["one"] / seconds["two"]


def temporal(
    dataset: RelBenchDataset, task_name: str, sampler: TemporalSampling, beside: HGSampling, peer: HGTSample | None,
    *, rounds: int = 15,
) -> tuple[float, float | None, float]:  # fmt: skip
    """Measures temporal trees for a task's training seeds in random order.

    Args:
        beside: Whose seeds the peer gets.

    Returns:
        (batches a second, subgraphs a second of the peer in turns with them or None, distinct share of the rows of a batch).
    """
    task = load_task(dataset, task_name)
    seeds = read_split(task, "train", "rolling", test_timestamp_s=0)
    order = np.random.default_rng(0).permutation(len(seeds))
    shares: list[float] = []

    def batch(number: int) -> None:
        mine = order[np.arange(number * BATCH_SEEDS, (number + 1) * BATCH_SEEDS) % len(order)]
        trees = sampler.sample(task.entity_table, seeds.entities[mine], seeds.before_s[mine], epoch=0, numbers=mine)
        num_rows, num_nodes = (sum(map(len, part.values())) for part in (trees.rows, trees.index))
        shares.append(num_rows / num_nodes)

    calls = {"batch": batch}
    if peer is not None:
        calls["peer"] = lambda number: _peer_round(beside, peer, number)
    seconds = in_turns(calls, rounds)
    peer_rate = None if peer is None else PEER_SUBGRAPHS / seconds["peer"]
    return 1 / seconds["batch"], peer_rate, float(np.mean(shares))


def numbers(sampler: HGSampling, first: int, count: int) -> list[int]:
    """Returns so many sample numbers of an epoch from `first` on, going round."""
    return [(first + i) % sampler.samples_per_epoch for i in range(count)]


def seed_rows(sampler: HGSampling, epoch: int, sample: int) -> torch.Tensor:
    """Returns int64 [seeds]: rows of the sampler's seed table, as the peer takes them."""
    graph = sampler.graph
    offset = graph.row_offset[graph.node_types.index(sampler.seeds.table)]
    return torch.from_numpy(sampler.seeds.nodes(epoch, sample) - offset)


def _sampling(sampler: HGSampling, per_round: int) -> Callable[[int], object]:
    return lambda number: sampler.sample(0, numbers(sampler, number * per_round, per_round))


def _peer_round(sampler: HGSampling, peer: HGTSample, number: int) -> None:
    for sample in numbers(sampler, number * PEER_SUBGRAPHS, PEER_SUBGRAPHS):
        peer.sample(seed_rows(sampler, 0, sample))
