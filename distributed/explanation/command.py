"""The work of explain (options.py has its options): opens the model as predict does, explains, writes the file, the table and the picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from distributed.commands.inputs import open_data, open_run, open_store
from distributed.console import bar, say
from distributed.explanation.options import Explain
from distributed.prediction.model_options import model_identity, with_readable_store
from distributed.runs.folder import held
from rdl_core.checkpoint_files import read_description
from rdl_core.checksums import sha256_of

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

    from rdl_core.explanation import Explainer, TaskExplanation

Explained = TypeVar("Explained")
DEFAULT_ROWS = 500
"""Most labels of a split that are explained."""


def run_explain(options: Explain) -> dict[str, Any]:
    """Returns {"path", "picture", "task", "target", "head", "model", "data", ..., "seconds"}; of entities {"at", "predictions"}, a number, of a split
    {"split", "rows", "metric", "value", "neutral_value"}, too.
    """
    read_description(options.checkpoint, kind="finetuned")
    if options.entities is not None and not options.entities.is_file():
        raise FileNotFoundError(f"--entities {options.entities}: no such file")
    _, dataset = open_data(options)
    options = with_readable_store(options, options.checkpoint, dataset)
    run = open_run(options, "explain", dataset, _identity(options))
    with held(run.folder):
        store = open_store(options, dataset)
        from rdl_core.explanation import Explainer
        from rdl_core.prediction import Predictor

        predictor = Predictor.load(options.checkpoint, str(dataset.dataset_dir), store=store.place, head=options.head)
        begun_s = time.monotonic()
        explainer = Explainer(predictor)
        found = _of_split(options, explainer, dataset) if options.split else _of_entities(options, explainer)
        seconds = time.monotonic() - begun_s
        picture = options.out.with_suffix(".svg")
        say(f"{options.out} and {picture.name}: written; docs/explain.md says what the figures mean")
        paths = {"path": str(options.out), "picture": str(picture)}
        return run.finish({**paths, **predictor.describe(), **found, "seconds": seconds})


def _identity(options: Explain) -> dict[str, Any]:
    """Returns what decides the explanation besides the data."""
    return {
        **model_identity(options.checkpoint, options.head),
        "entity": options.entity,
        "entities": None if options.entities is None else sha256_of(options.entities)[:16],
        "at": options.at,
        "split": options.split,
        "rows": options.rows,
    }


def _of_entities(options: Explain, explainer: Explainer) -> dict[str, Any]:
    from distributed.explanation.document import entities_document, write_document
    from distributed.explanation.picture import draw_contributions
    from distributed.explanation.words import entity_lines
    from distributed.prediction.entities_file import key_in_words, read_entities

    predictor = explainer.predictor
    keys = key_in_words(options.entity, predictor.keys) if options.entity else None
    if options.entities is not None:
        keys = read_entities(options.entities, predictor.keys)
    assert keys is not None
    predictor.questions(keys, options.at)  # what cannot be asked is refused before anything is shown
    explained = _shown(len(keys), lambda advance: explainer.explain(keys, options.at, advance=advance))
    for line in entity_lines(explained, explainer):
        say(line)
    write_document(entities_document(explained, explainer), options.out)
    draw_contributions(explained, explainer, options.out.with_suffix(".svg"))
    return {"at": explained["time"].iloc[0].isoformat(), "predictions": len(keys)}


def _of_split(options: Explain, explainer: Explainer, dataset: RelBenchDataset) -> dict[str, Any]:
    from distributed.explanation.document import task_document, write_document
    from distributed.explanation.picture import draw_importance
    from distributed.explanation.words import task_lines
    from rdl_core.database import load_task
    from rdl_core.explanation import explain_task

    assert options.split is not None
    split, predictor = options.split, explainer.predictor
    task, rows = load_task(dataset, predictor.question.task), options.rows or DEFAULT_ROWS
    if split == "val" and predictor.is_refitted:
        say("warning: the refitted model has learned from these labels, so that the figures are too good")
    found: TaskExplanation = _shown(
        rows, lambda advance: explain_task(explainer, task, split, rows=rows, advance=advance)
    )
    for line in task_lines(found):
        say(line)
    write_document(task_document(found, predictor), options.out)
    draw_importance(found, options.out.with_suffix(".svg"))
    values = {name: getattr(found, name) if found.is_scored else None for name in ("value", "neutral_value")}
    return {"split": found.split, "rows": found.rows, "metric": found.metric, **values}


def _shown(number: int, explain: Callable[[Callable[[int], None]], Explained]) -> Explained:
    """Returns what is explained, with a bar of so many questions on a terminal."""
    with bar() as progress:
        shown = progress.add_task("explained", total=number, text="")
        return explain(lambda done: progress.advance(shown, done))
