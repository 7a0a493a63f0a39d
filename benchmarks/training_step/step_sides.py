"""The two sides of benchmarks/training_step/step.py, ours and the plain one, each with the time of its parts, on samples and trees drawn before."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from plain_model import PlainModel
from plain_step import PlainFinetuning, PlainPretraining

from rdl_core.batches.pretraining_batch import collate
from rdl_core.batches.tree_batch import TreeBatch, collate_trees
from rdl_core.communicator import SingleProcess
from rdl_core.config import PretrainingConfig, ResNetRows, RowsKind, paper
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining import train_step
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.labels import read_split
from rdl_core.tasks.model import TaskModel

CURSOR = (0, 0)


def paper_config(rows: RowsKind, dropout: float | None = None) -> PretrainingConfig:
    config = paper().pretraining
    backbone = config.backbone.of_kind(rows=rows)
    if dropout is not None and isinstance(backbone.rows, ResNetRows):
        backbone = replace(backbone, rows=replace(backbone.rows, dropout=dropout))
    return replace(config, backbone=backbone)


def samples_of(store: Store, config: PretrainingConfig, number: int) -> list[Subgraph]:
    sampler = HGSampling(store.graph, config.sampling, seed=0, before_s=store.schema.cutoff_s + 1)
    return sampler.sample(0, range(number))


class Ours:
    """Our pretraining step on one sample, with the time of its parts."""

    def __init__(self, store: Store, config: PretrainingConfig) -> None:
        torch.manual_seed(0)
        self.store, self.config, self.model = store, config, PretrainingModel(store, config).train()
        self.optimizer = make_optimizer(self.model, config.learning_rate)

    def step(self, subgraph: Subgraph) -> None:
        batch = collate(
            [subgraph],
            [CURSOR],
            self.store.graph,
            self.store.features,
            self.config.corruption,
            seed=0,
            loss=self.config.loss,
        )
        train_step(self.model, batch, self.optimizer, SingleProcess())

    def parts(self, subgraph: Subgraph) -> dict[str, float]:
        """Seconds of each part."""
        clock = Clock()
        batch = collate(
            [subgraph],
            [CURSOR],
            self.store.graph,
            self.store.features,
            self.config.corruption,
            seed=0,
            loss=self.config.loss,
        )
        clock.lap("collate")
        self.optimizer.zero_grad(set_to_none=True)
        encoder = self.model.encoder
        x = encoder.encode_rows(batch.frames, batch.dropout_keys)
        clock.lap("rows")
        h = encoder.propagate(x, batch.edges)
        clock.lap("layers")
        views = [{t: v.chunk(2)[i] if len(v) else v for t, v in h.items()} for i in (0, 1)]
        sums = self.model.loss(*views, batch.layout)
        loss = torch.stack([s.mean for s in sums.values()]).sum()
        clock.lap("losses")
        loss.backward()
        clock.lap("backward")
        self.optimizer.step()
        clock.lap("adam")
        return clock.seconds


class Plain:
    """The plain pretraining step on one sample."""

    def __init__(self, store: Store, config: PretrainingConfig) -> None:
        torch.manual_seed(0)
        self.model = PlainPretraining(store, config, PretrainingModel(store, config).loss).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)

    def step(self, subgraph: Subgraph) -> None:
        self.parts(subgraph)

    def parts(self, subgraph: Subgraph) -> dict[str, float]:
        """Seconds of each part."""
        clock = Clock()
        rank = {t: torch.randperm(n) for t, n in subgraph.num_rows.items()}
        clean, corrupted = self.model.views(subgraph)
        clock.lap("collate")
        self.optimizer.zero_grad(set_to_none=True)
        h, h_corrupted = self.model.encode(clean, subgraph), self.model.encode(corrupted, subgraph)
        clock.lap("forward")
        loss = self.model.loss(h, h_corrupted, subgraph, rank)
        clock.lap("losses")
        loss.backward()
        clock.lap("backward")
        self.optimizer.step()
        clock.lap("adam")
        return clock.seconds


class Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part], self._last = now - self._last, now


def task_batch(store: Store, data: Path, task_name: str, number: int) -> TreeBatch:
    """Batch `number` of 512 training seeds with 128 and 64 neighbours."""
    settings, task = paper().finetuning, load_task(open_dataset(data), task_name)
    split = read_split(task, "train", "rolling", store.test_timestamp_s)
    rows = np.random.default_rng(0).permutation(len(split))[number * settings.batch_size :][: settings.batch_size]
    sampling = TemporalSampling(store.graph, settings.sampling, seed=0)
    trees = sampling.sample(task.entity_table, split.entities[rows], split.before_s[rows], epoch=0, numbers=rows)
    return collate_trees(trees, split.time_s[rows], store.graph, store.features)


def finetuning_sides(store: Store, rows: RowsKind) -> dict[str, torch.nn.Module]:
    config = paper_config(rows).backbone
    torch.manual_seed(0)
    ours = TaskModel(RelationalEncoder(store.schema, store.graph.edge_types, config), paper().finetuning.head_channels)
    plain = PlainFinetuning(PlainModel(store, config), TaskModel(ours.encoder, paper().finetuning.head_channels).head)
    return {"ours": ours.train(), "plain": plain.train()}


def finetuning_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: TreeBatch) -> None:
    optimizer.zero_grad(set_to_none=True)
    target = torch.linspace(-1, 1, batch.num_seeds)
    (model(batch) - target).abs().mean().backward()
    optimizer.step()


def optimizer_of(side: str, model: torch.nn.Module) -> torch.optim.Optimizer:
    return make_optimizer(model, 5e-3) if side == "ours" else torch.optim.Adam(model.parameters(), lr=5e-3)
