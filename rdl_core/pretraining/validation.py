"""Validation of pretraining: losses and effective rank on samples of their own streams, shared among the workers, with the weights as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.batches.row_source import RowSource, mapped_rows
from rdl_core.communicator import Communicator
from rdl_core.config import PRETRAINING_LEVELS, PretrainingConfig
from rdl_core.contrast import LEVELS, effective_rank
from rdl_core.graph.store import Store
from rdl_core.pretraining.model import unwrapped
from rdl_core.pretraining.step_input import step_input
from rdl_core.sampling.hg_sampling import HGSampling

VALIDATION_EPOCH = 1 << 40
"""Validation samples are those of epochs from this number on, which training never reaches."""
LOSS_OF_CHANCE = 1.0
"""The loss of a level of contrast by chance, since its logarithm's base is the number of candidates; of the future level, that of the best
constant answers."""


def validation_loss(metrics: Mapping[str, float], levels: Sequence[str] = LEVELS) -> float:
    """Returns the one figure by which validations are compared, the sum of the levels; one that is absent counts as chance: to lack it is no gain.

    Args:
        levels: Those that are on.
    """
    return sum(metrics.get(f"validation/{level}", LOSS_OF_CHANCE) for level in PRETRAINING_LEVELS if level in levels)


class Validation:
    """Loss per level and effective rank on samples that training never sees.

    Args:
        store: Store of the run.
        config: Configuration of the run.
        sampler: HGSampling with the run's sampling and `config.seed_of_validation`.
        communicator: Samples are shared among its workers.
        rows: Where times and cells are; by default the mapped store.
    """

    def __init__(
        self,
        store: Store,
        config: PretrainingConfig,
        sampler: HGSampling,
        communicator: Communicator,
        rows: RowSource | None = None,
    ) -> None:
        self.store, self.config, self.sampler, self.communicator = store, config, sampler, communicator
        self.rows = rows or mapped_rows(store)
        p = config.validation_corruption
        self.corruption = config.corruption if p is None else dataclasses.replace(config.corruption, probability=p)

    def cursors(self, step: int) -> list[Cursor]:
        """Returns (epoch, sample) of the samples of a validation: always the same, or fresh ones each time."""
        number = -(-step // self.config.validation_interval_steps) if self.config.validation_fresh else 0
        per_epoch, first = self.sampler.samples_per_epoch, number * self.config.validation_samples
        return [
            (VALIDATION_EPOCH + k // per_epoch, k % per_epoch)
            for k in range(first, first + self.config.validation_samples)
        ]

    @torch.no_grad()
    def __call__(self, model: torch.nn.Module, step: int) -> dict[str, float]:
        """Returns {"validation/row": ..., "validation/link": ..., and so on for each level that is on, "effective_rank": ...}.

        A level without input is left out. The effective rank is that of the seeds' vectors; without any level of contrast of the questions' rows.
        """
        model.eval()
        device, core = next(model.parameters()).device, unwrapped(model)
        levels, has_contrast = core.levels, core.has_contrast
        sums = torch.zeros(2, len(levels), dtype=torch.float64, device=device)
        seed_rows = [torch.zeros(0, self.config.backbone.channels, device=device)]
        for epoch, sample in self.cursors(step)[self.communicator.rank :: self.communicator.world_size]:
            subgraphs = self.sampler.sample(epoch, [sample]) if has_contrast else []
            seed = self.config.seed_of_validation
            made = step_input(
                core, subgraphs, [(epoch, sample)], self.rows, self.corruption, self.config.loss, seed=seed
            ).to(device)
            totals, counts, h = model(made.contrast, made.questions)
            sums[0] += torch.stack([totals[level] for level in levels]).double()
            sums[1] += torch.stack([counts[level] for level in levels]).double()
            seed_rows += [h[self.sampler.seeds.table]] if has_contrast else h.values()
        model.train()
        h = torch.cat(self.communicator.gather(torch.cat(seed_rows)))
        totals_all, counts_all = self.communicator.sum(sums)
        metrics = {
            f"validation/{level}": total / count
            for level, total, count in zip(levels, totals_all.tolist(), counts_all.tolist(), strict=True)
            if count > 0
        }
        return {**metrics, "effective_rank": effective_rank(h)}
