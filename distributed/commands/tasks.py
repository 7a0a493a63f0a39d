"""What finetune and evaluate do (commands.py has their options)."""

from __future__ import annotations

import dataclasses
from typing import Any

from distributed.commands.inputs import open_data, open_run, open_store, replaced
from distributed.commands.options import Evaluate, Finetune
from distributed.commands.report import show_results
from distributed.console import bar, say
from distributed.runs.folder import finish
from distributed.training.evaluate import evaluate
from distributed.training.finetune import FinetuneJob, check_arm, run_data_parallel, run_job
from rdl_core.config import PRESETS, BackboneConfig, FinetuningConfig
from rdl_core.database import load_task
from rdl_core.model.checkpoint import from_pretrained, weights_digest
from rdl_core.tasks.downstream import as_deep_as
from rdl_core.tasks.finetuning import FinetuningResult


def run_finetune(options: Finetune) -> dict[str, Any]:
    check_arm(options.arm, options.checkpoint)
    data, dataset = open_data(options)
    load_task(dataset, options.task)
    backbone, weights = backbone_of(options)
    config = as_deep_as(finetuning_config(options), backbone)
    settings = {
        "task": options.task, "arm": options.arm, "regime": options.regime, "workers": options.workers, "checkpoint": weights,
        "finetuning": dataclasses.asdict(config), "backbone": dataclasses.asdict(backbone),
    }  # fmt: skip
    run = open_run(options, "finetune", dataset, settings)
    if (finished := run.result()) is not None:
        say(f"run {run.name} is finished; nothing to do")
        return finished
    store = open_store(options, dataset)
    job = FinetuneJob(
        data=data, store_path=store.place, task=options.task, arm=options.arm, regime=options.regime, config=config,
        checkpoint=None if options.checkpoint is None else str(options.checkpoint), backbone=backbone,
        out=str(run.folder / "model"),
    )  # fmt: skip
    result = run_data_parallel(job, run.folder, options.workers) if options.workers > 1 else _run_with_bar(job)
    show_results([result])
    say(f"checkpoint {run.folder / 'model'}")
    return finish(run, {**dataclasses.asdict(result), "checkpoint": str(run.folder / "model")})


def finetuning_config(options: Finetune) -> FinetuningConfig:
    """The preset with what the options change."""
    return replaced(
        PRESETS[options.preset]().finetuning, seed=options.seed, max_steps=options.max_steps,
        learning_rate=options.learning_rate, validation_interval_steps=options.validation_interval_steps,
    )  # fmt: skip


def backbone_of(options: Finetune) -> tuple[BackboneConfig, str | None]:
    """(form of the backbone, digest of the checkpoint's weights)."""
    if options.checkpoint is not None:
        if (options.rows, options.num_layers, options.aggregation) != (None, None, None):
            raise ValueError("--rows, --num-layers and --aggregation are for arm scratch; a checkpoint has its own")
        return from_pretrained(options.checkpoint, kind="pretrained").backbone, weights_digest(options.checkpoint)
    preset = PRESETS[options.preset]().pretraining.backbone
    backbone = preset.of_kind(rows=options.rows, aggregation=options.aggregation)
    return replaced(backbone, num_layers=options.num_layers), None


def run_evaluate(options: Evaluate) -> dict[str, Any]:
    data, dataset = open_data(options)
    from_pretrained(options.checkpoint, kind="finetuned")
    settings = {"checkpoint": weights_digest(options.checkpoint), "regime": options.regime}
    run = open_run(options, "evaluate", dataset, settings)
    store = open_store(options, dataset)
    result = evaluate(data, store.place, str(options.checkpoint), options.regime)
    say(f"{result['task']} ({result['regime']}): val {result['val']}, test {result['test']}")
    return finish(run, result)


def _run_with_bar(job: FinetuneJob) -> FinetuningResult:
    with bar() as progress:
        shown = progress.add_task(f"{job.task} {job.arm}", total=job.config.max_steps, text="")
        last = {"val": ""}
        return run_job(
            job,
            on_step=lambda step, loss: progress.update(shown, completed=step, text=f"loss {loss:.3f} {last['val']}"),
            on_validation=lambda step, value: last.update(val=f"val {value:.4f}"),
        )
