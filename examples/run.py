"""`make run`: the whole way on the embedded shop, from a SQL database to fine-tuned models, on this machine.

    SQLite -> import -> materialize -> pretrain (Ray Data -> Ray Train) -> 2 tasks x 3 arms -> one table

Leaves runs/example/result.json and, beside it, the checkpoint, curves.png, schema.png and the W&B offline run. Starts afresh at each call.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.cluster.session import start_ray
from distributed.commands.report import ARMS, draw_curves, draw_schema, level_losses, show_results, show_store
from distributed.console import bar, say
from distributed.importing import ImportConfig
from distributed.importing.importer import import_database
from distributed.runs.folder import write_json
from distributed.runs.tracking import TrackingConfig, run_id
from distributed.storage.materialize import materialize_in_parallel
from distributed.training.finetune import FinetuneJob, run_side_by_side
from distributed.training.trainer import pretrain
from examples.shop import TASKS, TEST_TIMESTAMP, VAL_TIMESTAMP, write_shop
from rdl_core.config import FinetuningConfig, StoreConfig, TemporalSamplingConfig, robust
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.store import Store
from rdl_core.tasks.finetuning_result import FinetuningResult

TASK_NAMES = ("customer-churn", "customer-spend")
WORKERS, SAMPLERS = 2, 1
# Three layers: what a customer bought (customer, order, order line, product) is three keys away.
BACKBONE = dataclasses.replace(robust().pretraining.backbone, num_layers=3)
FINETUNING = dataclasses.replace(
    robust().finetuning,
    sampling=TemporalSamplingConfig(num_neighbors=(12, 6, 6), strategy="recent"),
    batch_size=256,
    validation_interval_steps=10,
)


def main() -> None:
    """Runs everything and prints where things lie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/example"), help="folder to write (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="pretraining updates (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="fine-tuning seeds per arm (default: %(default)s)")
    parser.add_argument("--fine-tuning-steps", type=int, default=150, help="at most, per run (default: %(default)s)")
    options = parser.parse_args()
    begun = time.perf_counter()
    shutil.rmtree(options.out, ignore_errors=True)
    data = make_database(options.out)
    start_ray(WORKERS, SAMPLERS)
    store = materialize_in_parallel(open_dataset(data), options.out / "stores", StoreConfig())
    show_store(store)
    draw_schema(store, options.out / "schema.png")
    pretraining = dataclasses.replace(
        robust().pretraining,
        backbone=BACKBONE,
        max_steps=options.steps,
        samples_per_step=WORKERS,
        validation_samples=10,
    )
    tracking = TrackingConfig(directory=str(options.out.resolve()), run_id=run_id(options.out), name="example")
    done = pretrain(store, pretraining, options.out, workers=WORKERS, samplers=SAMPLERS, tracking=tracking)
    curves = draw_curves(done.state, options.out / "curves.png")
    finetuning = dataclasses.replace(FINETUNING, max_steps=options.fine_tuning_steps)
    results = fine_tune(data, store, done.checkpoint, finetuning, range(options.seeds))
    show_results(results)
    result: dict[str, Any] = {
        "seconds": round(time.perf_counter() - begun, 1),
        "tasks": summary(results),
        "losses": level_losses(done.state),
        "effective_rank": done.state.last["effective_rank"],
        "checkpoint": str(done.checkpoint),
        "curves": str(curves),
        "wandb_dir": str(options.out / "wandb"),
    }
    write_json(options.out / "result.json", result)
    losses = ", ".join(f"{level} {first:.2f} → {last:.2f}" for level, (first, last) in result["losses"].items())
    say(f"pretraining, validation loss relative to chance: {losses}")
    for name in ("checkpoint", "curves", "wandb_dir"):
        say(f"{name:<10} {os.path.relpath(result[name])}")
    say(f"{'result':<10} {options.out / 'result.json'}   ({result['seconds']:.0f} s)")


def make_database(out: Path) -> Path:
    """The shop as SQLite, imported into a RelBench-3 folder."""
    out.mkdir(parents=True)
    database = write_shop(out / "shop.db")
    say(f"made a shop in SQLite: {database}")
    dataset = out / "shop"
    config = ImportConfig(
        source=f"sqlite:///{database}",
        out=dataset,
        name="shop",
        val_timestamp=VAL_TIMESTAMP,
        test_timestamp=TEST_TIMESTAMP,
        tasks=TASKS,
    )
    import_database(config, progress=say)
    return dataset


def fine_tune(
    data: Path, store: Store, checkpoint: Path, config: FinetuningConfig, seeds: Sequence[int]
) -> list[FinetuningResult]:
    """Both tasks in the three arms, one run a core at a time."""
    jobs = [
        FinetuneJob(
            data=str(data.resolve()),
            store_path=str(store.path.resolve()),
            task=task,
            arm=arm,  # type: ignore[arg-type]
            regime="rolling",
            config=dataclasses.replace(config, seed=seed),
            checkpoint=None if arm == "scratch" else str(checkpoint.resolve()),
            backbone=BACKBONE,
        )
        for seed in seeds
        for task in TASK_NAMES
        for arm in ARMS
    ]
    results: dict[int, FinetuningResult] = {}
    with bar() as progress:
        shown = progress.add_task("fine-tuning", total=len(jobs), text="")
        for number, result in run_side_by_side(jobs):
            results[number] = result
            progress.update(shown, advance=1, text=f"{result.task} {result.arm}: val {result.val:.4f}")
    return [results[i] for i in range(len(jobs))]


def summary(results: Sequence[FinetuningResult]) -> dict[str, Any]:
    """{task: {"metric", arm: {"val", "test"}}}, means over seeds."""
    tasks: dict[str, Any] = {}
    for result in results:
        tasks.setdefault(result.task, {"metric": result.metric})
    for task, entry in tasks.items():
        for arm in ARMS:
            mine = [r for r in results if (r.task, r.arm) == (task, arm)]
            entry[arm] = {split: statistics.mean(getattr(r, split) for r in mine) for split in ("val", "test")}
            entry[arm]["seconds"] = statistics.mean(r.seconds for r in mine)
    return tasks


if __name__ == "__main__":
    main()
