"""Explainers of tiny models of the nasty database: by trees, by trees and columns, and, as the default preset, by columns alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from relbench.load import RelBenchDataset

from rdl_core.config import TemporalSamplingConfig
from rdl_core.database import load_task
from rdl_core.explanation import Explainer
from rdl_core.graph.reg import reverse
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.prediction import Predictor
from tests.nasty_tasks import POINTS
from tests.rdl_core.prediction.small_models import PLAIN, READING, fine_tune

ALONE = replace(READING, num_layers=0, seed_cells=False)
"""A backbone that reads exact statistics and columns of the row in question, and nothing else."""
BACKBONES = {"trees": PLAIN, "both": READING, "columns": ALONE}


def fine_tuned(folder: Path, store: Store, dataset: RelBenchDataset, kind: str, task: str = POINTS) -> Path:
    """Returns the folder of a model that reads what `kind` says."""
    hops = () if kind == "columns" else (3, 2)
    model, _ = fine_tune(
        folder,
        store,
        load_task(dataset, task),
        BACKBONES[kind],
        sampling=TemporalSamplingConfig(num_neighbors=hops),
    )
    return model


def explainer(model: Path, dataset: RelBenchDataset, store: Store, head: str | None = None) -> Explainer:
    return Explainer(Predictor(from_pretrained(model, kind="finetuned"), dataset, store, head=head))


def number_of(of: Explainer, level: str, name: str) -> int:
    """The place of a group."""
    (found,) = [n for n, group in enumerate(of.groups) if (group.level, group.name) == (level, name)]
    return found


def forget_column(of: Explainer, table: str, column: str) -> None:
    """Sets all weights that read what is made of a column's cells to zero."""
    encoder = of.predictor.model.encoder
    group = of.groups[number_of(of, "column", f"{table}.{column}")].inputs
    with torch.no_grad():
        for name, mask in group.statistics.items():
            encoder.statistics[encoder._key(name)].hidden.weight[:, torch.from_numpy(mask)] = 0
        if len(group.columns):
            entity = of.predictor.question.entity_table
            encoder.columns[encoder._key(entity)].hidden.weight[:, torch.from_numpy(group.columns)] = 0


def forget_key(encoder: RelationalEncoder, key: tuple[str, str, str]) -> None:
    """Sets all weights of messages along a key to zero."""
    with torch.no_grad():
        for layer in encoder.layers:
            for edge_type, aggregation in zip(layer.edge_types, layer.aggregations, strict=True):
                if edge_type in (key, reverse(key)):
                    for weight in aggregation.parameters():
                        weight.zero_()
