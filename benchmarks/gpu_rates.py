"""Rates of training steps and samplers on one device; what benchmarks/gpu.py prints once its checks hold.

A step is measured twice: alone, on batches that lie on the device already (both sides, ours and RelBench's modules), and *fed*, as `fit` does
it: samples are drawn, collated and copied on a thread while the step before runs. Each step is waited for, so a rate is what a user gets.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_inputs import batch_of, subgraphs_of, task_batch
from benchmarks.gpu_peer import PeerFinetuning, PeerPretraining
from rdl_core.communicator import SingleProcess
from rdl_core.config import PretrainingConfig, paper
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining.here import local_sampler
from rdl_core.pretraining.loop import train_step
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.prefetch import made_of
from rdl_core.tasks.model import TaskModel

Precision = Literal["float32", "bfloat16"]
PROFILED_STEPS = 3
WARM_STEPS = 3
TASK_SEEDS, TASK_NEIGHBORS = 512, (128, 64)
SAMPLER_THREADS = (1, 2, 4, 8, 16)


def pretraining_rates(
    store: Store, device: torch.device, sizes: Sequence[int], repetitions: int, with_compiled: bool
) -> list[dict[str, Any]]:
    """Returns one row per number of samples per step, precision, and compiled or not, each beside RelBench's modules; prints it."""
    rows = []
    for size in sizes:
        peer = _peer_step(store, device, size, repetitions)
        for precision, is_compiled in (("float32", False), ("bfloat16", False), ("float32", True)):
            if is_compiled and (not with_compiled or size != sizes[len(sizes) // 2]):
                continue  # compiling takes minutes: one size shows what it buys
            row = _pretraining_row(store, device, size, precision, is_compiled, repetitions)  # type: ignore[arg-type]
            row["times_relbench"] = round(peer["step_s"] / row["step_s"], 2)
            row["relbench_peak_bytes"] = peer["peak_bytes"]
            rows.append(row)
            print(_line("pretraining", row), flush=True)
    return rows


def _pretraining_row(
    store: Store, device: torch.device, size: int, precision: Precision, is_compiled: bool, repetitions: int
) -> dict[str, Any]:
    config = replace(paper().pretraining, samples_per_step=size, precision=precision, compile=is_compiled)
    torch.manual_seed(0)
    model = PretrainingModel(store, config).to(device).train()
    optimizer = make_optimizer(model, config.learning_rate)
    number = WARM_STEPS + repetitions + PROFILED_STEPS
    subgraphs = subgraphs_of(store, config, range(size * number))
    batches = [
        batch_of(store, config, subgraphs[i * size : (i + 1) * size], range(i * size, (i + 1) * size)).to(device)
        for i in range(number)
    ]
    begun = time.perf_counter()
    row = _measured(lambda batch: train_step(model, batch, optimizer, SingleProcess()), batches, device)
    row |= {"samples_per_step": size, "precision": precision, "compiled": is_compiled}
    if is_compiled:
        row["seconds_with_compilation"] = round(time.perf_counter() - begun, 1)
    else:
        row["fed_steps_per_s"] = round(_fed_rate(store, config, device, model, optimizer, repetitions), 2)
    return row | {"steps_per_s": round(1 / row["step_s"], 2), "samples_per_s": round(size / row["step_s"], 1)}


def _fed_rate(
    store: Store,
    config: PretrainingConfig,
    device: torch.device,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    repetitions: int,
) -> float:
    """Returns steps per second with sampling, collation and copies included."""
    sampler, size = local_sampler(store, config, seed=0), config.samples_per_step
    number = WARM_STEPS + repetitions

    def ready(step: int) -> Any:
        samples = range(step * size, (step + 1) * size)
        subgraphs = sampler.sample(0, [s % sampler.samples_per_epoch for s in samples])
        return batch_of(store, config, subgraphs, samples).to(device)

    begun = 0.0
    for step, batch in enumerate(made_of(iter(range(number)), ready, ahead=device.type == "cuda")):
        if step == WARM_STEPS:
            begun = _now_s(device)
        train_step(model, batch, optimizer, SingleProcess())
    return repetitions / (_now_s(device) - begun)


def _peer_step(store: Store, device: torch.device, size: int, repetitions: int) -> dict[str, Any]:
    config = replace(paper().pretraining, samples_per_step=size)
    peer = PeerPretraining(store, config).to(device).train()
    optimizer = torch.optim.Adam(peer.parameters(), lr=config.learning_rate, fused=True)
    number = WARM_STEPS + repetitions
    subgraphs = subgraphs_of(store, config, range(size * number))
    inputs = [
        peer.inputs(batch_of(store, config, group, range(i * size, (i + 1) * size)), group, device)
        for i, group in enumerate(subgraphs[i * size : (i + 1) * size] for i in range(number))
    ]
    row = _measured(lambda one: peer.step(one, optimizer), inputs, device, profiled=0)
    print(f"RelBench's modules, {size} samples per step: {1 / row['step_s']:.2f} steps/s", flush=True)
    return row


def finetuning_rates(store: Store, device: torch.device, repetitions: int) -> list[dict[str, Any]]:
    """Returns seeds/s of the fine-tuning step (512 seeds, 128 and 64 neighbours) beside RelBench's modules; prints them."""
    number = WARM_STEPS + repetitions
    batches = [task_batch(store, TASK_SEEDS, TASK_NEIGHBORS, i).to(device) for i in range(number)]
    config = paper().pretraining.backbone
    sides: dict[str, torch.nn.Module] = {}
    torch.manual_seed(0)
    sides["ours"] = TaskModel(RelationalEncoder(store.schema, store.graph.edge_types, config), 128)
    sides["relbench"] = PeerFinetuning(store, config)
    rows = {}
    for side, model in sides.items():
        model.to(device).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def step(batch: Any, model: torch.nn.Module = model, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad(set_to_none=True)
            model(batch).abs().mean().backward()
            optimizer.step()

        rows[side] = _measured(step, batches, device, profiled=0)
    row = rows["ours"] | {
        "seeds_per_s": round(TASK_SEEDS / rows["ours"]["step_s"], 1),
        "times_relbench": round(rows["relbench"]["step_s"] / rows["ours"]["step_s"], 2),
        "relbench_peak_bytes": rows["relbench"]["peak_bytes"],
    }
    print(_line("fine-tuning", row), flush=True)
    return [row]


def sampler_rates(store: Store, repetitions: int) -> dict[str, float]:
    """Returns samples/s of HGSampling per number of threads; prints them."""
    config = paper().pretraining
    sampler = local_sampler(store, config, seed=0)
    block = 16
    sampler.sample(0, range(block))  # compiles
    rates = {}
    for threads in SAMPLER_THREADS:
        blocks = [
            [k % sampler.samples_per_epoch for k in range(b * block, (b + 1) * block)] for b in range(4 * repetitions)
        ]
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda numbers: sampler.sample(0, numbers), blocks))
        rates[str(threads)] = round(block * len(blocks) / (time.perf_counter() - begun), 1)
    print(f"samplers, samples/s per number of threads: {rates}", flush=True)
    return rates


def _measured(
    step: Callable[[Any], object], batches: Sequence[Any], device: torch.device, profiled: int = PROFILED_STEPS
) -> dict[str, Any]:
    """Returns the median seconds of a step, the peak of the device's memory, and the share of time in which it works."""
    feed: Iterator[Any] = iter(batches)
    for _ in range(WARM_STEPS):
        step(next(feed))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(len(batches) - WARM_STEPS - profiled):
        batch = next(feed)
        begun = _now_s(device)
        step(batch)
        seconds.append(_now_s(device) - begun)
    row: dict[str, Any] = {"step_s": statistics.median(seconds), "peak_bytes": None, "busy_share": None}
    if device.type == "cuda":
        row["peak_bytes"] = torch.cuda.max_memory_allocated(device)
        if profiled:
            row["busy_share"] = round(_busy_share(step, list(feed), device), 3)
    return row


def _busy_share(step: Callable[[Any], object], batches: Sequence[Any], device: torch.device) -> float:
    """Returns the time of all kernels and copies over the time of the steps, whose profiling slows the host a little."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        begun = _now_s(device)
        for batch in batches:
            step(batch)
        seconds = _now_s(device) - begun
    busy_us = sum(
        event.device_time for event in profiled.events() or () if event.device_type == torch.autograd.DeviceType.CUDA
    )
    return min(1.0, 1e-6 * busy_us / seconds)


def _now_s(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _line(what: str, row: dict[str, Any]) -> str:
    shown = {name: value for name, value in row.items() if value is not None and name != "step_s"}
    return f"{what}: {1e3 * row['step_s']:.2f} ms; " + ", ".join(f"{name} {value}" for name, value in shown.items())
