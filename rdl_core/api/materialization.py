"""A dataset to a store, as the Python interface calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.graph.materialization import materialize as materialize_in
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store


def materialize(
    dataset: RelBenchDataset,
    folder: Path | str = "runs/stores",
    config: StoreConfig | None = None,
    *,
    schema: Schema | None = None,
    on_table: Callable[[str], None] = lambda table: None,
) -> Store:
    """Makes the store of a dataset, or opens it if it was made before; `print(store)` shows what it holds.

    Args:
        dataset: From `open_dataset`.
        folder: The store becomes a folder in it, named by the database and a hash of its data and settings.
        config: Settings; None for the defaults. `exclude_columns` names columns that no model shall see.
        schema: A model's schema (`model.schema`): data is read by its statistics and vocabularies. None: they are fitted on rows up to the cutoff.
        on_table: Called with the name of each table that is done.

    Raises:
        ValueError: `exclude_columns` names something that is no attribute.
        DatabaseError: The dataset lacks what `schema` knows, or has it with another type.
        OSError: The disk is full.
    """
    return materialize_in(dataset, Path(folder), config, model=schema, progress=on_table)
