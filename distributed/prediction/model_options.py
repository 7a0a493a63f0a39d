"""Common ground of the commands that ask a fine-tuned model: the store that it reads, and what tells it from others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distributed.commands.shared_options import StoreOptions
from rdl_core.checkpoint_files import CHECKSUMS, read_description, weights_digest
from rdl_core.checksums import sha256_of

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

Options = TypeVar("Options", bound=StoreOptions)


def model_identity(checkpoint: Path, head: str | None) -> dict[str, Any]:
    """Returns what decides predictions besides the data: the weights, and beside equal weights heads, intervals and calibration."""
    kept = checkpoint / CHECKSUMS
    return {
        "checkpoint": weights_digest(checkpoint),
        "folder": sha256_of(kept)[:16] if kept.exists() else None,
        "head": head,
    }


def with_readable_store(options: Options, checkpoint: Path, dataset: RelBenchDataset) -> Options:
    """Returns the options with --schema-of the checkpoint, unless a store that was fitted on the data is one that the model reads."""
    if options.schema_of is not None or "://" in (options.stores_dir or ""):
        return options
    from rdl_core.graph.schema import Schema
    from rdl_core.prediction.model_store import fitted_store

    schema = Schema.from_json(read_description(checkpoint)["schema"])
    stores_dir = Path(options.stores_dir or options.runs_dir / "stores")
    if fitted_store(dataset, schema, stores_dir) is not None:
        return options
    return dataclasses.replace(options, schema_of=checkpoint)
