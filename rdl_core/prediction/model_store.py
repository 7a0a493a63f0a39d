"""The store by which a model reads a dataset: found where one lies that it can read, else made with its schema.

Promises: a store that was fitted on this very data is taken where its schema is the model's; otherwise the data is read with the model's statistics
and vocabularies (known_schema.py), as `rdl materialize --schema-of` does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.database.appended import file_digests
from rdl_core.graph.materialization import materialize, store_name
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store, open_store

STORES_DIR = Path("runs/stores")
"""The folder in which the commands keep stores, by default."""


def fitted_store(dataset: RelBenchDataset, model: Schema, stores_dir: Path) -> Store | None:
    """Returns the store that was fitted on a dataset, if there is one and a model of this schema reads it; else None."""
    config = StoreConfig(text_embedder=model.text_embedder, timeless_rows=model.timeless_rows)  # type: ignore[arg-type]
    path = stores_dir / store_name(dataset, config)
    if not (path / "store.json").exists():
        return None
    store = open_store(path)
    return None if model.differences(store.schema) else store


def find_or_make_store(dataset: RelBenchDataset, model: Schema, stores_dir: Path = STORES_DIR) -> Store:
    """Returns the store of a dataset by which a model reads it, made if there is none.

    Raises:
        DatabaseError: The dataset lacks what the model knows, or has it with another type.
        OSError: The disk is full.
    """
    found = fitted_store(dataset, model, stores_dir)
    return found if found is not None else materialize(dataset, stores_dir, model=model)


def data_hash(dataset: RelBenchDataset) -> str:
    """Returns 16 hex digits that tell a dataset's content from another: of its manifest, settings and tables."""
    digests = file_digests(Path(dataset.dataset_dir), list(dataset.manifest.tables))
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
