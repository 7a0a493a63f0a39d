"""HGSampler: the callable of Ray Data's map_batches. Seeds in, packed subgraphs out; only ids and links travel.

Tasks, not an actor pool, since tasks reuse worker processes and a pool is started anew for every execution; a process keeps one sampler, and
what lives long (the shards of a graph) are actors of their own.

What Ray Data 2.60 costs: its driver waits until all running tasks have something to say, or 100 ms, and a task needs two such turns, for its
block and for its end, in which its slot stands still. Hence large blocks (plan.py), and two tasks of half a CPU for each sampler, of which one
works while the other waits. (One task more than samplers loses less where a block takes a second, and much more where it takes a quarter.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray

from distributed.sampling.placement import Placement
from distributed.sampling.plan import NO_SAMPLE, StepPlan, seed_tables
from rdl_core.config import HGSamplingConfig

TASKS_PER_SAMPLER = 2
NO_SUBGRAPH = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class HGSampler:
    """Maps a block of seeds (plan.py) to step, epoch, sample and one binary column `subgraph` (subgraph.py).

    Args:
        placement: Where the graph is.
        config, seed: The run's sampling settings and seed.
    """

    placement: Placement
    config: HGSamplingConfig
    seed: int

    def __call__(self, block: pa.Table) -> pa.Table:
        sampler = self.placement.sampling(self.config, self.seed)
        seeds = block.column("seeds").combine_chunks().flatten().to_numpy().reshape(block.num_rows, -1)
        cursors = np.stack([block.column("epoch").to_numpy(), block.column("sample").to_numpy()], axis=1)
        buffers = [NO_SUBGRAPH] * block.num_rows
        is_sample = np.flatnonzero(cursors[:, 0] != NO_SAMPLE)
        grown = sampler.grow(seeds[is_sample], [(int(e), int(s)) for e, s in cursors[is_sample]])
        for row, subgraph in zip(is_sample, grown, strict=True):
            buffers[row] = subgraph.buffer
        return block.drop_columns("seeds").append_column("subgraph", binary_column(buffers))


def binary_column(buffers: Sequence[NDArray[np.int32]]) -> pa.Array:
    """Returns binary [buffers] as large_binary, copied once."""
    ends = np.cumsum([0, *(buffer.nbytes for buffer in buffers)])
    both = [pa.py_buffer(ends), pa.py_buffer(np.concatenate(buffers))]
    return pa.Array.from_buffers(pa.large_binary(), len(buffers), [None, *both])


def sampled_dataset(
    placement: Placement,
    config: HGSamplingConfig,
    seed: int,
    plan: StepPlan,
    *,
    first_step: int,
    max_steps: int,
    samplers: int,
    beside_workers: bool = False,
) -> ray.data.Dataset:
    """Returns the samples of steps [first_step, max_steps), in the blocks of plan.py; `samplers` CPUs of tasks at a time.

    Few samples make blocks so small that every task gets one. Elastic workers take every CPU that they find; tasks `beside_workers` ask for none,
    or they would wait for ever.
    """
    tasks = TASKS_PER_SAMPLER * samplers
    share = -(-(max_steps - first_step) * plan.samples_per_step // tasks)
    plan = replace(plan, samples_per_block=min(plan.samples_per_block, max(1, share)))
    # `from_arrow` would ask a task of one CPU for the sizes of blocks, which is none where workers hold all.
    seeds = ray.data.from_blocks(seed_tables(plan, placement.sampling(config, seed), first_step, max_steps))
    return seeds.map_batches(
        HGSampler(placement, config, seed),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=min(tasks, seeds.num_blocks())),
        num_cpus=0 if beside_workers else 1 / TASKS_PER_SAMPLER,
    )


def in_order() -> ray.data.ExecutionOptions:
    """Returns options by which blocks come out as they went in, which dealing them to workers needs (plan.py)."""
    options = ray.data.ExecutionOptions()
    options.preserve_order = True
    return options
