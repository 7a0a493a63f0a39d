"""`make run`: the whole way on the embedded shop, from a SQL database to fine-tuned models beside their baselines, on this machine.

    SQLite -> import -> materialize -> pretrain (Ray Data -> Ray Train) -> 2 tasks x 3 arms x (all labels, a twentieth)
                                                                        -> trivial, LightGBM, and the blend with the network -> tables
                                                                        -> predictions for tomorrow

Leaves runs/example/result.json and, beside it, the checkpoint, a model and predictions-TASK.parquet per task, curves.png, labels.png, tomorrow.png,
schema.png and the W&B offline run. Starts afresh at each call.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import ray

from distributed.cluster.session import start_ray
from distributed.commands.column_heads import figures_of, heads_of
from distributed.commands.report import (
    ARMS,
    draw_curves,
    draw_schema,
    level_losses,
    show_heads,
    show_results,
    show_store,
)
from distributed.console import bar, say
from distributed.heads.kept import HeadKeeper
from distributed.importing import ImportConfig
from distributed.importing.importer import import_database
from distributed.runs.folder import write_json
from distributed.runs.tracking import TrackingConfig, run_id
from distributed.storage.materialize import materialize_in_parallel
from distributed.training.finetune import FinetuneJob, run_side_by_side
from distributed.training.trainer import pretrain
from examples.label_picture import draw_label_efficiency
from examples.shop import TASKS, TEST_TIMESTAMP, VAL_TIMESTAMP, write_shop
from examples.tomorrow import draw_tomorrow, predict_tomorrow
from rdl_core.config import ColumnsConfig, FinetuningConfig, HeadsConfig, StoreConfig, robust
from rdl_core.database import load_task
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.store import Store, open_store
from rdl_core.tasks.column_heads import ColumnHeads
from rdl_core.tasks.finetuning_result import FinetuningResult, predictions_path
from rdl_core.tasks.labels import metric_name
from rdl_core.tasks.prediction_file import read_predictions

TASK_NAMES = ("customer-churn", "customer-spend")
WORKERS, SAMPLERS = 2, 1
PRESET = robust()
FEW_LABELS = 0.05
"""Share of the labels with which the arms are compared once more."""


def main() -> None:
    """Runs everything and prints where things lie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/example"), help="folder to write (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="pretraining updates (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="fine-tuning seeds per arm (default: %(default)s)")
    parser.add_argument("--fine-tuning-steps", type=int, default=400, help="at most, per run (default: %(default)s)")
    options = parser.parse_args()
    begun = time.perf_counter()
    shutil.rmtree(options.out, ignore_errors=True)
    data = make_database(options.out)
    start_ray(WORKERS, SAMPLERS)
    store = materialize_in_parallel(open_dataset(data), options.out / "stores", StoreConfig())
    show_store(store)
    draw_schema(store, options.out / "schema.png")
    pretraining = dataclasses.replace(
        PRESET.pretraining,
        future=dataclasses.replace(PRESET.pretraining.future, questions_per_sample=128),
        max_steps=options.steps,
        samples_per_step=WORKERS,
        validation_samples=10,
    )
    tracking = TrackingConfig(directory=str(options.out.resolve()), run_id=run_id(options.out), name="example")
    done = pretrain(store, pretraining, options.out, workers=WORKERS, samplers=SAMPLERS, tracking=tracking)
    curves = draw_curves(done.state, options.out / "curves.png")
    finetuning = dataclasses.replace(PRESET.finetuning, max_steps=options.fine_tuning_steps)
    models = {task: options.out / task / "model" for task in TASK_NAMES}
    seeds = range(options.seeds)
    few = dataclasses.replace(finetuning, label_share=FEW_LABELS)
    arms = {
        1.0: fine_tune(data, store, done.checkpoint, finetuning, seeds, models),
        FEW_LABELS: fine_tune(data, store, done.checkpoint, few, seeds),
    }
    beside = heads_beside(data, store, finetuning, models)
    for share, results in arms.items():
        say(f"{share:.0%} of the train labels")
        show_results(results)
    show_heads_of_tasks(beside)
    picture = draw_label_efficiency(arms, beside, options.out / "labels.png")
    predictions = predict_tomorrow(models, data, store, options.out)
    show_tomorrow(predictions)
    result: dict[str, Any] = {
        "seconds": round(time.perf_counter() - begun, 1),
        "tasks": summary(arms[1.0]),
        "few_labels": {"share": FEW_LABELS, "tasks": summary(arms[FEW_LABELS])},
        "heads": beside,
        "losses": level_losses(done.state),
        "effective_rank": done.state.last["effective_rank"],
        "checkpoint": str(done.checkpoint),
        "curves": str(curves),
        "labels": str(picture),
        "tomorrow": str(draw_tomorrow(predictions, options.out / "tomorrow.png")),
        "predictions": {task: len(frame) for task, frame in predictions.items()},
        "wandb_dir": str(options.out / "wandb"),
    }
    write_json(options.out / "result.json", result)
    losses = ", ".join(f"{level} {first:.2f} → {last:.2f}" for level, (first, last) in result["losses"].items())
    say(f"pretraining, validation loss relative to chance: {losses}")
    for name in ("checkpoint", "curves", "labels", "tomorrow", "wandb_dir"):
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
    data: Path,
    store: Store,
    checkpoint: Path,
    config: FinetuningConfig,
    seeds: Sequence[int],
    models: Mapping[str, Path] | None = None,
) -> list[FinetuningResult]:
    """Both tasks in the three arms, one run a core at a time.

    Args:
        models: Folder per task that the fine-tuned model of the first seed is kept in, refitted, its predictions beside it, also those of the last
            fold that a blend is chosen on. None: no model is kept.
    """
    jobs = [
        FinetuneJob(
            data=str(data.resolve()),
            store_path=str(store.path.resolve()),
            task=task,
            arm=arm,  # type: ignore[arg-type]
            regime="rolling",
            config=dataclasses.replace(config, seed=seed),
            checkpoint=None if arm == "scratch" else str(checkpoint.resolve()),
            backbone=PRESET.pretraining.backbone,
        )
        for seed in seeds
        for task in TASK_NAMES
        for arm in ARMS
    ]
    if models is not None:
        jobs = [_kept(job, data, store, models[job.task]) if _is_first(job, seeds) else job for job in jobs]
    results: dict[int, FinetuningResult] = {}
    with bar() as progress:
        shown = progress.add_task("fine-tuning", total=len(jobs), text="")
        for number, result in run_side_by_side(jobs):
            results[number] = result
            progress.update(shown, advance=1, text=f"{result.task} {result.arm}: val {result.val:.4f}")
    return [results[i] for i in range(len(jobs))]


def _is_first(job: FinetuneJob, seeds: Sequence[int]) -> bool:
    return job.arm == "finetuned" and job.config.seed == seeds[0]


def _kept(job: FinetuneJob, data: Path, store: Store, model: Path) -> FinetuneJob:
    """Returns a job that refits, predicts the last fold, and keeps its model."""
    heads = column_heads(data, store, job.task, job.config)
    config = dataclasses.replace(job.config, refit=True)
    return dataclasses.replace(job, config=config, folds=tuple(heads.folds()[-1:]), out=str(model.resolve()))


def column_heads(data: Path, store: Store, task: str, config: FinetuningConfig) -> ColumnHeads:
    """Returns the heads on columns of a task."""
    return ColumnHeads(store, load_task(open_dataset(data), task), "rolling", config, HeadsConfig(), ColumnsConfig())


def heads_beside(data: Path, store: Store, config: FinetuningConfig, models: Mapping[str, Path]) -> dict[str, Any]:
    """Trivial and LightGBM on generated columns, and the blend of linear, LightGBM and fine-tuned network: {task: {"heads", "baselines", ...}}.

    All are refitted on every label whose window has closed, and kept in the task's model folder.
    """
    config = dataclasses.replace(config, refit=True)
    tasks = [
        _heads_of_task.remote(data.resolve(), store.path.resolve(), task, config, models[task].resolve())
        for task in TASK_NAMES
    ]
    return dict(zip(TASK_NAMES, ray.get(tasks), strict=True))


@ray.remote(num_cpus=1)
def _heads_of_task(data: Path, store_path: Path, name: str, config: FinetuningConfig, model: Path) -> dict[str, Any]:
    heads = column_heads(data, open_store(store_path), name, config)
    network = read_predictions(predictions_path(model))
    found = heads.run(("network", "linear", "lightgbm", "blend"), network=network, baseline=True)
    kept = HeadKeeper(heads.task, "rolling", heads.store.test_timestamp_s, None).keep(
        heads_of(found, heads.columns), model
    )
    return {"metric": metric_name(heads.task)} | figures_of(found) | kept


def show_tomorrow(predictions: dict[str, pd.DataFrame]) -> None:
    """Prints the customers at the top of each task's predictions."""
    for task, frame in predictions.items():
        top = frame.nlargest(3, "prediction")
        said = ", ".join(f"{key}: {value:.2f}" for key, value in zip(top.iloc[:, 0], top["prediction"], strict=True))
        say(f"{task} as of {frame['time'].iloc[0]:%Y-%m-%d}, {len(frame)} customers; at the top {said}")


def show_heads_of_tasks(beside: dict[str, Any]) -> None:
    """Prints the heads of each task with all labels, as `rdl finetune --heads --baseline` does."""
    for task, found in beside.items():
        show_heads([{"task": task, "regime": "rolling", **found}])


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
