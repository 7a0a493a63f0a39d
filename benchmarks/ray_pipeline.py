"""What Ray Data costs: samples a second through seeds -> map_batches(HGSampler) -> batches, against the bare sampler on the same two cores.

What it costs (Ray 2.60, found by tracing the scheduling loop): the driver waits for *all* running tasks or 100 ms, and a task needs two such
turns, one for its block and one for its end, so a task slot stands still for up to 0.2 s after each block; and for about the first second
of an execution its CPU budget is 0 and one task runs at a time. Hence several task slots a core and blocks of about a tenth of a second.
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

from benchmarks.local import numbers
from distributed.preflight import start_ray
from distributed.sampling import HGSampler, open_sampler
from distributed.seeds import StepPlan, seed_dataset
from rdl_core.hg_sampling import HGSampling, HGSamplingConfig

SAMPLERS, PER_CALL, ROUNDS = 2, 50, 2


@dataclass(frozen=True, kw_only=True)
class PipelineRate:
    """The pipeline beside the bare sampler.

    Args:
        samples: Of one execution.
        subgraphs_per_s: A whole execution in a warm session, its start included.
        bare_subgraphs_per_s: Of two processes or two threads, the better.
    """

    samples: int
    subgraphs_per_s: float
    bare_subgraphs_per_s: float

    @property
    def share_lost(self) -> float:
        return 1 - self.subgraphs_per_s / self.bare_subgraphs_per_s


def pipeline_rate(store_path: str, config: HGSamplingConfig, *, seed: int, seconds: float) -> PipelineRate:
    """Measures both in turns, in a session of its own; the first execution warms up.

    Args:
        store_path: A REG store.
        seconds: About how long the bare sampler takes for an execution's samples.
    """
    start_ray(workers=1, samplers=SAMPLERS)
    samplers = [open_sampler(store_path, config, seed), _another(store_path, config, seed)]
    warm = bare_rate(store_path, samplers, config, seed, seconds=0.2)
    samples = max(PER_CALL, round(warm * seconds / PER_CALL) * PER_CALL)
    pipeline = sample_pipeline(store_path, samplers[0], samples)
    consume(sample_pipeline(store_path, samplers[0], max(PER_CALL, samples // 5)), max(PER_CALL, samples // 5))
    rates: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        bare.append(bare_rate(store_path, samplers, config, seed, seconds=seconds / 4))
        begun = time.perf_counter()
        consume(pipeline, samples)
        rates.append(samples / (time.perf_counter() - begun))
        bare.append(bare_rate(store_path, samplers, config, seed, seconds=seconds / 4))
    return PipelineRate(
        samples=samples, subgraphs_per_s=statistics.median(rates), bare_subgraphs_per_s=statistics.median(bare)
    )


def sample_pipeline(store_path: str, sampler: HGSampling, samples: int) -> ray.data.Dataset:
    """The pipeline of a run of one worker, as `distributed.trainer` makes it, ordered."""
    plan = StepPlan(samples_per_step=1, workers=1, samples_per_epoch=sampler.samples_per_epoch)
    seeds = seed_dataset(plan, sampler, 0, samples)
    seeds.context.execution_options.preserve_order = True
    return seeds.map_batches(
        HGSampler(store_path, sampler.config, sampler.seed),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=SAMPLERS),
    )


def consume(dataset: ray.data.Dataset, samples: int) -> None:
    """Takes every block of one execution, as a worker does.

    Raises:
        RuntimeError: Not all samples came, or not in order.
    """
    steps = []
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
        assert isinstance(block, pa.Table)
        steps.append(block.column("step").to_numpy())
    if not np.array_equal(np.concatenate(steps), np.arange(samples)):
        raise RuntimeError(f"expected samples 0 to {samples - 1} in order, got {sum(map(len, steps))} samples")


def bare_rate(
    store_path: str, samplers: list[HGSampling], config: HGSamplingConfig, seed: int, *, seconds: float
) -> float:
    """Subgraphs a second of two processes or of two threads, the better; each runs so long."""
    remote = ray.remote(_rate_of)
    by_processes = sum(ray.get([remote.remote(store_path, config, seed, seconds) for _ in range(SAMPLERS)]))
    with ThreadPoolExecutor(SAMPLERS) as threads:
        by_threads = sum(threads.map(lambda sampler: _rate(sampler, seconds), samplers))
    return max(by_processes, by_threads)


def _rate_of(store_path: str, config: HGSamplingConfig, seed: int, seconds: float) -> float:
    return _rate(open_sampler(store_path, config, seed), seconds)


def _rate(sampler: HGSampling, seconds: float) -> float:
    sampler.sample(0, [0])  # compiled, and the permutation made
    begun, count = time.perf_counter(), 0
    while time.perf_counter() < begun + seconds:
        sampler.sample(0, numbers(sampler, count, PER_CALL))
        count += PER_CALL
    return count / (time.perf_counter() - begun)


def _another(store_path: str, config: HGSamplingConfig, seed: int) -> HGSampling:
    """A second sampler of the process, for its second thread."""
    sampler = open_sampler(store_path, config, seed)
    return HGSampling(sampler.graph, config, seed=seed, before_s=sampler.before_s)
