"""What import, materialize and sample do: from a database to its store and samples (commands.py has their options)."""

from __future__ import annotations

import dataclasses
from typing import Any

from distributed.cluster.session import start_ray
from distributed.commands.inputs import open_data, open_run, open_store, replaced, store_config
from distributed.commands.options import Import, Materialize, Sample
from distributed.commands.report import (
    balance_text,
    draw_balance,
    draw_schema,
    row_existence,
    show_store,
)
from distributed.console import say
from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.runs.folder import finish
from distributed.runs.folder import open_run as open_run_folder
from distributed.sampling.export import export_samples
from distributed.sampling.placement import place
from rdl_core.config import PRESETS
from rdl_core.sampling.balance import SAMPLES_OF_BALANCE, balance


def run_import(options: Import) -> dict[str, Any]:
    """Returns {"out", the import's report}."""
    config = ImportConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(ImportConfig)})
    run = open_run_folder(options.runs_dir, options.run_name, "import", str(options.out), dataclasses.asdict(config))
    report = import_database(config, progress=say)
    return finish(run, {"out": str(options.out), **dataclasses.asdict(report)})


def run_materialize(options: Materialize) -> dict[str, Any]:
    data, dataset = open_data(options)
    run = open_run(options, "materialize", dataset, dataclasses.asdict(store_config(options)))
    store = open_store(options, dataset, workers=options.workers, data=data)
    show_store(store)
    picture = draw_schema(store, run.folder / "schema.png")
    say(f"store      {store.remote or store.path}\nschema     {picture}")
    return finish(run, {
        "store": str(store.remote or store.path), "content_hash": store.content_hash, "bytes": store.num_bytes, "schema_picture": str(picture),
        "exists_from": row_existence(store),
        "rows": {t: s.num_rows for t, s in store.schema.tables.items()},
    })  # fmt: skip


def run_sample(options: Sample) -> dict[str, Any]:
    if options.samples < 1:
        raise ValueError(f"--samples must be at least 1, got {options.samples}")
    options.check()
    _, dataset = open_data(options)
    config = replaced(PRESETS[options.preset]().pretraining, seed=options.seed)
    settings = {
        "sampling": dataclasses.asdict(config.sampling),
        "samples": options.samples,
        "seed": config.seed,
        "out": str(options.out),
    }
    run = open_run(options, "sample", dataset, settings)
    store = open_store(options, dataset)
    if options.samplers > 1 or options.placement == "sharded":
        start_ray(0, options.samplers)
    placed = place(store, config.sampling, options.placement, options.shards)
    say(f"graph placement: {placed.why}")
    counts = export_samples(
        store,
        config.sampling,
        options.samples,
        options.out,
        seed=config.seed,
        placement=placed,
        samplers=options.samplers,
    )
    sampler = placed.sampling(config.sampling, config.seed)
    found = balance(sampler, min(options.samples, SAMPLES_OF_BALANCE))
    picture = draw_balance(found, store.schema.database, options.out / "balance.png")
    say(f"{balance_text(found)}\npicture    {picture}")
    return finish(run, {"out": str(options.out), "samples": options.samples, **counts, "balance_picture": str(picture)})
