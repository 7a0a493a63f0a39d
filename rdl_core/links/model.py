"""The score of a link: two towers joined by the link level's bilinear map, and a term on the statistics of past links.

    score(s, d) = (s W d + v d) / channels + pair(s, d)       s, d: vectors of both ends by one backbone, layer-normed
    pair(s, d)  = w x + u relu(A x)                                x: statistics of the source, the destination and the pair

Promises: with the towers off, or their maps at zero, the score can order destinations as popularity does, and as past links do; the map of the pair
term is summed over its three inputs, so that only pairs that were linked cost more than an addition.
Source: Yi et al. 2019, Sampling-bias-corrected neural modeling for large corpus item recommendations (two towers); the bilinear map is that of
rdl_core/contrast/levels.py.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import dropout, layer_norm

from rdl_core.links.pair_statistics import PairInputs
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint


class PairTerm(torch.nn.Module):
    """The term on statistics of past links; it starts at zero.

    Args:
        end_width, pair_width: Numbers of statistics of an end and of a pair.
        channels: Hidden channels; 0 for the linear part alone.
    """

    def __init__(self, end_width: int, pair_width: int, channels: int) -> None:
        super().__init__()
        self.linear_destination = torch.nn.Linear(end_width, 1, bias=False)
        self.linear_pair = torch.nn.Linear(pair_width, 1, bias=False)
        torch.nn.init.zeros_(self.linear_destination.weight)
        torch.nn.init.zeros_(self.linear_pair.weight)
        self.channels = channels
        if channels:
            self.of_source = torch.nn.Linear(end_width, channels)
            self.of_destination = torch.nn.Linear(end_width, channels, bias=False)
            self.of_pair = torch.nn.Linear(pair_width, channels, bias=False)
            self.out = torch.nn.Linear(channels, 1, bias=False)
            torch.nn.init.zeros_(self.out.weight)

    def forward(self, inputs: PairInputs) -> Tensor:
        """Returns [questions, destinations]."""
        source, destination, pair = (
            torch.from_numpy(x).to(self.linear_pair.weight.device)
            for x in (inputs.of_source, inputs.of_destination, inputs.of_pair)
        )
        question, place = torch.from_numpy(inputs.question), torch.from_numpy(inputs.destination)
        scores = self.linear_destination(destination).T.repeat(len(source), 1)
        scores = scores.index_put((question, place), self.linear_pair(pair).squeeze(1), accumulate=True)
        if not self.channels:
            return scores
        hidden = self.of_source(source)[:, None] + self.of_destination(destination)[None]
        hidden = hidden.index_put((question, place), self.of_pair(pair), accumulate=True)
        return scores + self.out(torch.relu(hidden)).squeeze(2)


class LinkModel(torch.nn.Module):
    """Backbone, bilinear map and pair term.

    Args:
        encoder: The backbone; its table of sources and of destinations are embedded alike.
        pair: The term on statistics.
        matrix: [channels, channels], what the bilinear map starts with; None: zeros.
        vector_dropout: Probability that a number of an end's vector is dropped in training.
        has_towers: Whether the vectors have a part in the score.
    """

    def __init__(
        self,
        encoder: RelationalEncoder,
        pair: PairTerm,
        *,
        matrix: Tensor | None = None,
        vector_dropout: float = 0.0,
        has_towers: bool = True,
    ) -> None:
        super().__init__()
        channels = encoder.config.channels
        self.encoder, self.pair, self.vector_dropout, self.has_towers = encoder, pair, vector_dropout, has_towers
        start = torch.zeros(channels, channels) if matrix is None else matrix.clone()
        self.matrix = torch.nn.Parameter(start)
        self.of_destination = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, sources: Tensor | None, destinations: Tensor | None, inputs: PairInputs) -> Tensor:
        """Returns scores: [questions, destinations].

        Args:
            sources, destinations: [questions, channels] and [destinations, channels], vectors of the backbone; None without towers.
            inputs: Statistics of the same rows.
        """
        scores: Tensor = self.pair(inputs)
        if sources is None or destinations is None:
            return scores
        s, d = (self._normed(x) for x in (sources, destinations))
        return scores + (s @ self.matrix @ d.T + d @ self.of_destination) / s.shape[1]

    def _normed(self, x: Tensor) -> Tensor:
        return dropout(layer_norm(x, x.shape[1:]), self.vector_dropout, self.training)


def pretrained_matrix(checkpoint: Checkpoint, source: str, destination: str) -> Tensor | None:
    """Returns the link level's map between two tables that a key joins, [channels, channels], or None where the checkpoint has none.

    Of several keys it is the first one's; of the two directions, the one from source to destination.
    """
    for number, (child, _, parent) in enumerate(checkpoint.edge_types):
        if {child, parent} != {source, destination}:
            continue
        is_shared = f"loss.link.matrices.{2 * len(checkpoint.edge_types) - 1}" not in checkpoint.weights
        to_parent = source == child
        place = number if is_shared else 2 * number + (0 if to_parent else 1)
        matrix = checkpoint.weights.get(f"loss.link.matrices.{place}")
        if matrix is None:
            return None
        return matrix.T if is_shared and not to_parent else matrix
    return None


def sampled_softmax_loss(scores: Tensor, log_weight: Tensor, question: Tensor, positive: Tensor) -> Tensor:
    """Returns the sum over questions of the mean over their positives of -log softmax.

        loss[q] = mean over p of -log(exp(scores[q, p]) / sum over c of exp(scores[q, c] + log_weight[q, c]))

    Args:
        scores, log_weight: [questions, candidates], as of Candidates.
        question, positive: int64 [positives].
    """
    of_all = torch.logsumexp(scores + log_weight, dim=1)
    losses = of_all[question] - scores[question, positive]
    count = torch.bincount(question, minlength=len(scores)).clamp(min=1)
    return (losses / count[question]).sum()
