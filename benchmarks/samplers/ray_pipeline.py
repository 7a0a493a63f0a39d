"""The cost of Ray Data: samples per second through seeds -> map_batches(HGSampler) -> batches, against the bare sampler on the same two cores.

What it costs (Ray 2.60, found by tracing its scheduling loop): the driver waits until *all* running tasks have something, or 100 ms; a task
needs two such turns, one for its block and one for its end, so its slot stands still for up to 0.2 s a block. And in the first second of an
execution the reserved CPUs are not known yet, and one task runs at a time. Hence two tasks a sampler (and no more than the session has
logical CPUs: processes above that number are ended when idle and import everything again) and blocks of some tenths of a second.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
import ray.data

from benchmarks.samplers.local import numbers
from distributed.cluster.session import start_ray
from distributed.sampling.placement import Placement, place
from distributed.sampling.plan import StepPlan
from distributed.sampling.sampler import in_order, sampled_dataset
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.store import Store

SAMPLERS, PER_CALL, BARE_S = 2, 50, 1.0


@dataclass(frozen=True, kw_only=True)
class PipelineRate:
    """The pipeline beside the bare sampler.

    Args:
        samples: Number of samples of one execution.
        subgraphs_per_s: A whole execution in a warm session, its start included.
        bare_subgraphs_per_s: Rate of two processes or two threads, whichever is better.
    """

    samples: int
    subgraphs_per_s: float
    bare_subgraphs_per_s: float

    @property
    def share_lost(self) -> float:
        return 1 - self.subgraphs_per_s / self.bare_subgraphs_per_s


def pipeline_rate(store: Store, config: HGSamplingConfig, *, seed: int, seconds: float, rounds: int) -> PipelineRate:
    """Measures both in turns; the first, shorter execution warms up.

    Args:
        store: Mapped by every process.
        seconds: About how long the bare sampler takes for an execution's samples. A run is one execution, which pays its start once.
        rounds: Executions.
    """
    start_ray(workers=1, samplers=SAMPLERS)
    placement = place(store, config, "local")
    samples = round_up(bare_rate(placement, config, seed, BARE_S / 3) * seconds)
    warming = round_up(samples / 4)  # every process has compiled, and has been used, before the first counted execution
    consume(pipeline(placement, config, seed, warming), warming)
    dataset = pipeline(placement, config, seed, samples)
    rates, bare = [], []
    for _ in range(rounds):
        bare.append(bare_rate(placement, config, seed, BARE_S))
        begun = time.perf_counter()
        consume(dataset, samples)
        rates.append(samples / (time.perf_counter() - begun))
        bare.append(bare_rate(placement, config, seed, BARE_S))
    return PipelineRate(
        samples=samples, subgraphs_per_s=statistics.median(rates), bare_subgraphs_per_s=statistics.median(bare)
    )


def pipeline(placement: Placement, config: HGSamplingConfig, seed: int, samples: int) -> ray.data.Dataset:
    """Returns the pipeline that feeds a run of one worker."""
    sampler = placement.sampling(config, seed)
    plan = StepPlan(samples_per_step=1, workers=1, samples_per_epoch=sampler.samples_per_epoch)
    dataset = sampled_dataset(placement, config, seed, plan, first_step=0, max_steps=samples, samplers=SAMPLERS)
    dataset.context.execution_options = in_order()
    return dataset


def consume(dataset: ray.data.Dataset, samples: int) -> None:
    """Takes every block of one execution, as a worker does.

    Raises:
        RuntimeError: Not all samples came, or not in order.
    """
    steps = []
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):  # type: ignore[arg-type]
        assert isinstance(block, pa.Table)
        steps.append(block.column("step").to_numpy())
    if not np.array_equal(np.concatenate(steps), np.arange(samples)):
        raise RuntimeError(f"expected samples 0 to {samples - 1} in order, got {sum(map(len, steps))} samples")


def bare_rate(placement: Placement, config: HGSamplingConfig, seed: int, seconds: float) -> float:
    """Returns subgraphs per second of two processes or of two threads, whichever is better; each runs for `seconds`."""
    remote = ray.remote(_rate)
    by_processes = sum(ray.get([remote.remote(placement, config, seed, seconds) for _ in range(SAMPLERS)]))
    with ThreadPoolExecutor(SAMPLERS) as threads:
        by_threads = sum(threads.map(lambda _: _rate(placement, config, seed, seconds), range(SAMPLERS)))
    return max(by_processes, by_threads)


def round_up(samples: float) -> int:
    """Rounds up to whole calls."""
    return -int(-samples // PER_CALL) * PER_CALL


def _rate(placement: Placement, config: HGSamplingConfig, seed: int, seconds: float) -> float:
    sampler = placement.sampling(config, seed)
    sampler.sample(0, [0])  # compiles, and finds the eligible seeds
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        sampler.sample(0, numbers(sampler, count, PER_CALL))
        count += PER_CALL
    return count / (time.perf_counter() - begun)
