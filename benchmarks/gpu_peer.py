"""RelBench's modules as a peer on the same device and samples: two passes, one per view, with our losses; fine-tuning on whole trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_frame import TensorFrame

from benchmarks.training_step.plain_model import PlainModel
from rdl_core.batches.pretraining_batch import PretrainingBatch
from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.config import BackboneConfig, PretrainingConfig
from rdl_core.graph.reg import EdgeType, reverse
from rdl_core.graph.store import Store
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.sampling.subgraph import Subgraph


@dataclass(frozen=True)
class PeerInputs:
    """One step's inputs on the device: cells and links of both views, and our batch for the losses."""

    views: tuple[dict[str, TensorFrame], dict[str, TensorFrame]]
    edges: dict[EdgeType, Tensor]
    batch: PretrainingBatch


class PeerPretraining(torch.nn.Module):
    """RelBench's encoder and GraphSAGE with the three levels.

    Args:
        store: Its schema and keys shape the model.
        config: The sizes.
    """

    def __init__(self, store: Store, config: PretrainingConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = PlainModel(store, config.backbone)
        self.loss = PretrainingModel(store, config).loss

    def inputs(self, batch: PretrainingBatch, subgraphs: Sequence[Subgraph], device: torch.device) -> PeerInputs:
        """Returns a batch's inputs on the device."""
        halves = [
            {
                t: f[torch.arange(view * n, (view + 1) * n)].to(device)
                for t, f in batch.frames.items()
                for n in [f.num_rows // 2]
            }
            for view in (0, 1)
        ]
        return PeerInputs((halves[0], halves[1]), _joined_links(subgraphs, device), batch.to(device))

    def step(self, inputs: PeerInputs, optimizer: torch.optim.Optimizer) -> None:
        """Makes one update."""
        optimizer.zero_grad(set_to_none=True)
        clean, corrupted = (self.model(frames, inputs.edges, {}) for frames in inputs.views)
        sums = self.loss(clean, corrupted, inputs.batch.layout)
        loss = torch.stack([one.mean for one in sums.values()]).sum()
        loss.backward()
        optimizer.step()
        loss.item()  # as ours, which reads its losses in every step


class PeerFinetuning(torch.nn.Module):
    """RelBench's encoder and GraphSAGE on trees: every row is encoded where it occurs, and all rows pass every layer.

    Args:
        store: Its schema and keys shape the model.
        config: The sizes.
    """

    def __init__(self, store: Store, config: BackboneConfig) -> None:
        super().__init__()
        self.model, self.head = PlainModel(store, config), torch.nn.Linear(config.channels, 1)

    def forward(self, batch: TreeBatch) -> Tensor:
        """Returns predictions: [seeds]."""
        frames = {t: frame[batch.index[t]] for t, frame in batch.frames.items()}
        h = self.model(frames, indices_of(batch.edges), batch.age_days)
        return self.head(h[batch.entity_table][: batch.num_seeds]).squeeze(1)


def indices_of(edges: Sequence[Mapping[EdgeType, Any]]) -> dict[EdgeType, Tensor]:
    """Returns the edges of the first layer, which are all, as PyG has them: int64 [2, edges] (source, target) per type."""
    return {edge_type: one.edge_index for edge_type, one in edges[0].items()}


def _joined_links(subgraphs: Sequence[Subgraph], device: torch.device) -> dict[EdgeType, Tensor]:
    """Returns the links of disjoint subgraphs in both directions, in the rows of their union."""
    sizes = {t: [len(s.rows[t]) for s in subgraphs] for t in subgraphs[0].rows}
    first = {t: np.cumsum([0, *n]) for t, n in sizes.items()}
    edges = {}
    for child, fkey_col, parent in subgraphs[0].edge_types:
        shifted = [
            s.links[child, fkey_col, parent].astype(np.int64) + np.array([[first[child][i]], [first[parent][i]]])
            for i, s in enumerate(subgraphs)
        ]
        index = torch.from_numpy(np.concatenate(shifted, axis=1)).to(device)
        edges[child, fkey_col, parent] = index
        edges[reverse((child, fkey_col, parent))] = index.flip(0)
    return edges
