"""Pretraining in this process alone, without Ray: samples drawn where they are used, and a whole run from a store to its best weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch

from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.communicator import SingleProcess
from rdl_core.config import PretrainingConfig
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining.continuation import start_from
from rdl_core.pretraining.loop import Report, fit
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.state import TrainState
from rdl_core.pretraining.validation import Validation
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.subgraph import Subgraph


def local_sampler(store: Store, config: PretrainingConfig, seed: int) -> HGSampling:
    """Returns the sampler of a store that this process maps; it sees rows up to the cutoff."""
    return HGSampling(store.graph, config.sampling, seed=seed, before_s=store.schema.cutoff_s + 1)


def local_steps(
    sampler: HGSampling, config: PretrainingConfig, first_step: int = 0
) -> Iterable[tuple[list[Subgraph], list[Cursor]]]:
    """Yields the samples of every step from `first_step` on with their cursors: what one worker without Ray trains on."""
    for step in range(first_step, config.max_steps):
        cursors = [
            divmod(k, sampler.samples_per_epoch)
            for k in range(step * config.samples_per_step, (step + 1) * config.samples_per_step)
        ]
        yield [sampler.sample(epoch, [sample])[0] for epoch, sample in cursors], cursors


def pretrain_here(
    store: Store,
    config: PretrainingConfig,
    *,
    init_from: Checkpoint | None = None,
    on_report: Report = lambda state, metrics, is_best: None,
) -> tuple[PretrainingModel, TrainState]:
    """Trains a whole run in this process; returns the model with its best weights, and how the run went.

    Args:
        init_from: The model whose weights the run begins with (continuation.py); None: fresh ones.
    """
    torch.manual_seed(config.seed)
    model = PretrainingModel(store, config)
    if init_from is not None:
        start_from(model, init_from, store)
    optimizer = make_optimizer(model, config.learning_rate)
    sampler = local_sampler(store, config, config.seed)
    best = copy.deepcopy(model.state_dict())

    def report(state: TrainState, metrics: dict[str, float], is_best: bool) -> None:
        if is_best:
            best.update(copy.deepcopy(model.state_dict()))
        on_report(state, metrics, is_best)

    validation = Validation(store, config, local_sampler(store, config, config.seed_of_validation), SingleProcess())
    state = fit(model, optimizer, local_steps(sampler, config), store, config, validation, on_report=report)
    model.load_state_dict(best)
    return model, state
