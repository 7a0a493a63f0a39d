"""A link model as files: the checkpoint with all that a prediction needs besides the store, and predictions of its task's labels.

    predictions.parquet   split, source (row), source_key where the import kept it, time, destinations: list of rows, the best first, scores
    <split>.csv           the same of one split as RelBench takes it: a list of destinations per question, padded with -1

Promises: rows are in the order of the task's labels, all of them; no label is in a file; loading runs no code.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from relbench.base import RecommendationTask
from relbench.submit import write_prediction_table

from rdl_core.atomic_write import replace_file
from rdl_core.config import FinetuningConfig, LinkConfig, checked, decode
from rdl_core.graph.store import Store
from rdl_core.links.finetuning import LinkFinetuning
from rdl_core.links.inputs import LinkInputs
from rdl_core.links.key_path import LinkPath
from rdl_core.links.model import LinkModel, PairTerm
from rdl_core.links.past_links import PastLinks
from rdl_core.links.scoring import LinkResult
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, save_pretrained
from rdl_core.statistics import distributions
from rdl_core.tasks.prediction_file import FILE_NAME

KIND = "link"


@checked
class LinkQuestion:
    """The question that a link model answers.

    Args:
        task: Name of the task.
        source_table, destination_table: The tables.
        number: How many destinations the task asks for.
        window_s: Seconds of the window that is predicted.
        path_table: Table whose rows are past links.
        to_source, to_destination: Keys from it up to both tables.
    """

    task: str
    source_table: str
    destination_table: str
    number: int
    window_s: int
    path_table: str
    to_source: tuple[tuple[str, str, str], ...]
    to_destination: tuple[tuple[str, str, str], ...]


def link_checkpoint(run: LinkFinetuning, result: LinkResult) -> Checkpoint:
    """Returns the model of a run that is over."""
    path = run.inputs.statistics.links.path
    question = LinkQuestion(
        task=run.task.name,
        source_table=run.task.src_entity_table,
        destination_table=run.task.dst_entity_table,
        number=run.task.eval_k,
        window_s=run.inputs.statistics.window_s,
        path_table=path.table,
        to_source=path.to_source,
        to_destination=path.to_destination,
    )
    about: dict[str, Any] = {
        "task": run.task.name,
        "question": dataclasses.asdict(question),
        "arm": run.arm,
        "regime": run.regime,
        "finetuning": dataclasses.asdict(run.config),
        "links": dataclasses.asdict(run.link_config),
        "has_towers": run.model.has_towers,
        "result": dataclasses.asdict(result),
        "store": run.store.content_hash,
    }
    return Checkpoint(
        weights=cpu_weights(run.model),
        backbone=run.model.encoder.config,
        schema=run.store.schema,
        edge_types=run.store.graph.edge_types,
        kind=KIND,
        about=about,
        extras={distributions.FILE_NAME: distributions.to_bytes(distributions.fit_distributions(run.store))},
    )


def save_link_model(path: Path, run: LinkFinetuning, result: LinkResult) -> None:
    """Writes the model of a run into the folder `path`, and its predictions beside that folder."""
    save_pretrained(path, link_checkpoint(run, result))
    tables = [_prediction_table(run, split) for split in run.predictions]
    with replace_file(path.parent / FILE_NAME) as partial:
        pq.write_table(pa.concat_tables(tables), partial, compression="zstd")
    for split, (ranked, _) in run.predictions.items():
        with replace_file(path.parent / f"{split}.csv") as partial:
            write_prediction_table(run.task, ranked, partial, split=split)


def open_link_model(checkpoint: Checkpoint, store: Store) -> tuple[LinkModel, LinkInputs, LinkQuestion]:
    """Returns the model of a checkpoint for evaluation, what it reads of a store, and its question.

    Raises:
        ValueError: The store's schema is not the model's, or the settings are of another version.
    """
    checkpoint.require_same_schema(store)
    about = checkpoint.about
    config = decode(FinetuningConfig, about["finetuning"], "the settings of its fine-tuning")
    link_config = decode(LinkConfig, about["links"], "the settings of its links")
    question = decode(LinkQuestion, about["question"], "the model's question")
    path = LinkPath(table=question.path_table, to_source=question.to_source, to_destination=question.to_destination)
    encoder = checkpoint.encoder()
    inputs = LinkInputs(
        store,
        question.source_table,
        question.destination_table,
        PastLinks.along(store.graph, path),
        question.window_s,
        config,
        link_config,
        encoder.config,
    )
    inputs.questions.require_same_widths(encoder.statistics_widths, encoder.columns_widths)
    pair = PairTerm(inputs.statistics.end_width, inputs.statistics.pair_width, link_config.pair_channels)
    model = LinkModel(encoder, pair, has_towers=about["has_towers"])
    model.load_state_dict(checkpoint.weights)
    return model.eval(), inputs, question


def _prediction_table(run: LinkFinetuning, split: str) -> pa.Table:
    asked, (ranked, scores) = run.split(split), run.predictions[split]
    columns = {"split": pa.array([split] * len(asked)), "source": pa.array(asked.sources, mask=asked.sources < 0)}
    keys = source_keys(run.task, run.task.src_entity_table)
    if keys is not None:
        columns["source_key"] = keys.take(columns["source"])
    columns["time"] = pa.array(asked.time_s).cast(pa.timestamp("s", "UTC"))
    columns["destinations"] = pa.array([row[row >= 0].tolist() for row in ranked], pa.list_(pa.int64()))
    kept = [values[row >= 0].tolist() for row, values in zip(ranked, scores, strict=True)]
    columns["scores"] = pa.array(kept, pa.list_(pa.float64()))
    return pa.table(columns)


def source_keys(task: RecommendationTask, table: str) -> pa.ChunkedArray | None:
    """Returns the key of each row of a table in the source, or None where no import has kept them."""
    path = Path(task.dataset.dataset_dir) / "keys" / f"{table}.parquet"
    return pq.read_table(path).sort_by("row_number")["source_key"] if path.is_file() else None
