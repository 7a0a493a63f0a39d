"""The work of import, materialize and sample: from a database to its store and samples (options.py has their options)."""

from __future__ import annotations

import dataclasses
from typing import Any

from distributed.commands.inputs import open_data, open_run, open_store
from distributed.commands.options import Import, Materialize, Sample
from distributed.console import say
from distributed.importing.config import ImportConfig
from distributed.runs.folder import open_run as open_run_folder


def run_import(options: Import) -> dict[str, Any]:
    """Returns {"out", the import's report}; with --propose {"schema_file", "proposal"}."""
    from distributed.importing.importer import import_database, propose_schema
    from distributed.sources.credentials import without_credentials

    config = ImportConfig(**{f.name: getattr(options, f.name) for f in dataclasses.fields(ImportConfig)}).named()
    settings = {**dataclasses.asdict(config), "source": without_credentials(config.source)}
    named = str(config.propose or config.out)
    run = open_run_folder(options.runs_dir, options.run_name, "import", named, settings)
    if config.propose is not None:
        proposal = propose_schema(config, progress=say)
        say(f"{config.propose}: written; read it, change it, then import with --schema-file {config.propose}")
        return run.finish({"schema_file": str(config.propose), "proposal": dataclasses.asdict(proposal)})
    report = import_database(config, progress=say)
    return run.finish({"out": str(config.out), **report.as_json()})


def run_materialize(options: Materialize) -> dict[str, Any]:
    """Returns {"store", "content_hash", "bytes", "schema_picture", "exists_from", "rows", "left_out", "unknown_values"}."""
    data, dataset = open_data(options)
    from distributed.commands.report import draw_schema, row_existence, show_store

    run = open_run(options, "materialize", dataset, dataclasses.asdict(options.store))
    store = open_store(options, dataset, workers=options.workers, data=data)
    show_store(store)
    picture = draw_schema(store, run.folder / "schema.png")
    place = str(store.remote or store.path)
    say(f"store      {place}\nschema     {picture}")
    result = {
        "store": place,
        "content_hash": store.content_hash,
        "bytes": store.num_bytes,
        "schema_picture": str(picture),
        "exists_from": row_existence(store),
        "rows": {name: table.num_rows for name, table in store.schema.tables.items()},
        "left_out": {name: table.left_out for name, table in store.schema.tables.items()},
        "unknown_values": {name: table.unknown_values for name, table in store.schema.tables.items()},
    }
    return run.finish(result)


def run_sample(options: Sample) -> dict[str, Any]:
    """Returns {"out", "samples", counts of rows and edges, "balance_picture"}."""
    _, dataset = open_data(options)
    from distributed.cluster.session import start_ray
    from distributed.commands.report import balance_text, draw_balance
    from distributed.sampling.export import export_samples
    from distributed.sampling.placement import place
    from rdl_core.sampling.balance import SAMPLES_OF_BALANCE, balance

    settings = {
        "sampling": dataclasses.asdict(options.sampling),
        "samples": options.samples,
        "seed": options.seed,
        "out": str(options.out),
    }
    run = open_run(options, "sample", dataset, settings)
    store = open_store(options, dataset)
    if options.samplers > 1 or options.placement == "sharded":
        start_ray(0, options.samplers)
    placed = place(store, options.sampling, options.placement, options.shards)
    say(f"graph placement: {placed.why}")
    counts = export_samples(
        store,
        options.sampling,
        options.samples,
        options.out,
        seed=options.seed,
        placement=placed,
        samplers=options.samplers,
    )
    sampler = placed.sampling(options.sampling, options.seed)
    compared = balance(sampler, min(options.samples, SAMPLES_OF_BALANCE))
    picture = draw_balance(compared, store.schema.database, options.out / "balance.png")
    say(f"{balance_text(compared)}\npicture    {picture}")
    return run.finish({"out": str(options.out), "samples": options.samples, **counts, "balance_picture": str(picture)})
