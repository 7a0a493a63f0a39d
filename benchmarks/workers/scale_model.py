"""Throughput against nodes, predicted: `python benchmarks/workers/scale_model.py --data rel-retail`.

Measures on this machine what one worker and one sampler do, then simulates synchronous data-parallel steps on more nodes than are here. Assumptions:

- every rank does as many samples a step, in a time drawn from the measured ones, independently of the others; a step waits for the slowest rank;
- gradients are averaged by a ring: 2 (W - 1) / W times their bytes over a node's link, and 2 (W - 1) hops of latency; nothing of it is hidden behind
  the backward pass (DDP hides some); SMALL_COLLECTIVES more that are only latency;
- samples come at the least of three rates: samplers' cores, the driver that deals the blocks, a node's link; while it is above what the workers use,
  they do not wait;
- a worker keeps a core busy and samplers as much of theirs as the steps need; where a node has fewer cores, all slow down alike;
- node failures are independent and exponential; each costs the restart and half a checkpoint interval;
- validation is left out: it is dealt to all workers, so its share stays the same.

What it does not know: memory bandwidth shared by workers of a node, noise of shared networks, a store that does not fit the page cache.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, this folder is the first of the path

from benchmarks.timing import conditions  # noqa: E402
from distributed.console import console  # noqa: E402
from distributed.runs.folder import resolve_data  # noqa: E402
from rdl_core.batches.pretraining_batch import collate  # noqa: E402
from rdl_core.batches.row_source import mapped_rows  # noqa: E402
from rdl_core.communicator import SingleProcess  # noqa: E402
from rdl_core.config import robust  # noqa: E402
from rdl_core.database.dataset import open_dataset  # noqa: E402
from rdl_core.graph.materialization import materialize  # noqa: E402
from rdl_core.graph.store import Store  # noqa: E402
from rdl_core.optimizer import make_optimizer  # noqa: E402
from rdl_core.pretraining.loop import local_sampler, local_steps, train_step  # noqa: E402
from rdl_core.pretraining.model import PretrainingModel  # noqa: E402

SMALL_COLLECTIVES = 1
"""Of a step, besides the gradients: counts, totals and rows together (`train_step`)."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one core does.

    Args:
        step_s: Seconds of each of some steps of one worker, sampling left out.
        samples_per_rank: In such a step.
        sample_s: Seconds of one subgraph on one core.
        subgraph_bytes: Packed, on its way to a worker.
        gradient_bytes: Of all parameters.
    """

    step_s: tuple[float, ...]
    samples_per_rank: int
    sample_s: float
    subgraph_bytes: float
    gradient_bytes: int


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What it would run on.

    Args:
        nodes: All alike.
        workers, samplers, cores: Of a node.
        speedup: How many times as fast as the measured core a worker's device does a step.
        bandwidth_bytes_per_s, latency_s: Of a node's link; workers of one node share it.
        ray_share: Of a sampler's bare rate that is left through Ray Data.
        blocks_per_s: That Ray Data's driver deals, block_samples each; 7 is what it did for two samplers of rel-f1, its limit is not known.
        failures_per_node_h: Of spot instances.
        restart_s: From a failure to the next step, detection and reload included.
        checkpoint_interval_s: Half of it is done again after a failure.
    """

    nodes: int
    workers: int = 1
    samplers: int = 1
    cores: float = 8.0
    speedup: float = 1.0
    bandwidth_bytes_per_s: float = 1.25e9
    latency_s: float = 50e-6
    ray_share: float = 0.8
    blocks_per_s: float = 7.0
    block_samples: int = 600
    failures_per_node_h: float = 0.0
    restart_s: float = 45.0
    checkpoint_interval_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Of a cluster.

    Args:
        steps_per_s: While nothing fails.
        samples_per_s: All workers together, with failures.
        efficiency: samples_per_s over those of as many workers each alone on a node like this.
        collective_share: Of a step, for averaging gradients.
        straggler_share: Of a step, for waiting on the slowest rank.
        useful_share: Of the time, after failures.
        bound: What sets the pace: "workers", or "samplers", "driver", "link" that deliver too few samples.
    """

    steps_per_s: float
    samples_per_s: float
    efficiency: float
    collective_share: float
    straggler_share: float
    useful_share: float
    bound: str


def predict(measured: Measured, cluster: Cluster, *, steps: int = 2000, seed: int = 0) -> Prediction:
    """Simulates `steps` steps."""
    world_size = cluster.nodes * cluster.workers
    alone_s = np.array(measured.step_s) / cluster.speedup
    sampling = (
        cluster.workers * measured.samples_per_rank * measured.sample_s / cluster.ray_share / float(alone_s.mean())
    )
    slowdown = max(1.0, (cluster.workers + min(sampling, cluster.samplers)) / cluster.cores)
    alone_s *= slowdown
    slowest_s = np.random.default_rng(seed).choice(alone_s, size=(steps, world_size)).max(axis=1)
    collective_s = ring_s(measured.gradient_bytes, cluster)
    step_s = float(slowest_s.mean()) + collective_s
    rates = sample_rates(measured, cluster, slowdown)
    used = measured.samples_per_rank * world_size / step_s
    bound = min(rates, key=rates.__getitem__)
    delivered = min(used, rates[bound])
    failures_per_s = cluster.nodes * cluster.failures_per_node_h / 3600
    useful = 1 / (1 + failures_per_s * (cluster.restart_s + cluster.checkpoint_interval_s / 2))
    alone = world_size * measured.samples_per_rank / float(alone_s.mean())
    return Prediction(
        steps_per_s=delivered / (measured.samples_per_rank * world_size), samples_per_s=delivered * useful,
        efficiency=delivered * useful / alone, collective_share=collective_s / step_s,
        straggler_share=(float(slowest_s.mean()) - float(alone_s.mean())) / step_s, useful_share=useful,
        bound="workers" if used <= rates[bound] else bound,
    )  # fmt: skip


def ring_s(num_bytes: int, cluster: Cluster) -> float:
    """Seconds to average so many bytes over all workers, and of the small collectives of a step."""
    world_size = cluster.nodes * cluster.workers
    if world_size == 1:
        return 0.0
    hops_s = 2 * (world_size - 1) * cluster.latency_s
    # A node's link carries the ring's traffic once in each direction, however many of its workers the ring passes.
    return (
        2 * (world_size - 1) / world_size * num_bytes / cluster.bandwidth_bytes_per_s + (1 + SMALL_COLLECTIVES) * hops_s
    )


def sample_rates(measured: Measured, cluster: Cluster, slowdown: float = 1.0) -> dict[str, float]:
    """Samples a second that each part of the way could deliver."""
    samplers = cluster.nodes * cluster.samplers
    return {
        "samplers": samplers * cluster.ray_share / (measured.sample_s * slowdown),
        "driver": cluster.blocks_per_s * cluster.block_samples,
        "link": cluster.nodes * cluster.bandwidth_bytes_per_s / measured.subgraph_bytes,
    }


def measure(store: Store, *, samples_per_rank: int = 4, steps: int = 40, warm_up: int = 5) -> Measured:
    """One worker and one sampler on one core of this machine, in CPU seconds, so that other load counts little."""
    config = dataclasses.replace(robust().pretraining, samples_per_step=samples_per_rank, max_steps=steps + warm_up)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = PretrainingModel(store, config)
    optimizer, rows = make_optimizer(model, config.learning_rate), mapped_rows(store)
    sampler = local_sampler(store, config, config.seed)
    step_s: list[float] = []
    sample_s: list[float] = []
    num_bytes: list[int] = []
    begun_s = time.process_time()
    for subgraphs, cursors in local_steps(sampler, config):
        sampled_s = time.process_time()
        batch = collate(subgraphs, cursors, *rows(subgraphs), config.corruption, seed=config.seed)
        train_step(model, batch, optimizer, SingleProcess(), config.gradient_clip_norm)
        step_s.append(time.process_time() - sampled_s)
        sample_s.append((sampled_s - begun_s) / samples_per_rank)
        num_bytes += [subgraph.buffer.nbytes for subgraph in subgraphs]
        begun_s = time.process_time()
    return Measured(
        step_s=tuple(step_s[warm_up:]), samples_per_rank=samples_per_rank, sample_s=float(np.median(sample_s[warm_up:])),
        subgraph_bytes=float(np.mean(num_bytes)), gradient_bytes=sum(4 * p.numel() for p in model.parameters()),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """Throughput against nodes, predicted from what one core does here."""

    data: str = "rel-retail"
    """A RelBench folder, or a name below RDL_DATA or ../shared/data."""
    nodes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """To predict."""
    samples_per_rank: int = 4
    """Of a step."""
    steps: int = 40
    """To measure."""
    shared_cores: float | None = None
    """Cores that all nodes share, of hosts in namespaces of one machine. Default: each node has the cluster's cores."""
    cluster: Cluster = dataclasses.field(default_factory=lambda: Cluster(nodes=1))
    """Of each number of nodes; its own is not used."""
    json: bool = False
    """End with one line of JSON on stdout."""


def main(options: Options) -> dict[str, Any]:
    """Measures, prints the table, returns what --json prints."""
    said = conditions()
    with tempfile.TemporaryDirectory() as folder:
        store = materialize(open_dataset(resolve_data(options.data)), Path(folder))
        measured = measure(store, samples_per_rank=options.samples_per_rank, steps=options.steps)
    found = {}
    for nodes in options.nodes:
        cores = options.cluster.cores if options.shared_cores is None else options.shared_cores / nodes
        found[nodes] = predict(measured, dataclasses.replace(options.cluster, nodes=nodes, cores=cores))
    step_s = np.array(measured.step_s)
    console.print(
        f"one core: a step of {measured.samples_per_rank} samples {step_s.mean():.3f} CPU s (± {step_s.std() / step_s.mean():.0%}), "
        f"a subgraph {1e3 * measured.sample_s:.2f} ms, {measured.subgraph_bytes:,.0f} bytes; gradients {measured.gradient_bytes / 1e6:.1f} MB\n{said}"
    )  # fmt: skip
    console.print(_table(found))
    about = dataclasses.asdict(measured) | {
        "step_s": float(step_s.mean()),
        "step_cv": float(step_s.std() / step_s.mean()),
    }
    return {"measured": about, "predicted": {n: dataclasses.asdict(p) for n, p in found.items()}, "conditions": said}


def _table(found: dict[int, Prediction]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name in ("nodes", "steps/s", "samples/s", "efficiency", "averaging", "stragglers", "useful", "bound by"):
        table.add_column(name, justify="right")
    for nodes, p in found.items():
        shares = (p.efficiency, p.collective_share, p.straggler_share, p.useful_share)
        table.add_row(
            str(nodes), f"{p.steps_per_s:.2f}", f"{p.samples_per_s:,.0f}", *(f"{s:.1%}" for s in shares), p.bound
        )
    return table


if __name__ == "__main__":
    chosen = tyro.cli(Options)
    result = main(chosen)
    if chosen.json:
        print(json.dumps(result))
