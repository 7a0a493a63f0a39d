"""The plain pretraining step: gather, corrupt, two forward passes, losses, backward, Adam; and the plain fine-tuning step.

Both read the same sampled ids as ours. Corruption is vectorised: per column one draw for all rows. Cells come from whole tables held in memory as
TensorFrames, which is what PyTorch Frame's users do.
"""

from __future__ import annotations

import numpy as np
import torch
from plain_losses import PlainLosses
from plain_model import PlainModel
from torch import Tensor
from torch_frame import TensorFrame, stype
from torch_frame.data.multi_embedding_tensor import MultiEmbeddingTensor

from rdl_core.batches.tree_batch import TreeBatch
from rdl_core.config import PretrainingConfig
from rdl_core.contrast import ThreeLevelLoss
from rdl_core.graph.reg import reverse
from rdl_core.graph.store import Store
from rdl_core.sampling.subgraph import Subgraph


class PlainPretraining(torch.nn.Module):
    """One sample's losses.

    Args:
        store, config: As ours.
        loss: Whose matrices the plain losses use.
    """

    def __init__(self, store: Store, config: PretrainingConfig, loss: ThreeLevelLoss) -> None:
        super().__init__()
        self.model, self.losses = PlainModel(store, config.backbone), PlainLosses(loss)
        self.probability = config.corruption.probability
        self.tables = {t: f.gather(np.arange(f.schema.num_rows)) for t, f in store.features.items()}
        distribution = config.corruption.distribution
        self.donors = {
            t: dict(zip([c.name for c in f.schema.columns], map(_long, f.donors(distribution)), strict=True))
            for t, f in store.features.items()
        }

    def views(self, subgraph: Subgraph) -> tuple[dict[str, TensorFrame], dict[str, TensorFrame]]:
        """Clean and corrupted cells of a sample."""
        rows = {t: _long(r) for t, r in subgraph.rows.items()}
        clean = {t: self.tables[t][r] for t, r in rows.items()}
        return clean, {t: self._corrupt(t, frame) for t, frame in clean.items()}

    def encode(self, frames: dict[str, TensorFrame], subgraph: Subgraph) -> dict[str, Tensor]:
        """Row vectors of one view after message passing."""
        links = {e: _long(i) for e, i in subgraph.links.items()}
        return self.model(frames, links | {reverse(e): i.flip(0) for e, i in links.items()}, {})

    def loss(self, h: dict[str, Tensor], corrupted: dict[str, Tensor], subgraph: Subgraph, rank: dict) -> Tensor:
        """The sum of the levels."""
        links = {e: _long(i) for e, i in subgraph.links.items()}
        parts = self.losses(h, corrupted, links, rank).values()
        return torch.stack([total / max(1, count) for total, count in parts]).sum()

    def _corrupt(self, table: str, frame: TensorFrame) -> TensorFrame:
        features = {}
        for kind, block in frame.feat_dict.items():
            whole, new = self.tables[table].feat_dict[kind], block.clone()
            for j, name in enumerate(frame.col_names_dict[kind]):
                donors = self.donors[table][name]
                if not len(donors):
                    continue
                drawn = donors[torch.randint(len(donors), (frame.num_rows,))]
                replaced = torch.rand(frame.num_rows) < self.probability
                if isinstance(new, MultiEmbeddingTensor):
                    cut = slice(int(new.offset[j]), int(new.offset[j + 1]))
                    replaced = replaced.unsqueeze(1)
                    new.values[:, cut] = torch.where(replaced, whole.values[drawn, cut], new.values[:, cut])
                else:
                    replaced = replaced.view(-1, *[1] * (new.dim() - 2))
                    new[:, j] = torch.where(replaced, whole[drawn, j], new[:, j])
            features[kind] = new
        assert stype.multicategorical not in features, "rel-f1 has no lists"
        return TensorFrame(features, frame.col_names_dict)


class PlainFinetuning(torch.nn.Module):
    """Backbone and head on trees: every row encoded where it occurs, all rows in every layer.

    Args:
        model: The backbone.
        head: Maps a seed's vector to its prediction.
    """

    def __init__(self, model: PlainModel, head: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, batch: TreeBatch) -> Tensor:
        """Predictions: [seeds]."""
        frames = {t: frame[batch.index[t]] for t, frame in batch.frames.items()}
        edges = {e: some.edge_index for e, some in batch.edges[-1].items()}
        h = self.model(frames, edges, batch.age_days)
        return self.head(h[batch.entity_table][: batch.num_seeds]).squeeze(1)


def _long(numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(numbers).astype(np.int64))
