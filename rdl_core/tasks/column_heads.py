"""Heads and baselines of a task on generated columns, beside the network: one choice on folds inside train, then validation and test.

    labels -> folds -> columns of each seed (statistics/columns.py) -> linear, LightGBM -> blend with the network -> task.evaluate

Promises: columns see what exists strictly before a seed's time; heads learn from the same labels as a network of the same configuration;
all is chosen on folds inside train, but for the number of trees of the LightGBM *baseline*, which stops early on validation as most people's does;
test labels are read only by task.evaluate, when nothing is chosen any more. With `refit`, every head is fitted again on every label whose
window has closed, nothing else changed, and scored beside what was fitted on train ("test_refit"). Limit: a pretrained network has seen the rows up
to the validation timestamp, those of the folds' windows among them, before it predicts a fold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from relbench.base import EntityTask

from rdl_core.config import ColumnsConfig, FinetuningConfig, HeadName, HeadsConfig, Regime
from rdl_core.graph.store import Store
from rdl_core.heads import (
    Blend,
    Boosting,
    BoostingModel,
    Chooser,
    Chosen,
    Examples,
    Fold,
    Head,
    Penalty,
    blended,
    expanding_folds,
)
from rdl_core.heads.cohort import PER_COLUMN, with_cohort_columns
from rdl_core.heads.selection import varied_columns
from rdl_core.statistics.columns import Columns
from rdl_core.tasks.inputs import refuse_several_classes, refuse_visible_labels
from rdl_core.tasks.labels import Split, metric_name, read_closed, read_split, read_train
from rdl_core.tasks.scoring import task_metrics
from rdl_core.tasks.trivial import Trivial, best_trivial, trivial_predictions, window_s

Predictions = Mapping[str, NDArray[np.float64]]
BASELINE_LEAVES = 31
"""Leaves of the baseline's trees: LightGBM's own default."""


@dataclass(frozen=True, kw_only=True)
class HeadScores:
    """The scores of one head or baseline.

    Args:
        val, test: The task's metric.
        test_refit: The same of the refitted head; None without a refit.
        predictions: {"val", "test" and, of a refit, "test_refit": float64 [rows of the split]}.
        about: What it is, in words: its settings.
    """

    val: float
    test: float
    test_refit: float | None
    predictions: Predictions
    about: str

    def figures(self) -> dict[str, float]:
        """Returns {"val", "test" and, of a refit, "test_refit"}."""
        refit = {} if self.test_refit is None else {"test_refit": self.test_refit}
        return {"val": self.val, "test": self.test} | refit


@dataclass(frozen=True, kw_only=True)
class ColumnHeadsResult:
    """All heads and baselines of a run.

    Args:
        heads: By name, in the order asked for.
        baselines: "trivial" and "lightgbm"; empty where none were asked for.
        blend: Weights and scores on the folds; None without a blend.
        models: "linear" and "lightgbm", those that were asked for or that a blend has a weight for, as they are to be kept: refitted, of a refit.
    """

    heads: Mapping[str, HeadScores]
    baselines: Mapping[str, HeadScores]
    blend: Blend | None
    models: Mapping[str, Head]


class ColumnHeads:
    """Heads on columns of one task.

    Args:
        store: An open store, made of the task's database.
        task: An entity task, binary classification or regression.
        regime, finetuning: As of the network beside it: which labels are learned from, whether all is refitted, and the seed.
        config: Candidates of the heads.
        columns: Form of the columns.
        num_threads: Threads of LightGBM.

    Raises:
        ValueError: The store holds columns that the task must not see, or the task has several classes.
    """

    def __init__(
        self,
        store: Store,
        task: EntityTask,
        regime: Regime,
        finetuning: FinetuningConfig,
        config: HeadsConfig,
        columns: ColumnsConfig,
        *,
        num_threads: int = 1,
    ) -> None:
        refuse_visible_labels(store, task)
        refuse_several_classes(task)
        self.store, self.task, self.regime, self.finetuning = store, task, regime, finetuning
        self.config, self.num_threads = config, num_threads
        self.is_binary = metric_name(task) == "roc_auc"
        self.horizon_s = window_s(task)
        self.labels = {"train": read_train(task, regime, store.test_timestamp_s, finetuning), "val": self._read("val")}
        if finetuning.refit:
            self.labels["refit"] = read_closed(task, regime, store.test_timestamp_s, finetuning)
        self.columns = Columns(store, task.entity_table, columns)

    def folds(self) -> list[Fold]:
        """Returns the expanding windows inside the labels that are learned from.

        Raises:
            InputError: There is no time by which earlier windows are closed.
        """
        train = self.labels["train"]
        return expanding_folds(
            train.time_s,
            train.target,
            train.weights,
            horizon_s=self.horizon_s,
            num_folds=self.config.num_folds,
            is_binary=self.is_binary,
        )

    def run(
        self,
        heads: Sequence[HeadName] = ("linear", "lightgbm", "blend"),
        *,
        network: Predictions | None = None,
        baseline: bool = False,
        advance: Callable[[str], None] = lambda text: None,
    ) -> ColumnHeadsResult:
        """Chooses, fits and scores.

        Args:
            heads: What to report; a blend is of all others that are named, and of the linear model and LightGBM.
            network: The network's predictions, as `Finetuning.predictions` has them: "val", "test", with a refit "test_refit" and, for a blend,
                "out_of_fold" (float64 [labels of train], NaN where there is none). None: there is no network.
            baseline: Whether the baselines are wanted, too.
            advance: Is told what is done next.

        Raises:
            InputError: There are no folds, or the blend lacks out-of-fold predictions of the network.
        """
        run = _Run(self, advance)
        models = {name: run.choose(name) for name in ("linear", "lightgbm") if name in heads or "blend" in heads}
        blend = None
        if "blend" in heads:
            out_of_fold = {name: chosen.out_of_fold for name, (chosen, _) in models.items()}
            if network is not None and "network" in heads:
                out_of_fold = {"network": network["out_of_fold"]} | out_of_fold
            blend = run.chooser.blend(out_of_fold)
        trivial, boosted = (run.trivial(), run.baseline()) if baseline else (None, None)
        advance("test")  # nothing is chosen any more
        predicted, last = {}, {}
        for name, (_, head) in models.items():
            predicted[name], last[name] = run.predictions(head)
        about = {name: _words(chosen) for name, (chosen, _) in models.items()}
        if network is not None:
            predicted["network"], about["network"] = {s: network[s] for s in run.predicted_splits}, ""
        if blend is not None:
            parts = [name for name, weight in blend.weights.items() if weight > 0]
            about["blend"] = " + ".join(f"{blend.weights[name]:.2f} {name}" for name in parts)
            predicted["blend"] = {
                split: blended({name: predicted[name][split] for name in parts}, blend.weights)
                for split in run.predicted_splits
            }
        baselines: dict[str, HeadScores] = {}
        if trivial is not None and boosted is not None:
            baselines["trivial"] = self._scores(run.trivial_predictions(trivial), trivial.about)
            baselines["lightgbm"] = self._scores(run.predictions(boosted)[0], _words_of_baseline(boosted))
        scores: dict[str, HeadScores] = {n: self._scores(predicted[n], about[n]) for n in heads if n in predicted}
        kept = {name: one for name, one in last.items() if name in heads or (blend and blend.weights[name] > 0)}
        return ColumnHeadsResult(heads=scores, baselines=baselines, blend=blend, models=kept)

    def test_labels(self) -> Split:
        """Seeds of test; its labels are for task.evaluate alone."""
        if "test" not in self.labels:
            self.labels["test"] = self._read("test")
        return self.labels["test"]

    def _read(self, split: str) -> Split:
        return read_split(self.task, split, self.regime, self.store.test_timestamp_s)

    def _scores(self, predictions: Predictions, about: str) -> HeadScores:
        metric = metric_name(self.task)
        found = {s: task_metrics(self.task, s.removesuffix("_refit"), p)[metric] for s, p in predictions.items()}
        return HeadScores(
            val=found["val"],
            test=found["test"],
            test_refit=found.get("test_refit"),
            predictions=predictions,
            about=about,
        )


@dataclass
class _Run:
    """The state of one call of `run`."""

    owner: ColumnHeads
    advance: Callable[[str], None]
    examples: dict[str, Examples] = field(default_factory=dict)
    asked: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        owner = self.owner
        self.refits = owner.finetuning.refit
        self.predicted_splits = ("val", "test", *(("test_refit",) if self.refits else ()))
        self._chooser: Chooser | None = None

    @property
    def chooser(self) -> Chooser:
        """The choices on folds; columns of train are computed when it is first asked for."""
        if self._chooser is None:
            owner = self.owner
            folds = owner.folds()
            self._chooser = Chooser(
                self.learned("train"), folds, owner.config, seed=owner.finetuning.seed, num_threads=owner.num_threads
            )
        return self._chooser

    def learned(self, name: str) -> Examples:
        """Labels "train", "val" or "refit" with their columns."""
        if name not in self.examples:
            labels = self.owner.labels[name]
            self.examples[name] = Examples(
                columns=self.columns_of(name, labels),
                target=labels.target,
                time_s=labels.time_s,
                weights=labels.weights,
                is_binary=self.owner.is_binary,
            )
        return self.examples[name]

    def columns_of(self, name: str, labels: Split) -> NDArray[np.float32]:
        """Columns of seeds, with those of their cohorts behind them where heads read these: float32 [seeds, columns]."""
        if name not in self.asked:
            self.advance(f"columns of {name}")
            columns = self.owner.columns(labels.entities, labels.before_s, raw=True)
            is_cohort = self.owner.config.cohort_columns
            self.asked[name] = with_cohort_columns(columns, labels.time_s) if is_cohort else columns
        return self.asked[name]

    def choose(self, name: str) -> tuple[Chosen, Head]:
        """Chooses the settings of "linear" or "lightgbm" and fits it on train."""
        chooser = self.chooser
        self.advance(f"{name}: {len(chooser.folds)} folds")
        chosen = chooser.linear() if name == "linear" else chooser.lightgbm()
        return chosen, chooser.fit(chosen)

    def predictions(self, head: Head) -> tuple[Predictions, Head]:
        """Returns predictions of validation and test and, with a refit, of test again; and the head that was fitted last."""
        test = self.columns_of("test", self.owner.test_labels())
        found = {"val": head.predict(self.learned("val").columns), "test": head.predict(test)}
        if self.refits:
            head = head.refit(self.learned("refit"))
            found["test_refit"] = head.predict(test)
        return found, head

    def baseline(self) -> BoostingModel:
        """Fits LightGBM on all columns but those of cohorts, as many trees as are best on validation."""
        self.advance("baseline: LightGBM on all columns")
        train, owner = self.learned("train"), self.owner
        config = dataclasses.replace(owner.config.boosting, num_models=1)
        boosting = Boosting(config, seed=owner.finetuning.seed, num_threads=owner.num_threads)
        own = varied_columns(train)
        if owner.config.cohort_columns:
            own = own[own < train.columns.shape[1] // (1 + PER_COLUMN)]
        return boosting.fit_watching(train, own, BASELINE_LEAVES, self.learned("val"))[0]

    def trivial(self) -> Trivial:
        """Chooses the better on validation of a constant and each entity's last label."""
        return best_trivial(self.owner.task, self.owner.labels["train"], self.owner.labels["val"])

    def trivial_predictions(self, trivial: Trivial) -> Predictions:
        """Predictions of the trivial baseline; test knows the labels of train and validation whose windows have closed."""
        owner = self.owner
        found = trivial_predictions(
            owner.task, trivial, owner.labels["train"], owner.labels["val"], owner.test_labels()
        )
        return found | ({"test_refit": found["test"]} if self.refits else {})


def _words(chosen: Chosen) -> str:
    settings = chosen.settings
    if isinstance(settings, Penalty):
        return f"{settings.num_columns} columns, C {settings.inverse_regularization:g}"
    return f"{settings.rounds} trees of {settings.num_leaves} leaves"


def _words_of_baseline(model: BoostingModel) -> str:
    return f"{model.trees.rounds} trees on {len(model.columns)} columns"
