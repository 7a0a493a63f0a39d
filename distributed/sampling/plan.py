"""StepPlan: which samples make a step and which worker takes them; the seeds of a run, block by block.

One row is one sample: its step, epoch and number, and the seeds (graph nodes). A block holds the samples of one worker for a few steps, and blocks go
round the workers: block b is for worker b % workers. With preserve_order and equal blocks, Ray Data's streaming_split deals them in
just this way; the worker checks it (`train_loop.worker_steps`). Where the samples of a step are no multiple of the workers, some workers have one
more than others, and the others' blocks are filled up with rows of no sample (epoch and sample -1), which nobody samples.

Promises: every sample of the steps [first_step, max_steps) is in exactly one block; every worker gets the same number of rows; nothing is
dropped but an epoch's partial last sample, which is no sample. A pure function of (config, workers, first_step), so a restart goes on where
it was, and with another number of workers a step is the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.config import PretrainingConfig
from rdl_core.sampling.hg_sampling import HGSampling

NO_SAMPLE = -1
"""Epoch and number of a row that only fills its block."""
SAMPLES_PER_BLOCK = 600
"""A task's slot stands still for up to 0.2 s per block (sampler.py), so blocks take longer to sample."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The samples of each step, and the worker that takes each.

    Args:
        samples_per_step: Samples of a step over all workers; at least one each.
        workers: Workers of the run.
        samples_per_epoch: Samples of an epoch of the sampler.
        samples_per_block: Most samples of a block, but for a step that has more.
    """

    samples_per_step: int
    workers: int
    samples_per_epoch: int
    samples_per_block: int = SAMPLES_PER_BLOCK

    @property
    def rows_per_worker(self) -> int:
        """Rows of a step in a worker's blocks: its samples, filled up to the number of the worker that has most."""
        return -(-self.samples_per_step // self.workers)

    def cursors(self, step: int, rank: int) -> list[Cursor]:
        """Returns (epoch, sample) of each of a worker's samples in a step."""
        shares = (rank * self.samples_per_step // self.workers, (rank + 1) * self.samples_per_step // self.workers)
        first, end = (step * self.samples_per_step + share for share in shares)
        return [divmod(k, self.samples_per_epoch) for k in range(first, end)]

    def blocks(self, first_step: int, max_steps: int) -> list[tuple[int, range]]:
        """Returns (rank, steps) of every block in order."""
        steps_per_block = max(1, self.samples_per_block // self.rows_per_worker)
        return [
            (rank, range(begin, min(begin + steps_per_block, max_steps)))
            for begin in range(first_step, max_steps, steps_per_block)
            for rank in range(self.workers)
        ]


def step_plan(config: PretrainingConfig, workers: int, sampler: HGSampling) -> StepPlan:
    """Returns the plan of a run on so many workers."""
    return StepPlan(
        samples_per_step=config.samples_per_step, workers=workers, samples_per_epoch=sampler.samples_per_epoch
    )


def seed_tables(plan: StepPlan, sampler: HGSampling, first_step: int, max_steps: int) -> list[pa.Table]:
    """Returns one Arrow table per block: step, epoch, sample (int64) and seeds (fixed-size list of int64)."""
    return [_block(plan, sampler, rank, steps) for rank, steps in plan.blocks(first_step, max_steps)]


def _block(plan: StepPlan, sampler: HGSampling, rank: int, steps: range) -> pa.Table:
    rows, seeds = [], []
    no_seeds = np.zeros(sampler.config.seeds_per_sample, dtype=np.int64)
    for step in steps:
        cursors = plan.cursors(step, rank)
        filling = plan.rows_per_worker - len(cursors)
        rows += [(step, *cursor) for cursor in cursors] + [(step, NO_SAMPLE, NO_SAMPLE)] * filling
        seeds += [sampler.seeds.nodes(*cursor) for cursor in cursors] + [no_seeds] * filling
    columns = {
        name: pa.array([row[i] for row in rows], pa.int64()) for i, name in enumerate(("step", "epoch", "sample"))
    }
    columns["seeds"] = pa.FixedSizeListArray.from_arrays(
        pa.array(np.concatenate(seeds)), sampler.config.seeds_per_sample
    )
    return pa.table(columns)
