"""The work of embed and nearest (options.py has their options)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distributed.commands.inputs import open_data, open_run, open_store
from distributed.console import bar, console, say
from distributed.embedding.options import Embed, Nearest
from distributed.runs.folder import held
from rdl_core.checkpoint_files import backbone_of, read_description, weights_digest
from rdl_core.problems import InputError

if TYPE_CHECKING:
    from distributed.embedding.parallel import WrittenPart
    from rdl_core.config import TemporalSamplingConfig
    from rdl_core.embedding import Embedding, EmbeddingJob

LOG_INTERVAL_S = 30.0
"""Seconds between lines where there is no terminal."""


def run_embed(options: Embed) -> dict[str, Any]:
    """Returns {"path", "table", "at" or "each_row_at", "rows", "left_out", "channels", "parts", "parts_written", "workers", "seconds", "rows_per_s",
    "peak_rss_bytes"}; the rate is of the rows that this call wrote, the memory that of all its processes together.
    """
    description = read_description(options.checkpoint)
    data, dataset = open_data(options)
    from rdl_core.embedding.folder import refuse_foreign_folder
    from rdl_core.embedding.job import EmbeddingJob, row_names

    at_s = _seconds(options.at)
    row_names(dataset, options.table, row_numbers=options.row_numbers)
    refuse_foreign_folder(options.out)
    if options.to is not None:
        from distributed.embedding.postgresql import check_target

        check_target(options.to, options.to_table or f"{options.table}_embedding")
    sampling = _as_deep_as(options.sampling, description)
    settings = {
        "table": options.table,
        "checkpoint": weights_digest(options.checkpoint),
        "at": options.at,
        "each_row_at": options.each_row_at,
        "row_numbers": options.row_numbers,
        "sampling": dataclasses.asdict(sampling),
        "seed": options.seed,
        "out": str(options.out.resolve()),
    }
    run = open_run(options, "embed", dataset, settings)
    with held(run.folder):
        store = open_store(options, dataset, workers=options.workers, data=data)
        job = EmbeddingJob(
            data=str(dataset.dataset_dir) if options.workers == 1 else data,
            store=store.place,
            checkpoint=str(options.checkpoint),
            table=options.table,
            out=str(options.out),
            sampling=sampling,
            seed=options.seed,
            at_s=at_s,
            each_row_at=options.each_row_at,
            row_numbers=options.row_numbers,
        )
        result = _embed(options, job)
        if options.to is not None:
            result |= _to_postgresql(options)
        return run.finish(result)


def run_nearest(options: Nearest) -> dict[str, Any]:
    """Returns {"key", "nearest": [{"key", "similarity"}, ...]}."""
    from rdl_core.embedding import EmbeddingsFolder, nearest_rows

    folder = EmbeddingsFolder.open(options.embeddings)
    found = nearest_rows(folder, options.key, options.top)
    say(f"nearest to {folder.about.table} {' '.join(options.key)}, by cosine:")
    for neighbour in found:
        say(f"  {neighbour.similarity:8.4f}  {' '.join(map(str, neighbour.key.values()))}")
    return {"key": list(options.key), "nearest": [dataclasses.asdict(neighbour) for neighbour in found]}


def _embed(options: Embed, job: EmbeddingJob) -> dict[str, Any]:
    """Writes the parts that are missing; returns the result so far."""
    from distributed.embedding.parallel import open_here, peak_rss_bytes, write_here, write_in_parallel

    embedding = open_here(job)
    folder, about, asked = embedding.begin(), embedding.about, embedding.questions
    _say_what(embedding)
    missing = folder.missing_parts()
    if len(missing) < about.num_parts:
        say(f"{about.num_parts - len(missing):,} of {about.num_parts:,} parts are there already")
    begun_s = time.monotonic()
    job = dataclasses.replace(job, at_s=about.at_s)
    parts = write_here(embedding, missing) if options.workers == 1 else write_in_parallel(job, missing, options.workers)
    done = list(_shown(parts, len(missing))) if missing else []
    seconds, rows = time.monotonic() - begun_s, sum(part.rows for part in done)
    peaks = {part.process: part.peak_rss_bytes for part in sorted(done, key=lambda part: part.peak_rss_bytes)}
    peak = sum(peaks.values()) if options.workers == 1 and peaks else sum(peaks.values()) + peak_rss_bytes()
    rate = f", {rows / seconds:,.0f} rows/s" if rows else ""
    say(f"{options.out}: {len(asked.rows):,} rows in {about.num_parts:,} parts{rate}, peak {peak / 1e9:.2f} GB")
    return {
        "path": str(options.out),
        "table": about.table,
        "at_s": about.at_s,
        "each_row_at": about.each_row_at,
        "rows": len(asked.rows),
        "left_out": asked.left_out,
        "channels": about.channels,
        "parts": about.num_parts,
        "parts_written": len(done),
        "workers": options.workers,
        "seconds": seconds,
        "rows_per_s": rows / seconds if rows else None,
        "peak_rss_bytes": peak,
    }


def _seconds(at: str | None) -> int | None:
    """Returns --at in UNIX seconds."""
    from rdl_core.timestamps import seconds_of

    try:
        return None if at is None else seconds_of(at)
    except TypeError as error:
        raise InputError(f"--at: {error}") from None


def _say_what(embedding: Embedding) -> None:
    import numpy as np

    about, asked = embedding.about, embedding.questions
    when = f"each at its {about.each_row_at!r}" if about.at_s is None else f"as of {np.datetime64(about.at_s, 's')} UTC"
    say(f"{len(asked.rows):,} of {about.num_rows:,} rows of {about.table}, {when}: {about.channels} numbers each")
    for reason, number in asked.left_out.items():
        say(f"left out: {number:,} rows {reason}")


def _as_deep_as(sampling: TemporalSamplingConfig, description: dict[str, Any]) -> TemporalSamplingConfig:
    """Returns trees as deep as the model, and says so where that changes them."""
    from rdl_core.config import FinetuningConfig
    from rdl_core.tasks.downstream import as_deep_as

    deep = as_deep_as(FinetuningConfig(sampling=sampling), backbone_of(description)).sampling
    if deep != sampling:
        layers = backbone_of(description).num_layers
        say(f"neighbours per hop: {deep.num_neighbors}, not {sampling.num_neighbors}: the backbone has {layers} layers")
    return deep


def _to_postgresql(options: Embed) -> dict[str, Any]:
    from distributed.embedding.postgresql import write_table
    from rdl_core.embedding import EmbeddingsFolder

    assert options.to is not None
    name = options.to_table or f"{options.table}_embedding"
    rows, kind = write_table(EmbeddingsFolder.open(options.out), options.to, name)
    say(f"{rows:,} rows in the table {name!r} of the database, its column embedding is {kind}")
    return {"to_table": name, "to_type": kind}


def _shown(parts: Iterator[WrittenPart], num_parts: int) -> Iterator[WrittenPart]:
    """Yields the parts, shown by a bar on a terminal, and by a line now and then in a log."""
    begun_s = logged_s = time.monotonic()
    rows = 0
    with bar() as progress:
        shown = progress.add_task("parts", total=num_parts, text="")
        for done, part in enumerate(parts, start=1):
            rows += part.rows
            text = f"{rows / (time.monotonic() - begun_s):,.0f} rows/s"
            progress.update(shown, completed=done, text=text)
            if not console.is_terminal and time.monotonic() - logged_s >= LOG_INTERVAL_S:
                say(f"embedding: {done:,} of {num_parts:,} parts, {text}")
                logged_s = time.monotonic()
            yield part
