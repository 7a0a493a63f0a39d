"""Models as PyTorch modules: a pretrained backbone that gives vectors of rows, and a fine-tuned one that gives predictions.

Promises: `load_model` gives a module in evaluation mode whose weights are the folder's; its `forward` takes the library's own batch of trees or PyG's
HeteroData alike, on whatever device its weights are; `save_pretrained` writes what `load_model` reads, weights trained further included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rdl_core.batches.hetero_trees import hetero_data_to_rows, hetero_data_to_trees, trees_to_hetero_data
from rdl_core.batches.question_inputs import QuestionInputs
from rdl_core.batches.transfer import frames_on_device, on_device
from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.config import BackboneConfig, FinetuningConfig, TemporalSamplingConfig
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, from_pretrained, save_pretrained
from rdl_core.prediction.times import Times, asked_seconds
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.tasks.downstream import as_deep_as
from rdl_core.tasks.inputs import EVALUATION_EPOCH, question_numbers
from rdl_core.tasks.model import finetuning_of, task_model_of
from rdl_core.tasks.target_scale import TargetScale

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


class PretrainedModel(torch.nn.Module):
    """A pretrained backbone: `encoder`, a RelationalEncoder, which knows tables, keys and columns from its `schema`.

    Args:
        checkpoint: A pretrained model, as `from_pretrained` reads it.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.encoder = checkpoint.encoder()
        self.sampling = as_deep_as(FinetuningConfig(), checkpoint.backbone).sampling
        self.sampling_seed = 0
        self.eval()

    @property
    def schema(self) -> Schema:
        """Tables, columns and statistics that the model was trained on."""
        return self.checkpoint.schema

    @property
    def config(self) -> BackboneConfig:
        """The form of the backbone."""
        return self.checkpoint.backbone

    @property
    def about(self) -> dict[str, Any]:
        """The account of how the model was trained, and on what: store, seed, step, figures."""
        return self.checkpoint.about

    def forward(self, batch: TreeBatch | HeteroData) -> Tensor:
        """Returns the vectors of the seeds of trees: [seeds, channels].

        Args:
            batch: From `sample`; a HeteroData of `trees_to_hetero_data`, or a TreeBatch of `collate_trees`.

        Raises:
            ValueError: The batch names no seeds, or lacks inputs that the model reads.
        """
        return self.encoder.embed(self._trees(batch))

    def rows(self, data: HeteroData) -> dict[str, Tensor]:
        """Returns the vectors of all rows of a subgraph, after message passing: [rows, channels] per table.

        Args:
            data: A subgraph of `to_hetero_data`, or PyG's Batch of some; ages are measured before each subgraph's newest row, as in pretraining.
        """
        frames, edges, ages = hetero_data_to_rows(
            data, self.encoder.timed_tables, newest_first=self.config.newest_first
        )
        device = self.device
        found: dict[str, Tensor] = self.encoder(
            frames_on_device(frames, device), on_device(edges, device), on_device(ages, device)
        )
        return found

    def sample(
        self,
        store: Store,
        table: str,
        rows: Iterable[int],
        time: Times = None,
        *,
        sampling: TemporalSamplingConfig | None = None,
    ) -> HeteroData:
        """Returns the trees of rows at a time, which hold rows strictly before it, as PyG's HeteroData with TensorFrames (docs/hetero_data.md).

        Args:
            store: A store with the model's schema.
            table: Table of the rows.
            rows: Their numbers in the table, 0, 1, ...; for the source's own keys see Predictor.
            time: One time, or one per row; a time without zone is UTC. None: just after the last row of the database.
            sampling: Neighbours per hop; None: as the model was fine-tuned, or as deep as a pretrained one's layers.

        Raises:
            ValueError: The store's schema is not the model's; no such table or row; not one time per row.
        """
        self.checkpoint.require_same_schema(store)
        if table not in store.schema.tables:
            raise ValueError(f"no table {table!r}; expected one of {', '.join(store.schema.tables)}")
        numbers = np.fromiter(rows, np.int64)
        time_s = asked_seconds(time, len(numbers), tomorrow_s=store.graph.after_last_row_s)
        sampler = TemporalSampling(store.graph, sampling or self.sampling, seed=self.sampling_seed)
        drawn_by = question_numbers(numbers, time_s)
        trees = sampler.sample(table, numbers, time_s, epoch=EVALUATION_EPOCH, numbers=drawn_by)
        return trees_to_hetero_data(trees, time_s, store, inputs=QuestionInputs(store, self.config))

    def save_pretrained(self, path: Path | str) -> Path:
        """Writes the folder that `load_model` reads, with the weights as they are now; returns its path."""
        return save_pretrained(Path(path), self._checkpoint_now())

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.parameters()).device

    def _checkpoint_now(self) -> Checkpoint:
        now = {f"encoder.{name}": weight for name, weight in cpu_weights(self.encoder).items()}
        return dataclasses.replace(self.checkpoint, weights=self.checkpoint.weights | now)

    def _trees(self, batch: TreeBatch | HeteroData) -> TreeBatch:
        if isinstance(batch, TreeBatch):
            return batch.to(self.device)
        timed = self.encoder.timed_tables
        return hetero_data_to_trees(batch, timed, newest_first=self.config.newest_first).to(self.device)

    def __repr__(self) -> str:
        numbers = sum(weight.numel() for weight in self.parameters())
        return (
            f"{type(self).__name__}({self._title()}: {len(self.schema.tables)} tables, {self.config.channels} channels, {self.config.num_layers} "
            f"layers, {numbers:,} weights)"
        )

    def _title(self) -> str:
        return f"database {self.schema.database!r}"


class FinetunedModel(PretrainedModel):
    """Backbone and head of a task: `task_model`, whose encoder is `encoder`.

    Args:
        checkpoint: A fine-tuned model, as `from_pretrained` reads it.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self.task_model = task_model_of(checkpoint)
        self.encoder = self.task_model.encoder
        self.scale = TargetScale(**checkpoint.about["target_scale"])
        config = finetuning_of(checkpoint)
        self.sampling, self.sampling_seed = config.sampling, config.seed
        self.eval()

    def forward(self, batch: TreeBatch | HeteroData) -> Tensor:
        """Returns predictions for the seeds of trees: float64 [seeds], probabilities of a binary task, values of a regression; of several classes
        [seeds, classes], probabilities in the order of `scale.classes`.

        Args:
            batch: As of PretrainedModel; the seeds are rows of the task's entity table.
        """
        return self.scale.prediction(self.task_model(self._trees(batch)).double())

    def _checkpoint_now(self) -> Checkpoint:
        return dataclasses.replace(self.checkpoint, weights=cpu_weights(self.task_model))

    def _title(self) -> str:
        return f"task {self.about['task']!r} of database {self.schema.database!r}"


def load_model(path: Path | str) -> PretrainedModel | FinetunedModel:
    """Returns the model of a folder, in evaluation mode on the CPU: a FinetunedModel where it was fine-tuned, else a PretrainedModel.

    Args:
        path: Folder that `pretrain`, `finetune`, `rdl pretrain`, `rdl finetune` or `save_pretrained` wrote, or a name on the Hugging Face Hub.

    Raises:
        FileNotFoundError: No model is there.
        ValueError: Another version wrote it, it is damaged, it is of a link task, or it has parts of a user's own that are not registered here.
    """
    checkpoint = from_pretrained(path)
    if checkpoint.kind == "link":
        raise ValueError(
            f"{path} is a model of a link task, which scores pairs of rows and has no forward of one tree. Remedy: "
            "rdl_core.links.predictor.LinkPredictor, or `rdl predict`"
        )
    return FinetunedModel(checkpoint) if checkpoint.kind == "finetuned" else PretrainedModel(checkpoint)
