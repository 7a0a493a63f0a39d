"""The work of predict (options.py has its options): whom, when, parts, one file or table, and what is said of them."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distributed.commands.inputs import open_data, open_run, open_store
from distributed.console import bar, console, say
from distributed.prediction.model_options import model_identity, with_readable_store
from distributed.prediction.options import Predict
from distributed.runs.folder import Run, held
from rdl_core.checkpoint_files import read_description, weights_digest
from rdl_core.checksums import sha256_of
from rdl_core.problems import InputError
from rdl_core.timestamps import SECONDS_PER_DAY

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

    from distributed.prediction.parts import PredictionJob
    from rdl_core.place import Place
    from rdl_core.prediction import Predictor

LOG_INTERVAL_S = 30.0
"""Seconds between lines where there is no terminal."""
DRIFT_WARNING = 0.2
"""A population stability index from which on a column is named."""


def run_predict(options: Predict) -> dict[str, Any]:
    """Returns {"path", "table", "rows", "task", "head", "at", "refitted", "model", "data", "seconds", "rows_per_s", "drift"}; of --split {"split",
    "metrics"}, too.
    """
    kind = read_description(options.checkpoint)["kind"]
    if kind != "link":
        read_description(options.checkpoint, kind="finetuned")
    if options.entities is not None and not options.entities.is_file():
        raise FileNotFoundError(f"--entities {options.entities}: no such file")
    if options.to is not None and options.table is not None:
        from distributed.prediction.database_table import check_target

        check_target(options.to, options.table, replace=options.replace)
    data, dataset = open_data(options)
    options = with_readable_store(options, options.checkpoint, dataset)
    if kind == "link":
        return _run_link_predict(options, dataset)
    run = open_run(options, "predict", dataset, _identity(options))
    with held(run.folder):
        store = open_store(options, dataset)
        job = _job(options, run, data, store.place)
        predictor = job.open()
        _say_model(predictor)
        _say_intervals(options, predictor)
        found = {**predictor.describe(), **_drift(options, predictor)}
        begun_s = time.monotonic()
        found |= _of_split(options, predictor, dataset) if options.split else _of_entities(options, predictor, job)
        seconds = time.monotonic() - begun_s
        shutil.rmtree(job.folder, ignore_errors=True)
        return run.finish(found | {"seconds": seconds, "rows_per_s": found["rows"] / max(seconds, 1e-9)})


def _run_link_predict(options: Predict, dataset: RelBenchDataset) -> dict[str, Any]:
    """Returns {"task", "rows", "sources", "at", "path", "model", "seconds"} of a link model: rows are sources times destinations."""
    given = [
        name
        for name, is_given in (
            ("--split", options.split is not None),
            ("--to", options.to is not None),
            ("--head", options.head is not None),
            ("--workers", options.workers > 1),
        )
        if is_given
    ]
    if given or options.out is None:
        raise InputError(
            f"{options.checkpoint} is a model of a link task: its predictions go into a file, by --out and --entities or --all; got "
            f"{', '.join(given) or 'no --out'}. Remedy: correct it; val and test in RelBench's format lie beside the model, as val.csv and test.csv"
        )
    run = open_run(options, "predict", dataset, _identity(options))
    with held(run.folder):
        store = open_store(options, dataset)
        from distributed.links.predict import link_predictions
        from distributed.prediction.entities_file import read_entities
        from distributed.prediction.output import write_tables
        from rdl_core.links.predictor import LinkPredictor
        from rdl_core.model.checkpoint import from_pretrained

        begun_s = time.monotonic()
        predictor = LinkPredictor(from_pretrained(options.checkpoint, kind="link"), dataset, store)
        if options.entities is not None:
            rows, time_s = predictor.questions(read_entities(options.entities, predictor.sources), options.at)
        else:
            rows, time_s = predictor.existing(options.at)
        table = link_predictions(predictor, rows, time_s)
        written = write_tables([table], table.schema, options.out)
        say(f"{options.out}: {written:,} predictions")
        at = str(time_s[0].astype("datetime64[s]"))
        found = {"task": predictor.question.task, "rows": written, "sources": len(rows), "at": at}
        found |= {"path": str(options.out), "model": weights_digest(options.checkpoint)}
        return run.finish(found | {"seconds": time.monotonic() - begun_s})


def _identity(options: Predict) -> dict[str, Any]:
    """Returns what decides the predictions besides the data."""
    return {
        **model_identity(options.checkpoint, options.head),
        "entities": None if options.entities is None else sha256_of(options.entities)[:16],
        "split": options.split,
        "at": options.at,
        "coverage": options.coverage,
    }


def _job(options: Predict, run: Run, data: Place, store: Place) -> PredictionJob:
    from distributed.prediction import parts
    from distributed.training.finetune import absolute

    return parts.PredictionJob(
        checkpoint=str(absolute(str(options.checkpoint))),
        data=absolute(data),
        store=store,
        folder=str((run.folder / "parts").resolve()),
        head=options.head,
        coverage=options.coverage,
        part_rows=parts.PART_ROWS,
    )


def _say_model(predictor: Predictor) -> None:
    question = predictor.question
    say(f"{question.task}: {question.target} of {question.entity_table}, by the {predictor.head}")
    if predictor.is_refitted:
        say("the model was refitted: it has learned from every label whose window had closed")
    else:
        say(
            "the model was not refitted: it has learned from the train labels alone. Remedy: `rdl finetune ... --refit` learns from validation's, too"
        )


def _say_intervals(options: Predict, predictor: Predictor) -> None:
    if not predictor.is_regression:
        return
    if predictor.has_intervals:
        say(f"lower and upper hold the value with probability {options.coverage:g}, by the residuals on validation")
    else:
        say(
            "the model keeps no intervals, so that there is no lower and upper. Remedy: `rdl finetune` with this version keeps them"
        )


def _drift(options: Predict, predictor: Predictor) -> dict[str, Any]:
    """Returns {"drift": [{"table", "column", "psi", "rows"}, ...]}, the largest first, and names those above DRIFT_WARNING."""
    if not options.drift:
        return {}
    found = predictor.drift(options.at)
    if found is None:
        say("drift: the model keeps no distributions to compare with; fine-tune it again with this version")
        return {"drift": None}
    for column in (column for column in found if column.psi > DRIFT_WARNING):
        say(
            f"warning: {column.table}.{column.column} has drifted: PSI {column.psi:.2f} of {column.rows:,} rows since the model's cutoff. "
            "Remedy: look at the column; if it is right, train on newer data"
        )
    return {"drift": [dataclasses.asdict(column) for column in found]}


def _of_split(options: Predict, predictor: Predictor, dataset: RelBenchDataset) -> dict[str, Any]:
    from distributed.prediction.submission import submission_name, write_submission
    from rdl_core.database import load_task

    assert options.split is not None and options.out is not None
    task = load_task(dataset, predictor.question.task)
    rows, metrics = write_submission(predictor, task, dataset, options.split, options.out)
    name = submission_name(dataset, task.name)
    say(
        f"{options.out}: {rows:,} predictions of {options.split}, {' '.join(f'{n} {v:.4f}' for n, v in metrics.items())}"
    )
    if options.split == "test":
        named = "" if options.out.name == name else f"; to submit it, call it {name}"
        say(f"accepted by RelBench's validator, and scored alike{named}")
    if options.split == "val" and predictor.is_refitted:
        say("warning: the refitted model has learned from these labels, so that the figure is too good")
    return {"path": str(options.out), "split": options.split, "rows": rows, "metrics": metrics}


def _of_entities(options: Predict, predictor: Predictor, job: PredictionJob) -> dict[str, Any]:
    import numpy as np

    from distributed.prediction import parts as of_parts
    from distributed.prediction.database_table import write_table
    from distributed.prediction.entities_file import read_entities
    from distributed.prediction.output import write_file

    if options.entities is not None:
        rows, time_s = predictor.questions(read_entities(options.entities, predictor.keys), options.at)
    else:
        rows = predictor.existing_rows(options.at)
        time_s = np.full(len(rows), predictor.seconds(options.at))
    at = str(np.datetime64(int(time_s[0]), "s")) if len(rows) else None
    say(f"{len(rows):,} {predictor.question.entity_table}, as of {at} UTC")
    _warn_of_a_gap(predictor, int(time_s.max()) if len(rows) else 0)
    parts = of_parts.begin(job, rows, time_s)
    missing = [part for part in parts if not job.part_path(part).exists()]
    if len(missing) < len(parts):
        say(f"{len(parts) - len(missing):,} of {len(parts):,} parts are there already")
    if options.workers == 1 or len(missing) < 2:
        written = of_parts.write_here(predictor, job, missing)
    else:
        written = of_parts.write_in_parallel(job, missing, options.workers)
    _show(written, sum(min(job.part_rows, len(rows) - part * job.part_rows) for part in missing))
    files = [job.part_path(part) for part in parts]
    found: dict[str, Any] = {"at": at, "rows": len(rows), "path": None}
    if options.out is not None:
        write_file(files, options.out)
        say(f"{options.out}: {len(rows):,} predictions")
        found["path"] = str(options.out)
    if options.to is not None and options.table is not None:
        write_table(files, options.to, options.table, replace=options.replace)
        say(f"table {options.table}: {len(rows):,} predictions")
        found["table"] = options.table
    return found


def _warn_of_a_gap(predictor: Predictor, asked_s: int) -> None:
    """Says that nothing is known of the time between the last row and the time asked for, where it is longer than the task's window."""
    gap_s, window_s = asked_s - predictor.store.graph.after_last_row_s, predictor.question.horizon_s
    if gap_s > window_s:
        say(
            f"warning: the last row is {gap_s / SECONDS_PER_DAY:,.0f} days older than the time asked for, more than the task's window of "
            f"{window_s / SECONDS_PER_DAY:,.0f} days: to the model nothing has happened since. Remedy: import newer rows, or ask for an earlier time"
        )


def _show(written: Iterator[int], num_rows: int) -> None:
    """Shows rows as they are done: a bar on a terminal, a line now and then in a log."""
    begun_s = logged_s = time.monotonic()
    done = 0
    with bar() as progress:
        shown = progress.add_task("predictions", total=num_rows, text="")
        for rows in written:
            done += rows
            text = f"{done / (time.monotonic() - begun_s):,.0f} rows/s"
            progress.update(shown, completed=done, text=text)
            if not console.is_terminal and time.monotonic() - logged_s >= LOG_INTERVAL_S:
                say(f"predictions: {done:,} of {num_rows:,} rows, {text}")
                logged_s = time.monotonic()
