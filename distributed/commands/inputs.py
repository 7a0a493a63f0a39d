"""From a command's options to what it works on: the data, its run folder, its store, its configuration.

What is cheap to check comes first; torch and Ray, which take seconds to load, are imported where they are needed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.commands.progress import materializing
from distributed.commands.shared_options import StoreOptions
from distributed.console import say
from distributed.runs.folder import Run
from distributed.runs.folder import open_run as open_run_folder
from rdl_core.checkpoint_files import read_description
from rdl_core.config import PretrainingConfig
from rdl_core.place import Place
from rdl_core.problems import InputError

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

    from rdl_core.graph.schema import Schema
    from rdl_core.graph.store import Store

DATA_ROOTS = (Path("data"), Path("../shared/data"))
"""Folders of datasets, besides RDL_DATA."""


def find_data(data: str | None) -> str:
    """Returns the dataset that `--data` names: a folder, a name below RDL_DATA, data or ../shared/data, or a hub name (org/repo/name).

    Args:
        data: None: RDL_DATA itself, or the only dataset in these folders.

    Raises:
        FileNotFoundError: Naming the datasets that there are.
    """
    given = os.environ.get("RDL_DATA")
    if data is None and given and _is_dataset(Path(given)):
        return given
    roots = [Path(given), *DATA_ROOTS] if given else list(DATA_ROOTS)
    searched = roots[:1] if given else roots
    there = {folder.resolve(): folder for folder in _datasets(searched)}
    names = ", ".join(sorted(folder.name for folder in there.values())) or "none"
    below = f"below {' and '.join(map(str, searched))} there are: {names}"
    if data is None:
        if len(there) == 1:
            return str(next(iter(there.values())))
        raise FileNotFoundError(f"which database? pass --data PATH or --data NAME; {below}")
    for candidate in (Path(data).expanduser(), *(root / data for root in roots)):
        if _is_dataset(candidate):
            return str(candidate)
    if "/" in data and not data.startswith((".", "/", "~")) and not Path(Path(data).parts[0]).exists():
        return data  # a hub name: relbench's own loader fetches it
    raise FileNotFoundError(
        f"no RelBench dataset at {data!r} (no manifest.yaml there, nor below {', '.join(map(str, roots))}); {below}.\n"
        f"Remedy: pass a folder with manifest.yaml, one of RelBench's by its hub name (stanford-star/relbench-v1/rel-f1), "
        f"or make one with `rdl import`"
    )


def _is_dataset(folder: Path) -> bool:
    return (folder / "manifest.yaml").exists()


def _datasets(roots: list[Path]) -> Iterator[Path]:
    for root in roots:
        yield from (manifest.parent for manifest in sorted(root.glob("*/manifest.yaml")))


def open_data(options: StoreOptions) -> tuple[Place, RelBenchDataset]:
    """Returns where the data is, and the validated dataset.

    Raises:
        FileNotFoundError: There is no such dataset.
        DatabaseError: The dataset is broken.
        ValueError: A column to leave out does not exist, or the store's settings are wrong.
    """
    data: Place | None = None
    if options.data is not None and "://" in options.data:
        from distributed.storage import FolderCache, find_folder

        data = find_folder(options.data, "dataset", FolderCache(directory=options.cache_dir))
        if data is None:
            raise FileNotFoundError(f"no files at {options.data}; expected a RelBench folder: manifest.yaml, db/")
    else:
        data = find_data(options.data)
        if data != options.data:
            say(f"data       {data}")
    from rdl_core.database import check_excluded_columns, open_dataset

    dataset = open_dataset(data)
    check_excluded_columns(dataset, options.store.exclude_columns)
    return data, dataset


def refuse_unlinked(dataset: RelBenchDataset) -> None:
    """Refuses to learn from tables none of which refers to another; one table alone has nothing to refer to, and is said.

    Raises:
        InputError: There are several tables and no foreign key.
    """
    tables = dataset.manifest.tables
    if any(spec.fkeys for spec in tables.values()):
        return
    if len(tables) == 1:
        say(f"{next(iter(tables))} is the only table: rows are learnt from one by one, without links")
        return
    raise InputError(
        f"{dataset.manifest.name}: no table refers to another one: {', '.join(sorted(tables))} have no foreign key, so that nothing "
        "can be learnt across them.\nRemedy: import again with the keys declared: `rdl import --source SOURCE --propose schema.yaml` writes "
        "a schema file with the columns that look like keys, for --schema-file; `--accept` takes those that are certain"
    )


def open_run(options: StoreOptions, command: str, dataset: RelBenchDataset, settings: Mapping[str, Any]) -> Run:
    """Returns the run folder; its identity holds the store's name, hence the database's content and the store's settings.

    Raises:
        FileExistsError: The folder is of another configuration.
    """
    from rdl_core.graph.materialization import store_name

    identity = {"store": store_name(dataset, options.store, model_schema(options, dataset)), **settings}
    return open_run_folder(options.runs_dir, options.run_name, command, dataset.manifest.name, identity)


def model_schema(options: StoreOptions, dataset: RelBenchDataset) -> Schema | None:
    """Returns the schema by which the data is read instead of one fitted on it: that of --schema-of, that of --init-from with the data's new
    categories, or that of the command's checkpoint if a store of the data was made with it by `rdl materialize --schema-of`.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It has another format, or is damaged.
    """
    from rdl_core.graph.materialization import store_name, with_new_categories
    from rdl_core.graph.schema import Schema

    if (init_from := getattr(options, "init_from", None)) is not None:
        known = Schema.from_json(read_description(init_from, kind="pretrained")["schema"])
        return with_new_categories(dataset, known, options.store)
    if (earlier := _earlier_store(options)) is not None:
        return earlier.schema
    given = options.schema_of or getattr(options, "checkpoint", None)
    if given is None:
        return None
    schema = Schema.from_json(read_description(given)["schema"])
    if options.schema_of is not None:
        return schema
    stores_dir, name = _stores_dir(options), store_name(dataset, options.store, schema)
    if "://" in stores_dir:
        from distributed.storage import FolderCache, find_folder

        is_made = find_folder(f"{stores_dir}/{name}", "store", FolderCache(directory=options.cache_dir)) is not None
    else:
        is_made = (Path(stores_dir) / name / "store.json").exists()
    return schema if is_made else None


def _earlier_store(options: StoreOptions) -> Store | None:
    from rdl_core.graph.store import open_store

    path = getattr(options, "append", None)
    return None if path is None else open_store(path)


def _stores_dir(options: StoreOptions) -> str:
    return options.stores_dir or str(options.runs_dir / "stores")


def open_store(
    options: StoreOptions, dataset: RelBenchDataset, *, workers: int = 1, data: Place | None = None
) -> Store:
    """Returns the dataset's store, made if it is not there yet.

    Args:
        workers: Above 1, tables are encoded by so many through Ray Data; a store at a URL is made in this process.
        data: Where the dataset is, for these workers.
    """
    from distributed.storage import FolderCache, materialize_at_url, materialize_in_parallel
    from rdl_core.graph.materialization import materialize

    stores_dir, model = _stores_dir(options), model_schema(options, dataset)
    if model is not None:
        from rdl_core.graph.known_schema import check_known

        of = getattr(options, "append", None) or options.schema_of or getattr(options, "init_from", None)
        say(f"read with the statistics and vocabularies of {of or 'the checkpoint'}")
        for line in check_known(dataset, model):
            say(line)
    is_url = "://" in stores_dir
    if workers > 1 and data is not None and not is_url:
        from distributed.cluster.session import start_ray

        start_ray(0, workers)
        store = materialize_in_parallel(dataset, Path(stores_dir), options.store, data=data, model=model, progress=say)
    else:
        with materializing(dataset) as (show, advance):
            report: dict[str, Any] = {"model": model, "progress": show, "advance": advance}
            if is_url:
                cache = FolderCache(directory=options.cache_dir)
                store = materialize_at_url(dataset, stores_dir, options.store, cache, **report)
            else:
                store = materialize(dataset, Path(stores_dir), options.store, earlier=_earlier_store(options), **report)
    for line in [*new_lines(store), *unknown_lines(store)]:
        say(line)
    return store


def new_lines(store: Store) -> list[str]:
    """Returns a line per column of a store that has categories which came after a model's first pretraining."""
    return [
        f"{table.name}.{column.name}: {len(column.categories) - column.num_measured:,} categories came after the first pretraining"
        for table in store.schema.tables.values()
        for column in table.columns
        if column.num_measured is not None
    ]


def unknown_lines(store: Store) -> list[str]:
    """Returns a line per column of a store that has values which the model's vocabulary lacks."""
    return [
        f"{table.name}.{column}: {number:,} of {table.num_rows:,} rows have a value that the model does not know; it reads them as unknown"
        for table in store.schema.tables.values()
        for column, number in table.unknown_values.items()
    ]


def with_samples_for(config: PretrainingConfig, workers: int) -> PretrainingConfig:
    """Returns the configuration with at least one sample per step for every worker, and says so where that changes it.

    A run's configuration is changed nowhere else after the command line is read.
    """
    if config.samples_per_step >= workers:
        return config
    say(f"samples per step raised from {config.samples_per_step} to {workers}: one per worker")
    return dataclasses.replace(config, samples_per_step=workers)
