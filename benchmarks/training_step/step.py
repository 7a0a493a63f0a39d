"""Pretraining and fine-tuning steps against the plain step (plain_model.py, plain_step.py) on the same samples, one core.

    python benchmarks/training_step/step.py [--data ../shared/data] [--quick] [--json]

Times are medians of interleaved repetitions in one process on one thread; the samples are drawn before and none is seen twice; both sides gather
their cells from memory, corrupt, and update with Adam. The FLOPs needed (step_flops.py) are set against the rate of a 256 x 128 x 128 product
measured between the repetitions. The process starts again with the environment
of our workers (distributed/training/allocator.py), which serves both sides. Peak memory is that of a process of its own per side, without that
environment, above what it held before the step. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_model import copy_weights, gradient_difference
from plain_step import PlainPretraining
from step_flops import step_flops
from step_sides import (
    CURSOR,
    Ours,
    Plain,
    finetuning_sides,
    finetuning_step,
    optimizer_of,
    paper_config,
    samples_of,
    task_batch,
)

from distributed.training import allocator
from rdl_core.batches.pretraining_batch import collate
from rdl_core.config import RowsKind
from rdl_core.contrast import LEVELS
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.pretraining.model import PretrainingModel

LIMIT_MS = 330.0
"""A plain ResNet step slower than this voids the run: the machine is busy, or the plain step a straw man."""


def product_rate() -> float:
    """FLOP/s of a 256 x 128 x 128 product by torch.mm."""
    a, w = torch.randn(256, 128), torch.randn(128, 128)
    return 2 * 256 * 128 * 128 / median_seconds(lambda: a @ w.T, 50)


def median_seconds(run: Callable[[], Any], repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def median_parts(parts: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(1e3 * float(np.median([p[name] for p in parts])), 2) for name in parts[0]}


def pretraining(store: Store, rows: RowsKind, repetitions: int) -> dict[str, Any]:
    """Steps/s, ratio and share of the FLOP limit."""
    config, warm = paper_config(rows), max(20, repetitions)
    samples = samples_of(store, config, warm + repetitions)
    ours, plain = Ours(store, config), Plain(store, config)
    for subgraph in samples[:warm]:
        ours.step(subgraph)
    for subgraph in samples[:3]:
        plain.step(subgraph)
    times: dict[str, list[float]] = {"ours": [], "plain": [], "rate": []}
    parts: dict[str, list] = {"ours": [], "plain": []}
    for subgraph in samples[warm:]:
        times["ours"].append(median_seconds(lambda s=subgraph: ours.step(s), 1))  # type: ignore[misc]
        times["plain"].append(median_seconds(lambda s=subgraph: plain.step(s), 1))  # type: ignore[misc]
        parts["ours"].append(ours.parts(subgraph))
        parts["plain"].append(plain.parts(subgraph))
        times["rate"].append(product_rate())
    flops = [step_flops(store, config, s) for s in samples[warm:]]
    needed = {name: float(np.mean([f[name] for f in flops])) for name in flops[0]}
    seconds = {side: float(np.median(times[side])) for side in ("ours", "plain")}
    rate = float(np.median(times["rate"]))
    share = [sum(f.values()) / r / s for f, r, s in zip(flops, times["rate"], times["ours"], strict=True)]
    print(
        f"\npretraining, {rows} rows: ours {1e3 * seconds['ours']:.1f} ms, plain {1e3 * seconds['plain']:.1f} ms a step"
    )
    print(f"  parts of ours {median_parts(parts['ours'])} ms")
    print(f"  parts of plain {median_parts(parts['plain'])} ms")
    print(f"  needed {sum(needed.values()) / 1e9:.2f} GFLOP { ({k: round(v / 1e9, 3) for k, v in needed.items()}) }")
    print(f"  product {rate / 1e9:.0f} GFLOP/s, so the limit is {1e3 * sum(needed.values()) / rate:.1f} ms")
    if rows == "resnet" and 1e3 * seconds["plain"] > LIMIT_MS:
        print(f"  VOID: the plain step took more than {LIMIT_MS:.0f} ms; the machine is not quiet")
    return {
        "steps_per_s": round(1 / seconds["ours"], 2),
        "ratio": round(float(np.median(np.divide(times["plain"], times["ours"]))), 2),
        "flop_share": round(float(np.median(share)), 3),
        "parts_ms": median_parts(parts["ours"]),
        "plain_ms": round(1e3 * seconds["plain"], 1),
    }


def differences(store: Store, rows: RowsKind) -> dict[str, float]:
    """Largest difference of rows after message passing and of gradients, float64, same weights and cells, no dropout."""
    config = paper_config(rows, dropout=0.0)
    (subgraph,) = samples_of(store, config, 1)
    torch.manual_seed(0)
    ours = PretrainingModel(store, config).double()
    plain = PlainPretraining(store, config, ours.loss).double()
    copy_weights(plain.model, ours.encoder)
    batch = collate([subgraph], [CURSOR], store.graph, store.features, config.corruption, seed=0, loss=config.loss)
    totals, counts, clean = ours(batch)
    torch.stack([totals[level] / counts[level] for level in LEVELS]).sum().backward()
    of_losses = {n: p.grad.clone() for n, p in ours.loss.named_parameters() if p.grad is not None}
    ours.loss.zero_grad()
    halves = [
        {t: f[torch.arange(v * n, (v + 1) * n)] for t, f in batch.frames.items() for n in [f.num_rows // 2]}
        for v in (0, 1)
    ]
    h, corrupted = (plain.encode(frames, subgraph) for frames in halves)
    plain.loss(h, corrupted, subgraph, batch.rank).backward()
    gradients = [
        float((of_losses[n] - p.grad).abs().max()) for n, p in ours.loss.named_parameters() if p.grad is not None
    ]
    return {
        "forward": max(float((h[t] - clean[t]).detach().abs().max()) for t in h),
        "gradient": max(gradient_difference(plain.model, ours.encoder), *gradients),
    }


def finetuning(store: Store, data: Path, rows: RowsKind, repetitions: int) -> dict[str, Any]:
    """Seeds/s and ratio on the same trees."""
    sides = finetuning_sides(store, rows)
    optimizers = {side: optimizer_of(side, model) for side, model in sides.items()}
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for i in range(repetitions + 1):
        batch = task_batch(store, data, "driver-position", i)
        for side, model in sides.items():
            step = lambda: finetuning_step(model, optimizers[side], batch)  # noqa: B023, E731
            times[side].append(median_seconds(step, 1))
    seconds = {side: float(np.median(t[1:])) for side, t in times.items()}
    print(f"\nfine-tuning, {rows} rows, 512 seeds, {sum(map(len, batch.index.values()))} nodes:", end=" ")
    print(f"ours {1e3 * seconds['ours']:.0f} ms, plain {1e3 * seconds['plain']:.0f} ms a step")
    ratio = float(np.median(np.divide(times["plain"][1:], times["ours"][1:])))
    return {"seeds_per_s": round(512 / seconds["ours"], 1), "ratio": round(ratio, 2)}


def peak_bytes(what: str, side: str, data: Path, store: Store) -> int:
    """Peak memory of two steps above what the process held before, measured in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--data",
        str(data.parent),
        "--store",
        str(store.path.parent),
        "--peak",
        what,
        side,
    ]
    plain = {k: v for k, v in os.environ.items() if k not in allocator.ENVIRONMENT}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=plain).stdout.splitlines()[-1])


def measure_peak(store: Store, data: Path, what: str, side: str) -> int:
    """The child's part of `peak_bytes`; Linux only."""
    kind, rows = what.split(":")
    if kind == "finetune":
        model = finetuning_sides(store, rows)[side]  # type: ignore[arg-type]
        optimizer, batch = optimizer_of(side, model), task_batch(store, data, "driver-position", 0)
        step = lambda: finetuning_step(model, optimizer, batch)  # noqa: E731
    else:
        config = paper_config(rows)  # type: ignore[arg-type]
        sizes = replace(config.sampling, seeds_per_sample=1024, rows_per_hop=1024)
        config = replace(config, sampling=sizes)
        (subgraph,) = samples_of(store, config, 1)
        small = samples_of(store, paper_config(rows), 1)[0]  # type: ignore[arg-type]
        runner = (Ours if side == "ours" else Plain)(store, config)
        runner.step(small)  # weights, gradients and moments are there
        step = lambda: runner.step(subgraph)  # noqa: E731
    before = memory_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    for _ in range(2):
        step()
    return memory_bytes("VmHWM") - before


def memory_bytes(field: str) -> int:
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field + ":")]
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--store", type=Path, help="where its store is kept; by default a temporary folder")
    parser.add_argument("--quick", action="store_true", help="a third of the repetitions")
    parser.add_argument("--json", action="store_true", help="the JSON line alone; the table goes to the error stream")
    parser.add_argument("--peak", nargs=2, metavar=("WHAT", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.peak and any(os.environ.get(k) != v for k, v in allocator.ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | allocator.ENVIRONMENT)
    torch.set_num_threads(1)
    data = arguments.data / "rel-f1"
    with tempfile.TemporaryDirectory() as folder:
        store = materialize(open_dataset(data), arguments.store or Path(folder))
        if arguments.peak:
            print(measure_peak(store, data, *arguments.peak))
            return
        with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
            result = run(store, data, 10 if arguments.quick else 30, 2 if arguments.quick else 5)
        print(json.dumps(result))


def run(store: Store, data: Path, steps: int, finetuning_steps: int) -> dict[str, Any]:
    """All figures, printed and as the JSON line has them."""
    print(f"torch {torch.__version__}, one thread of {torch.get_num_threads()}")
    result: dict[str, Any] = {rows: pretraining(store, rows, steps) for rows in ("resnet", "linear")}
    tuned = {rows: finetuning(store, data, rows, finetuning_steps) for rows in ("resnet", "linear")}
    peaks = {
        what: {side: peak_bytes(what, side, data, store) for side in ("ours", "plain")}
        for what in ("finetune:resnet", "finetune:linear", "batch_1024:resnet", "batch_1024:linear")
    }
    for what, of_side in peaks.items():
        print(f"peak memory, {what}: ours {of_side['ours'] / 1e6:.0f} MB, plain {of_side['plain'] / 1e6:.0f} MB")
    ratio = {what: round(of_side["ours"] / of_side["plain"], 3) for what, of_side in peaks.items()}
    result["finetune"] = tuned["resnet"] | {"memory_ratio": ratio["finetune:resnet"]}
    result["finetune_linear"] = tuned["linear"] | {"memory_ratio": ratio["finetune:linear"]}
    result["memory_ratio_1024"] = ratio["batch_1024:resnet"]
    result["memory_ratio_1024_linear"] = ratio["batch_1024:linear"]
    both = [differences(store, rows) for rows in ("resnet", "linear")]
    result["max_abs_diff"] = {name: max(d[name] for d in both) for name in ("forward", "gradient")}
    return result


if __name__ == "__main__":
    main()
