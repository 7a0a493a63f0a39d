"""The work of finetune and evaluate (options.py has their options)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.commands.inputs import open_data, open_run, open_store
from distributed.commands.options import Evaluate, Finetune, pretrained_backbone
from distributed.console import say
from rdl_core.checkpoint_files import read_description, weights_digest
from rdl_core.config import PRESETS, BackboneConfig, FinetuningConfig, check_arm
from rdl_core.problems import InputError

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

    from distributed.commands.column_heads import HeadsBeside
    from distributed.training.finetune import FinetuneJob
    from rdl_core.tasks.finetuning_result import FinetuningResult


def run_finetune(options: Finetune) -> dict[str, Any]:
    """Returns a run's result and its checkpoint; of several seeds {"runs": [these], "summary"}.

    Heads and baselines beside the network are in "heads" and "baselines": {name: {"val", "test"}}. "val" and "test" of the run itself are the
    network's in any case. "default_head" says which head predicts; "intervals" and "calibration" are described by `HeadKeeper.keep`.
    """
    check_arm(options.arm, options.checkpoint)
    backbone, weights = backbone_to_start_from(options)
    data, dataset = open_data(options)
    from rdl_core.database import load_task
    from rdl_core.database.link_tasks import is_link_task

    if is_link_task(dataset, options.task):
        return _run_link_finetune(options, dataset, backbone, weights)
    from rdl_core.database.label_checks import require_measurable_labels

    for problem in require_measurable_labels(load_task(dataset, options.task)):
        say(f"warning: task {options.task}, {problem}; {problem.remedy}")
    from distributed.commands.column_heads import HeadsBeside
    from distributed.commands.report import heads_summary, seeds_summary, show_heads, show_results
    from distributed.finetuning import verdict_lines
    from distributed.heads.kept import show_kept
    from distributed.runs.folder import held
    from distributed.training.finetune import FinetuneJob
    from rdl_core.tasks.downstream import as_deep_as

    config = as_deep_as(options.config, backbone)
    if config != options.config:
        depth = f"the backbone has {backbone.num_layers} layers"
        say(
            f"neighbours per hop: {config.sampling.num_neighbors}, not {options.config.sampling.num_neighbors}: {depth}"
        )
    settings = run_settings(options, config, backbone, weights) | {
        "workers": options.workers,
        **heads_settings(options),
    }
    if options.calibrate is not None:
        settings["calibrate"] = options.calibrate
    seeds = range(config.seed, config.seed + options.seeds)
    run = open_run(options, "finetune", dataset, settings | ({"seeds": options.seeds} if len(seeds) > 1 else {}))
    if (finished := run.result()) is not None:
        say(f"run {run.name} is finished; nothing to do")
        return finished
    store = open_store(options, dataset)
    beside = [HeadsBeside(options, store, dataset, dataclasses.replace(config, seed=seed)) for seed in seeds]
    folders = [run.folder / f"seed-{seed}" for seed in seeds] if len(seeds) > 1 else [run.folder]
    jobs = [
        FinetuneJob(
            data=data,
            store_path=store.place,
            task=options.task,
            arm=options.arm,
            regime=options.regime,
            config=dataclasses.replace(config, seed=seed),
            checkpoint=None if options.checkpoint is None else str(options.checkpoint),
            backbone=backbone,
            out=str(folder / "model"),
            folds=heads.network_folds,
            folder=str(folder),
            afterwards=() if options.heads == ("network",) and not options.baseline else ("heads",),
        )
        for seed, folder, heads in zip(seeds, folders, beside, strict=True)
    ]
    with held(run.folder):
        results = [_result_of(job, folder, options.workers) for job, folder in zip(jobs, folders, strict=True)]
        show_results(results)
        runs = [
            _with_heads(result, heads, Path(str(job.out)))
            for result, job, heads in zip(results, jobs, beside, strict=True)
        ]
    if options.baseline or options.heads != ("network",):
        show_heads(runs)
    for line in verdict_lines(runs):
        say(line)
    for one in runs:
        show_kept(one)
        say(f"checkpoint {one['checkpoint']}\ncurve      {one['curve']}")
    if len(runs) == 1:
        return run.finish(runs[0])
    return run.finish({"runs": runs, "summary": seeds_summary(results) | heads_summary(runs)})


def _run_link_finetune(
    options: Finetune, dataset: RelBenchDataset, backbone: BackboneConfig, weights: str | None
) -> dict[str, Any]:
    """Returns a run's result and its checkpoint; of several seeds {"runs": [these], "summary"}, as of an entity task."""
    refuse_for_links(options)
    from distributed.links.job import LinkJob, run_link_job
    from distributed.links.report import link_summary, link_verdict_lines, show_link_results
    from distributed.runs.folder import held
    from rdl_core.database.link_tasks import load_link_task
    from rdl_core.tasks.downstream import as_deep_as

    load_link_task(dataset, options.task)  # refused before any work
    config = as_deep_as(options.config, backbone)
    settings = run_settings(options, config, backbone, weights) | {"links": dataclasses.asdict(options.links)}
    seeds = range(config.seed, config.seed + options.seeds)
    run = open_run(options, "finetune", dataset, settings | ({"seeds": options.seeds} if len(seeds) > 1 else {}))
    if (finished := run.result()) is not None:
        say(f"run {run.name} is finished; nothing to do")
        return finished
    store = open_store(options, dataset)
    jobs = [
        LinkJob(
            task=options.task,
            arm=options.arm,
            regime=options.regime,
            config=dataclasses.replace(config, seed=seed),
            link_config=options.links,
            checkpoint=options.checkpoint,
            backbone=backbone,
            folder=run.folder / f"seed-{seed}" if len(seeds) > 1 else run.folder,
        )
        for seed in seeds
    ]
    with held(run.folder):
        results = [run_link_job(job, dataset, store) for job in jobs]
    show_link_results(results)
    for line in link_verdict_lines(results):
        say(line)
    runs = [
        dataclasses.asdict(result)
        | {"checkpoint": str(job.model), "predictions": str(job.folder / "predictions.parquet")}
        for result, job in zip(results, jobs, strict=True)
    ]
    for one in runs:
        say(f"checkpoint {one['checkpoint']}")
    return run.finish(runs[0] if len(runs) == 1 else {"runs": runs, "summary": link_summary(results)})


def refuse_for_links(options: Finetune) -> None:
    """Refuses options that say nothing of a link task.

    Raises:
        InputError: Naming all that are given.
    """
    config, preset = options.config, PRESETS[options.preset]().finetuning
    given = [
        name
        for name, is_given in (
            ("--workers", options.workers > 1),
            ("--heads", options.heads != ("network",)),
            ("--baseline", options.baseline),
            ("--calibrate", options.calibrate is not None),
            ("--refit", config.refit),
            ("--label-share", config.label_share != 1.0),
            ("--label-stride", config.label_stride is not None),
            ("--config.unfreeze", config.unfreeze != preset.unfreeze),
            ("--config.regression-loss", config.regression_loss != preset.regression_loss),
            ("--config.head-channels", config.head_channels != preset.head_channels),
        )
        if is_given
    ]
    if given:
        raise InputError(
            f"{', '.join(given)} {'are' if len(given) > 1 else 'is'} of no use to {options.task!r}, a link task: its model is two towers and a term "
            "on past links, trained in this process, with popularity and past links beside it in any case. Remedy: leave it out; --links... has the "
            "settings of link tasks"
        )


def _with_heads(result: FinetuningResult, heads: HeadsBeside, model: Path) -> dict[str, Any]:
    """Returns all that is known of a run: the network's figures, heads and baselines, files; draws the curve."""
    from distributed.finetuning.curve import draw_curve
    from distributed.runs.finetuning_journal import curve
    from distributed.runs.journal import Journal
    from rdl_core.tasks.finetuning_result import predictions_path

    found, beside = dataclasses.asdict(result), heads.run(result, model)
    for kind in ("baselines", "about"):
        beside[kind] = found[kind] | beside.get(kind, {})
    picture = draw_curve(curve(Journal(model.parent)), beside["baselines"], model.parent / "curve.png")
    files = {"checkpoint": str(model), "predictions": str(predictions_path(model)), "curve": str(picture)}
    return found | files | beside


def run_settings(
    options: Finetune, config: FinetuningConfig, backbone: BackboneConfig, weights: str | None
) -> dict[str, Any]:
    """Returns what decides the network of a run, of an entity task or a link task.

    Args:
        config: Of fine-tuning, as deep as the backbone.
        weights: Digest of the checkpoint's weights; None: there is none.
    """
    return {
        "task": options.task,
        "arm": options.arm,
        "regime": options.regime,
        "checkpoint": weights,
        "finetuning": dataclasses.asdict(config),
        "backbone": dataclasses.asdict(backbone),
    }


def heads_settings(options: Finetune) -> dict[str, Any]:
    """Returns what decides heads and baselines beside the network; nothing where there are none."""
    if not options.baseline and options.heads == ("network",):
        return {}
    return {
        "heads": options.heads,
        "baseline": options.baseline,
        "column_heads": dataclasses.asdict(options.column_heads),
        "columns": dataclasses.asdict(options.columns),
    }


def backbone_to_start_from(options: Finetune) -> tuple[BackboneConfig, str | None]:
    """Returns (form of the backbone, digest of the checkpoint's weights).

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is of another kind; or the options name another backbone than it has.
    """
    if options.checkpoint is None:
        return options.backbone, None
    if options.backbone != pretrained_backbone(options.checkpoint):
        raise ValueError(
            "--rows, --num-layers, --aggregation and --backbone... are for arm scratch; a checkpoint has its own"
        )
    return options.backbone, weights_digest(options.checkpoint)


def run_evaluate(options: Evaluate) -> dict[str, Any]:
    """Returns {"task", "regime", "metric", "val", "test", "baselines", "interval"}; of a refitted model without "val", from which it has learned."""
    description = read_description(options.checkpoint, kind="finetuned")
    data, dataset = open_data(options)
    from distributed.finetuning import verdict_lines
    from distributed.heads.kept import calibration_line
    from distributed.training.evaluate import evaluate

    settings: dict[str, Any] = {"checkpoint": weights_digest(options.checkpoint), "regime": options.regime}
    if (
        calibration := description["about"].get("heads", {}).get("of", {}).get("network", {}).get("calibration")
    ) is not None:
        settings["calibration"] = calibration
    run = open_run(options, "evaluate", dataset, settings)
    store = open_store(options, dataset)
    result = evaluate(data, store.place, str(options.checkpoint), options.regime)
    shown = ", ".join(f"{split} {_metrics(result[split])}" for split in ("val", "test") if split in result)
    say(f"{result['task']} ({result['regime']}): {shown}")
    trivial = ", ".join(
        f"{split} {result['metric']} {value:.4f}" for split, value in result["baselines"]["trivial"].items()
    )
    say(f"trivial prediction ({result['about']['baseline trivial']}): {trivial}")
    for line in verdict_lines([result | {s: result[s][result["metric"]] for s in ("val", "test") if s in result}]):
        say(line)
    if calibration is not None:
        say(calibration_line("test", result["calibration"]["network"]["test"]))
    return run.finish(result)


def _metrics(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in values.items())


def _result_of(job: FinetuneJob, folder: Path, workers: int) -> FinetuningResult:
    """Runs a job, unless its folder holds the result of one that an earlier call finished; Ctrl-C is journaled.

    Raises:
        KeyboardInterrupt: Ctrl-C; the text says at which step, and from which the same command goes on.
    """
    from distributed.finetuning.interruption import interruptible
    from distributed.runs.folder import write_json
    from distributed.training.finetune import run_data_parallel, run_here
    from rdl_core.finetuning import StateFile
    from rdl_core.tasks.finetuning_result import FinetuningResult

    path = folder / "network.json"
    if path.exists():
        return FinetuningResult(**json.loads(path.read_text()))
    with interruptible(folder):
        result = run_data_parallel(job, folder, workers) if workers > 1 else run_here(job)
    write_json(path, dataclasses.asdict(result))
    StateFile(folder=folder).remove()
    return result
