"""The prediction of throughput against nodes, worked by hand where it can be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.workers.scale_model import Cluster, Measured, measure, predict, ring_s, sample_rates
from rdl_core.graph.store import Store

MEASURED = Measured(
    step_s=(1.0, 3.0), samples_per_rank=4, sample_s=0.001, subgraph_bytes=10_000.0, gradient_bytes=100_000_000
)
FAST = Cluster(nodes=1, bandwidth_bytes_per_s=1e15, latency_s=0.0)


def test_one_worker_does_what_was_measured() -> None:
    found = predict(MEASURED, FAST, steps=20_000)
    assert found.steps_per_s == pytest.approx(1 / 2, rel=0.02)
    assert found.samples_per_s == pytest.approx(4 / 2, rel=0.02)
    assert (found.collective_share, found.useful_share, found.bound) == (0.0, 1.0, "workers")
    assert predict(MEASURED, dataclasses.replace(FAST, speedup=10.0), steps=20_000).steps_per_s == pytest.approx(
        5, rel=0.02
    )


def test_a_step_waits_for_the_slowest_rank() -> None:
    two = predict(MEASURED, dataclasses.replace(FAST, nodes=2), steps=50_000)
    assert 1 / two.steps_per_s == pytest.approx(0.25 * 1 + 0.75 * 3, rel=0.01)  # the larger of two throws of 1 or 3
    assert two.straggler_share == pytest.approx(0.5 / 2.5, abs=0.01)
    assert two.efficiency == pytest.approx(2.0 / 2.5, rel=0.01)


def test_gradients_go_round_a_ring() -> None:
    cluster = Cluster(nodes=4, workers=2, bandwidth_bytes_per_s=1e9, latency_s=0.001)
    assert ring_s(100_000_000, cluster) == pytest.approx(2 * 7 / 8 * 0.1 + 2 * 2 * 7 * 0.001)
    assert ring_s(100_000_000, Cluster(nodes=1)) == 0.0
    even = dataclasses.replace(MEASURED, step_s=(2.0,))
    found = predict(even, cluster)
    assert 1 / found.steps_per_s == pytest.approx(2.0 + 0.175 + 0.028)
    assert found.collective_share == pytest.approx(0.203 / 2.203)


@pytest.mark.parametrize(
    ("change", "bound", "rate"),
    [
        ({"ray_share": 0.001}, "samplers", 0.001 * 3 / 0.001),
        ({"blocks_per_s": 0.01, "block_samples": 500}, "driver", 5.0),
        ({"bandwidth_bytes_per_s": 1e4}, "link", 3.0),
    ],
)
def test_too_few_samples_set_the_pace(change: dict[str, float], bound: str, rate: float) -> None:
    cluster = dataclasses.replace(FAST, nodes=3, **change)  # type: ignore[arg-type]
    measured = dataclasses.replace(MEASURED, step_s=(0.01,), gradient_bytes=0)
    assert sample_rates(measured, cluster)[bound] == pytest.approx(rate)
    found = predict(measured, cluster)
    assert (found.bound, found.samples_per_s) == (bound, pytest.approx(rate))


def test_failures_cost_the_restart_and_half_an_interval() -> None:
    cluster = dataclasses.replace(
        FAST, nodes=60, failures_per_node_h=0.1, restart_s=60.0, checkpoint_interval_s=120.0
    )  # one failure in 600 s, which costs 120 s
    assert predict(MEASURED, cluster).useful_share == pytest.approx(600 / 720)


def test_processes_that_share_cores_slow_each_other() -> None:
    even = dataclasses.replace(MEASURED, step_s=(2.0,), sample_s=0.1)  # 12 samples a step are 1.2 s of a sampler's core
    crowded = predict(even, dataclasses.replace(FAST, workers=3, samplers=1, cores=2, ray_share=1.0))
    assert crowded.steps_per_s == pytest.approx(1 / (2.0 * (3 + 0.6) / 2))
    assert predict(even, dataclasses.replace(FAST, workers=3, cores=4)).steps_per_s == pytest.approx(1 / 2)


def test_what_is_measured_is_a_step_of_a_real_store(f1_store: Store) -> None:
    found = measure(f1_store, samples_per_rank=1, steps=3, warm_up=1)
    assert len(found.step_s) == 3
    assert all(0 < s < 60 for s in found.step_s)
    assert 0 < found.sample_s < np.mean(found.step_s)  # what one sampler makes is more than one worker takes
    assert 2_000 < found.subgraph_bytes < 100_000
    assert found.gradient_bytes > 1_000_000
