"""Fresh models of the nasty database, saved as if they were trained, jobs that embed with them, and folders of given vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rdl_core.config import (
    BackboneConfig,
    ColumnsConfig,
    StatisticsConfig,
    TemporalKernelsAggregation,
    TemporalSamplingConfig,
)
from rdl_core.embedding import AboutEmbeddings, EmbeddingJob, EmbeddingsFolder
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint, save_pretrained
from rdl_core.model.fitting import new_encoder

READS_STATISTICS = BackboneConfig(
    channels=16, aggregation=TemporalKernelsAggregation(), statistics=StatisticsConfig(num_last=(1, 4))
)
READS_COLUMNS = BackboneConfig(channels=16, num_layers=1, columns=ColumnsConfig(hops=2, num_children=3))
SAMPLING = TemporalSamplingConfig(num_neighbors=(4, 2), strategy="uniform")


def fresh_model(store: Store, backbone: BackboneConfig) -> Checkpoint:
    """Returns a model with random weights, the same for the same store."""
    torch.manual_seed(0)
    encoder = new_encoder(store, backbone)
    return Checkpoint(
        weights={f"encoder.{name}": weight for name, weight in encoder.state_dict().items()},
        backbone=backbone,
        schema=store.schema,
        edge_types=store.graph.edge_types,
        kind="pretrained",
        about={},
    )


def saved_model(store: Store, backbone: BackboneConfig, folder: Path) -> Path:
    """Returns the folder of a model with random weights."""
    return save_pretrained(folder / "model", fresh_model(store, backbone))


def job(data: Path, store: Store, model: Path, out: Path, table: str, **changes: Any) -> EmbeddingJob:
    """Returns a job in parts of five rows."""
    values: dict[str, Any] = {
        "data": str(data),
        "store": store.place,
        "checkpoint": str(model),
        "table": table,
        "out": str(out),
        "sampling": SAMPLING,
        "rows_per_part": 5,
    }
    return EmbeddingJob(**values | changes)


def folder_of(
    path: Path, keys: pa.Table, vectors: NDArray[np.float32], *, at_s: int = 9, rows_per_part: int = 7
) -> EmbeddingsFolder:
    """Returns whole embeddings of a table `shops`, of a few rows a part."""
    about = AboutEmbeddings(
        table="shops",
        key_columns=tuple(keys.column_names),
        num_rows=len(vectors),
        channels=vectors.shape[1],
        model="m",
        store="s",
        at_s=at_s,
        each_row_at=None,
        sampling=SAMPLING,
        seed=0,
        rows_per_part=rows_per_part,
    )
    folder = EmbeddingsFolder.begin(path, about)
    for part in folder.missing_parts():
        first, end = about.rows_of(part)
        folder.write_part(part, keys.slice(first, end - first), np.full(end - first, at_s), vectors[first:end])
    return EmbeddingsFolder.open(path)
