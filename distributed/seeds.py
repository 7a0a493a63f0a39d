"""Who samples what: the seeds of a run as a ray.data.Dataset.

One row is one sample: its step, epoch and number, and the seeds (graph nodes). A block holds the samples of one worker for a few steps, and blocks go
round the workers: block b is for worker b % workers. With preserve_order and equal blocks, Ray Data's streaming_split deals them in
just this way; the worker checks it (`train_loop.worker_steps`).

Promises: every sample of the steps [first_step, max_steps) is in exactly one block; every worker gets the same number of rows; nothing is
dropped but an epoch's partial last sample, which is no sample. A pure function of (config, workers, first_step), so a restart goes on where
it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray.data

from rdl_core.batch import Cursor
from rdl_core.config import PretrainingConfig
from rdl_core.hg_sampling import HGSampling

SAMPLES_PER_BLOCK = 600
"""A task's slot stands still for up to 0.2 s a block (sampling.py), so blocks take longer to sample."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Which samples make a step, and who takes which.

    Args:
        samples_per_step: Over all workers; a multiple of `workers`.
        workers: Of the run.
        samples_per_epoch: Of the sampler.
        samples_per_block: At most, but for a step that has more.
    """

    samples_per_step: int
    workers: int
    samples_per_epoch: int
    samples_per_block: int = SAMPLES_PER_BLOCK

    @property
    def samples_per_worker(self) -> int:
        return self.samples_per_step // self.workers

    def cursors(self, step: int, rank: int) -> list[Cursor]:
        """(epoch, sample) of a worker's samples in a step."""
        first = step * self.samples_per_step + rank * self.samples_per_worker
        return [divmod(k, self.samples_per_epoch) for k in range(first, first + self.samples_per_worker)]

    def blocks(self, first_step: int, max_steps: int) -> list[tuple[int, range]]:
        """(rank, steps) of every block in order."""
        steps_per_block = max(1, self.samples_per_block // self.samples_per_worker)
        return [
            (rank, range(begin, min(begin + steps_per_block, max_steps)))
            for begin in range(first_step, max_steps, steps_per_block)
            for rank in range(self.workers)
        ]


def samples_per_step(config: PretrainingConfig, workers: int) -> int:
    """G raised to a multiple of the number of workers."""
    return -(-config.samples_per_step // workers) * workers


def step_plan(samples_per_step: int, workers: int, sampler: HGSampling) -> StepPlan:
    """The plan of a run with so many samples a step over all workers."""
    return StepPlan(samples_per_step=samples_per_step, workers=workers, samples_per_epoch=sampler.samples_per_epoch)


def seed_tables(plan: StepPlan, sampler: HGSampling, first_step: int, max_steps: int) -> list[pa.Table]:
    """One Arrow table a block: step, epoch, sample (int64) and seeds (fixed-size list of int64)."""
    return [_block(plan, sampler, rank, steps) for rank, steps in plan.blocks(first_step, max_steps)]


def seed_dataset(plan: StepPlan, sampler: HGSampling, first_step: int, max_steps: int) -> ray.data.Dataset:
    """The blocks of `seed_tables` as a Dataset."""
    return ray.data.from_arrow(seed_tables(plan, sampler, first_step, max_steps))


def _block(plan: StepPlan, sampler: HGSampling, rank: int, steps: range) -> pa.Table:
    rows = [(step, epoch, sample) for step in steps for epoch, sample in plan.cursors(step, rank)]
    seeds = np.concatenate([sampler.seeds.nodes(epoch, sample) for _, epoch, sample in rows])
    columns = {
        name: pa.array([row[i] for row in rows], pa.int64()) for i, name in enumerate(("step", "epoch", "sample"))
    }
    columns["seeds"] = pa.FixedSizeListArray.from_arrays(pa.array(seeds), sampler.config.seeds_per_sample)
    return pa.table(columns)
