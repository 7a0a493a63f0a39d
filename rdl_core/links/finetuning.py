"""A link task on the backbone, in three arms: scratch (fresh backbone), frozen (pretrained, map and pair term learn), finetuned (all learns).

Promises
- Rows, links and destinations are seen strictly before a question's time; test labels are read by task.evaluate only, after all training.
- Validation, before the first step too, decides which weights are kept, by MAP.
- Same seed, same result, whatever was asked before: batches, candidates and positives are functions of (seed, epoch, time, row).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from relbench.base import RecommendationTask
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rdl_core.config import Arm, FinetuningConfig, LinkConfig, Regime
from rdl_core.finetuning import BestWeights, Callbacks
from rdl_core.graph.store import Store
from rdl_core.links.baselines import Baselines
from rdl_core.links.candidates import TimeBatches, draw_candidates
from rdl_core.links.inputs import LinkInputs
from rdl_core.links.labels import LinkSplit, newest_times, read_links
from rdl_core.links.model import LinkModel, PairTerm, sampled_softmax_loss
from rdl_core.links.past_links import find_past_links
from rdl_core.links.scoring import METRIC, LinkResult, link_metrics, rank_destinations
from rdl_core.links.start import choose_start
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.fitting import add_columns


class LinkFinetuning:
    """One run of one arm.

    Args:
        store: An open store, made of the task's database.
        task: A link task.
        encoder: Backbone, fresh for "scratch", pretrained for the others. Changed in place.
        arm, regime, config, link_config: What to do.
        matrix: [channels, channels], what the bilinear map starts with, or None.

    Raises:
        InputError: No table joins the two tables of the task.
        ValueError: There is no label to learn from, or a frozen backbone reads columns that it was not pretrained on.
    """

    def __init__(
        self,
        store: Store,
        task: RecommendationTask,
        encoder: RelationalEncoder,
        arm: Arm,
        regime: Regime,
        config: FinetuningConfig,
        link_config: LinkConfig,
        *,
        matrix: Tensor | None = None,
    ) -> None:
        self.store, self.task, self.arm, self.regime, self.config, self.link_config = (
            store,
            task,
            arm,
            regime,
            config,
            link_config,
        )
        self._splits: dict[str, LinkSplit] = {}
        self.train_split = self.split("train").learnable
        if not len(self.train_split):
            raise ValueError(
                f"task {task.name!r} has no train label with a source and a destination, so there is nothing to learn from"
            )
        learnable, val = self.train_split, self.split("val")
        held = newest_times(learnable, link_config.validation_questions - len(val))
        self.validation = val.and_then(learnable.rows(held))
        self.train_split = learnable.rows(np.setdiff1d(np.arange(len(learnable)), held))
        tables = task.src_entity_table, task.dst_entity_table
        links, self.agreement = find_past_links(store, self.train_split, *tables)
        window_s = self.train_split.window_s
        self.inputs = LinkInputs(store, *tables, links, window_s, config, link_config, encoder.config)
        statistics = self.inputs.statistics
        pair = PairTerm(statistics.end_width, statistics.pair_width, link_config.pair_channels)
        self.model = LinkModel(
            encoder, pair, matrix=matrix, vector_dropout=config.head_dropout, has_towers=link_config.towers
        )
        self._read_columns(encoder)
        if arm == "frozen":
            encoder.requires_grad_(False)
        self.baselines = Baselines(task=task, statistics=statistics, exists=self.inputs.exists)
        self.predictions: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        """Per split, "val" and "test", the best destinations and their scores, [questions, eval_k] each; filled by `run`."""

    def split(self, name: str) -> LinkSplit:
        """Questions and labels of "train", "val" or "test", all rows."""
        if name not in self._splits:
            self._splits[name] = read_links(self.task, name, self.regime, self.store.test_timestamp_s)
        return self._splits[name]

    def _read_columns(self, encoder: RelationalEncoder) -> None:
        """Lets the backbone read the columns of both tables, if it reads any of seeds.

        Raises:
            ValueError: The backbone reads others than the store has, or is frozen and was not pretrained on any.
        """
        tables = {self.task.src_entity_table, self.task.dst_entity_table}
        known = {table: width for table, width in encoder.columns_widths.items() if table in tables}
        self.inputs.questions.require_same_widths(encoder.statistics_widths, known)
        if encoder.config.columns is None:
            return
        for table in sorted(tables - set(known)):
            if self.arm == "frozen":
                raise ValueError(
                    f"the backbone was pretrained without columns of {table!r}, to which no key leads, so a frozen one cannot read them. "
                    "Remedy: --arm finetuned, or a backbone without columns"
                )
            add_columns(encoder, self.inputs.questions, table)

    def run(self, callbacks: Callbacks | None = None) -> LinkResult:
        """Trains, evaluates on validation and test, and the baselines beside it."""
        begun = time.perf_counter()
        steps, best_step, finished = self.train(callbacks or Callbacks())
        self.predictions = {split: self.predict(self.model, split) for split in ("val", "test")}
        metrics = {
            split: link_metrics(self.task, self.split(split).lists, ranked)
            for split, (ranked, _) in self.predictions.items()
        }
        chosen = self.baselines.choose(self.validation)
        figures = {
            name: {
                split: link_metrics(
                    self.task, self.split(split).lists, self.baselines.rank(baseline, self.split(split))
                )
                for split in ("val", "test")
            }
            for name, baseline in chosen.items()
        }
        return LinkResult(
            task=self.task.name,
            arm=self.arm,
            regime=self.regime,
            seed=self.config.seed,
            metric=METRIC,
            val=metrics["val"][METRIC],
            test=metrics["test"][METRIC],
            metrics=metrics,
            steps=steps,
            best_step=best_step,
            seconds=time.perf_counter() - begun,
            baselines={name: {s: m[METRIC] for s, m in of_split.items()} for name, of_split in figures.items()},
            baseline_metrics=figures,
            about={f"baseline {name}": baseline.words for name, baseline in chosen.items()}
            | {"past links": f"{self.inputs.statistics.links.path.name}, F1 {self.agreement:.3f} with train labels"},
            finished=finished,
        )

    def train(self, callbacks: Callbacks) -> tuple[int, int, str]:
        """Trains, and leaves in `model` the weights that are best on validation; returns (updates, best one, why it ended).

        First the pair term alone learns, from the start that validation chooses (start.py), until validation does not improve any more; then all
        learns, from the best weights.

        Raises:
            FloatingPointError: No validation metric is finite.
        """
        begun = time.perf_counter()
        self.start = choose_start(self.model.pair, self.baselines, self.validation)
        self._best, self._step, self._best_step = BestWeights(is_higher_better=True), 0, 0
        finished = "max_steps"
        for name, has_towers in (("pair term", False), (self.arm, True)):
            if has_towers and not self.link_config.towers:
                break
            self.model.has_towers = has_towers
            finished = self._train_phase(f"training ({name})", callbacks, begun)
            if self._best.weights is None:
                raise FloatingPointError(f"no finite validation metric of {self.task.name}; lower the learning rate")
            self.model.load_state_dict(self._best.weights)
            if finished == "time_budget":
                break
        return self._step, self._best_step, finished

    def _train_phase(self, name: str, callbacks: Callbacks, begun: float) -> str:
        """Trains until validation does not improve any more, and returns why it ended; the best weights so far are in `_best`."""
        config, since_best = self.config, 0
        torch.manual_seed(config.seed)
        self._optimizer = self._new_optimizer()
        average = (
            None
            if config.ema_decay is None
            else AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        )
        kept: LinkModel = self.model if average is None else average.module  # type: ignore[assignment]
        callbacks.on_phase(name, self._step + config.max_steps, config.batch_size)
        batches = iter(TimeBatches(split=self.train_split, batch_size=config.batch_size, seed=config.seed))
        self._best.take(self._validate(kept), kept)
        for step in range(1, config.max_steps + 1):
            loss = self._update(*next(batches))
            self._step += 1
            if average is not None:
                average.update_parameters(self.model)
            callbacks.on_step(self._step, loss)
            is_late = config.max_hours is not None and time.perf_counter() - begun >= config.max_hours * 3600
            if is_late or step == config.max_steps or step % config.validation_interval_steps == 0:
                value = self._validate(kept)
                since_best += 1
                if self._best.take(value, kept):
                    self._best_step, since_best = self._step, 0
                callbacks.on_validation(self._step, value)
            if is_late or since_best >= config.patience:
                return "time_budget" if is_late else "patience"
        return "max_steps"

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Returns the optimizer of what learns: the pair term, and with towers all else, each at its own rate."""
        config = self.config
        groups: list[dict[str, Any]] = [
            {"params": list(self.model.pair.parameters()), "lr": self.link_config.pair_learning_rate}
        ]
        if self.model.has_towers:
            others = [p for n, p in self.model.named_parameters() if not n.startswith("pair.") and p.requires_grad]
            groups.append({"params": others, "lr": config.learning_rate})
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)

    def _validate(self, model: LinkModel) -> float:
        return link_metrics(self.task, self.validation.lists, self._ranked(model, self.validation)[0])[METRIC]

    def _update(self, groups: list[NDArray[np.int64]], epoch: int) -> float:
        """Updates the model by some groups of questions; returns the mean of their losses."""
        self._optimizer.zero_grad(set_to_none=True)
        self.model.train()
        if self.arm == "frozen":
            self.model.encoder.eval()
        loss = self._loss(groups, epoch) / sum(len(rows) for rows in groups)
        loss.backward()
        if self.config.gradient_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip_norm)
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, groups: list[NDArray[np.int64]], epoch: int) -> Tensor:
        """Returns the sum over the questions of all groups; both ends of all are embedded at once."""
        split, statistics, losses = self.train_split, self.inputs.statistics, []
        bounds = [int(split.before_s[rows[0]]) for rows in groups]
        settings: dict[str, Any] = {"seed": self.config.seed, "epoch": epoch}
        found = [
            draw_candidates(split, rows, self.inputs.exists(before_s), statistics, self.link_config, **settings)
            for rows, before_s in zip(groups, bounds, strict=True)
        ]
        sources, destinations = self._vectors(groups, [one.destinations for one in found], epoch)
        for rows, before_s, one, s, d in zip(groups, bounds, found, sources, destinations, strict=True):
            scores = self.model(s, d, statistics(split.sources[rows], one.destinations, before_s))
            parts = (torch.from_numpy(x) for x in (one.log_weight, one.question, one.positive))
            losses.append(sampled_softmax_loss(scores, *parts))
        return torch.stack(losses).sum()

    def _vectors(
        self, groups: list[NDArray[np.int64]], destinations: list[NDArray[np.int64]], epoch: int
    ) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
        """Returns the vectors of the sources and of the destinations of each group; None without towers."""
        if not self.model.has_towers:
            return [None] * len(groups), [None] * len(groups)
        split, inputs, encoder = self.train_split, self.inputs, self.model.encoder
        asked = np.concatenate(groups)
        times = split.time_s[asked], split.before_s[asked]
        of_sources = inputs.vectors(encoder, inputs.source_table, split.sources[asked], *times, epoch)
        sizes = [len(rows) for rows in destinations]
        first = np.array([rows[0] for rows in groups])
        times = np.repeat(split.time_s[first], sizes), np.repeat(split.before_s[first], sizes)
        rows = np.concatenate(destinations)
        of_destinations = inputs.vectors(encoder, inputs.destination_table, rows, *times, epoch)
        return of_sources.split([len(rows) for rows in groups]), of_destinations.split(sizes)

    def predict(self, model: LinkModel, split: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns the best destinations of all questions of a split, and their scores: [questions, eval_k] each."""
        return self._ranked(model, self.split(split))

    def _ranked(self, model: LinkModel, asked: LinkSplit) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return rank_destinations(model, self.inputs, asked.sources, asked.time_s, asked.before_s, self.task.eval_k)
