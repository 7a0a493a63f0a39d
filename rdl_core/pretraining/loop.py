"""Pretraining: one step, validation, and `fit`, the loop that every distributed run must equal.

Promises
- A step is `samples_per_step` samples over all workers. The loss of a level is the sum of its inputs' losses over all workers, divided once by
  their count over all workers; the gradient equals that of one process on the joined batch.
- Validation uses samples of their own streams, shared among the workers, and the weights as they are; the best weights are kept.
- `fit` can be stopped and resumed at any step: `TrainState` and the optimizer hold all that changes.
- Nothing after the cutoff is read: samplers get `before_s = cutoff + 1`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rdl_core.batches.pretraining_batch import Cursor, PretrainingBatch
from rdl_core.batches.row_source import RowSource, mapped_rows
from rdl_core.batches.transfer import on_device
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import PretrainingConfig
from rdl_core.future import FutureBatch
from rdl_core.graph.store import Store
from rdl_core.pretraining.model import PretrainingModel, unwrapped
from rdl_core.pretraining.prefetch import made_of
from rdl_core.pretraining.state import TrainState, with_samples
from rdl_core.pretraining.step_input import StepInput, step_input
from rdl_core.pretraining.validation import validation_loss
from rdl_core.sampling.subgraph import Subgraph

Counts = dict[str, dict[str, int]]
"""{"rows": {table: n}, "links": {key: n}}."""
Report = Callable[[TrainState, dict[str, float], bool], None]
"""Called after each validation and at the end with (state, metrics, whether this is the best so far)."""


def train_step(
    model: torch.nn.Module,
    batch: PretrainingBatch | None,
    optimizer: torch.optim.Optimizer,
    communicator: Communicator,
    gradient_clip_norm: float | None = None,
    carried: Sequence[float] = (),
    *,
    questions: Sequence[FutureBatch] = (),
    is_measured: bool = False,
) -> tuple[dict[str, float], list[float]]:
    """Makes one update; returns (the normalised loss per level that has an input, the sums of `carried`), both over all workers.

    The summed losses are divided by the count over all workers; DDP averages gradients over workers, hence the factor world_size: this is the
    one place of that scale. Counts, losses and `carried` ride in one collective between forward and backward pass; a step has no other but DDP's own,
    since at each the workers wait for the slowest. Where levels are balanced, a step that is measured has one more.

    Args:
        batch, questions: What the model's levels need; None and none for those that are off.
        is_measured: Whether the levels' gradients are measured in this step, if they are balanced.

    Raises:
        FloatingPointError: The loss is not finite.
    """
    optimizer.zero_grad(set_to_none=True)
    numbers_of_worker = on_device(torch.tensor(carried, dtype=torch.float64), next(model.parameters()).device)
    totals, counts, _ = model(batch, questions)
    levels = tuple(totals)
    mine = [torch.stack([one[level].detach() for level in levels]).double() for one in (counts, totals)]
    sums = communicator.sum(torch.cat([*mine, numbers_of_worker]))
    means = {level: totals[level] / sums[i].clamp(min=1).to(totals[level].dtype) for i, level in enumerate(levels)}
    loss = _weighted(means, unwrapped(model), communicator, is_measured=is_measured)
    (loss * communicator.world_size).backward()
    numbers = sums.tolist()  # of a GPU: after the backward pass is under way
    parts = zip(levels, numbers[: len(levels)], numbers[len(levels) : 2 * len(levels)], strict=True)
    losses = {level: total / count for level, count, total in parts if count > 0}
    if not all(map(math.isfinite, losses.values())):
        raise FloatingPointError(f"pretraining loss is not finite: {losses}; lower the learning rate or clip gradients")
    if gradient_clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip_norm)
    optimizer.step()
    return losses, numbers[2 * len(levels) :]


def _weighted(
    means: Mapping[str, Tensor], model: PretrainingModel, communicator: Communicator, *, is_measured: bool
) -> Tensor:
    """Returns the sum of the levels' losses, each with its weight if they are balanced."""
    balance = model.balance
    if balance is None:
        loss = sum(means.values())
        assert isinstance(loss, Tensor)
        return loss
    if is_measured:
        balance.measure(means, [p for p in model.encoder.parameters() if p.requires_grad], communicator)
    weights = balance.weights.to(next(iter(means.values())).dtype)
    return (weights * torch.stack([means[level] for level in balance.levels])).sum()


def fit(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: Iterable[tuple[list[Subgraph], list[Cursor]]],
    store: Store,
    config: PretrainingConfig,
    validate: Callable[[torch.nn.Module, int], dict[str, float]],
    *,
    rows: RowSource | None = None,
    communicator: Communicator | None = None,
    state: TrainState | None = None,
    on_report: Report = lambda state, metrics, is_best: None,
    on_step: Callable[[int, Mapping[str, float], Counts], None] = lambda step, losses, counts: None,
    checkpoint_due: Callable[[int], bool] = lambda step: False,
    on_checkpoint: Callable[[TrainState], None] = lambda state: None,
) -> TrainState:
    """Trains until max_steps, max_hours, patience or `stop_below`.

    Args:
        model: A PretrainingModel, or DDP around one.
        steps: This worker's samples of each step from state.step on, with their cursors.
        validate: Called at step 0 and every `validation_interval_steps`.
        rows: Where times and cells are; by default the mapped store.
        state: To go on from; changed in place.
        on_report: Called after each validation; saves checkpoints.
        on_step: Called after each update with the losses (and, where levels are balanced, their weights and gradient norms) and counts of all
            workers, for progress.
        checkpoint_due: Asked on every worker before each update with its number, for after it; one that says yes is enough.
        on_checkpoint: Called on all workers at the same steps, when one was due and no validation is.

    Raises:
        FloatingPointError: The loss is not finite.
        RuntimeError: The samples ended early, or one came twice.
    """
    communicator, state, rows = communicator or SingleProcess(), state or TrainState(), rows or mapped_rows(store)
    device, core = next(model.parameters()).device, unwrapped(model)
    model.train()
    if state.step == 0 and not state.first:
        metrics = validate(model, 0)
        state.first = dict(metrics)
        _note(state, metrics, config, on_report, communicator)
    begun, before = time.perf_counter(), state.seconds
    batches = made_of(steps, _inputs_of(core, rows, config, device), ahead=device.type == "cuda")
    while not state.finished:
        made = next(batches, None)
        if made is None:
            raise RuntimeError(f"samples ended after step {state.step} of {config.max_steps}: the pipeline lost some")
        batch, sampled, cursors = made
        # Whether a checkpoint is due after this step travels with the counts: workers agree on it without a collective of its own.
        carried = [*sampled.tolist(), checkpoint_due(state.step + 1)]
        losses, sums = train_step(
            model,
            batch.contrast,
            optimizer,
            communicator,
            config.gradient_clip_norm,
            carried,
            questions=batch.questions,
            is_measured=state.step % config.balance_interval_steps == 0,
        )
        if core.balance is not None:
            losses = losses | core.balance.figures()
        *totals, due = map(int, sums)
        state.step += 1
        state.seconds = before + time.perf_counter() - begun
        state.since += cursors
        on_step(state.step, losses, _add_counts(state, store, totals))
        is_validated = state.step % config.validation_interval_steps == 0 or state.step >= config.max_steps
        if due or is_validated:
            _record_samples(state, communicator, device)
        if due and not is_validated:
            on_checkpoint(state)
        if is_validated:
            metrics = {f"train/{level}": loss for level, loss in losses.items()} | validate(model, state.step)
            _note(state, metrics, config, on_report, communicator)
    return state


def _inputs_of(
    core: PretrainingModel, rows: RowSource, config: PretrainingConfig, device: torch.device
) -> Callable[[tuple[list[Subgraph], list[Cursor]]], tuple[StepInput, NDArray[np.int64], list[Cursor]]]:
    """Returns what makes of a step's samples and their cursors (its input on the device, the samples' counts, the cursors)."""

    def made(item: tuple[list[Subgraph], list[Cursor]]) -> tuple[StepInput, NDArray[np.int64], list[Cursor]]:
        subgraphs, cursors = item
        batch = step_input(core, subgraphs, cursors, rows, config.corruption, config.loss, seed=config.seed)
        return batch.to(device), np.sum([s.counts for s in subgraphs], axis=0), cursors

    return made


def _record_samples(state: TrainState, communicator: Communicator, device: torch.device) -> None:
    """Adds the samples of all workers since the last record to it; all workers call it at the same steps."""
    everyones = communicator.gather(torch.tensor(state.since, dtype=torch.int64, device=device).reshape(-1, 2))
    state.consumed, state.since = with_samples(state.consumed, torch.cat(everyones).tolist()), []


def _add_counts(state: TrainState, store: Store, numbers: list[int]) -> Counts:
    """Adds the rows per table and links per key of a step to those of the run; returns them by name."""
    tables = store.graph.node_types
    keys = [f"{child}.{fkey_col}" for child, fkey_col, _ in store.graph.edge_types]
    counts = {
        "rows": dict(zip(tables, numbers[: len(tables)], strict=True)),
        "links": dict(zip(keys, numbers[len(tables) :], strict=True)),
    }
    for kind, named in counts.items():
        total = state.sampled.setdefault(kind, {})
        for name, number in named.items():
            total[name] = total.get(name, 0) + number
    return counts


def _note(
    state: TrainState,
    metrics: dict[str, float],
    config: PretrainingConfig,
    on_report: Report,
    communicator: Communicator,
) -> None:
    losses = [metrics[name] for level in config.levels if (name := f"validation/{level}") in metrics]
    loss = validation_loss(metrics, config.levels)
    is_best = loss < state.best_loss
    state.last = dict(metrics)
    state.history.append({"step": state.step, **metrics})
    if is_best:
        state.best_loss, state.best_step, state.best, state.validations_since_best = loss, state.step, dict(metrics), 0
    else:
        state.validations_since_best += 1
    hours = float(communicator.sum(torch.tensor(state.seconds, dtype=torch.float64))) / communicator.world_size / 3600
    if state.step >= config.max_steps:
        state.finished = "max_steps"
    elif config.max_hours is not None and hours >= config.max_hours:
        state.finished = "max_hours"
    elif config.patience is not None and state.validations_since_best >= config.patience:
        state.finished = "patience"
    elif config.stop_below is not None and losses and sum(losses) / len(losses) < config.stop_below:
        state.finished = "stop_below"
    on_report(state, metrics, is_best)
