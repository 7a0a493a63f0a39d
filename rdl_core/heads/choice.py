"""Columns, settings and weights of the heads, chosen on folds inside train; then the heads themselves, fitted with what was chosen.

Promises: within a fold, columns are ranked, scaled and fitted on the fold's train rows alone; validation and test labels have no part in a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rdl_core.config.heads import HeadsConfig
from rdl_core.heads.blend import blended, greedy_weights
from rdl_core.heads.boosting import Boosting, BoostingModel, Trees
from rdl_core.heads.examples import Examples
from rdl_core.heads.folds import Fold
from rdl_core.heads.linear import LinearModel, fit_linear
from rdl_core.heads.score import fold_score
from rdl_core.heads.selection import ranked_columns
from rdl_core.problems import InputError

Head = LinearModel | BoostingModel
"""A fitted head: both have `predict` and `refit`."""


@dataclass(frozen=True)
class Penalty:
    """Settings of a linear model: how many of the best columns it reads, and C."""

    num_columns: int
    inverse_regularization: float


@dataclass(frozen=True)
class Chosen:
    """A head's settings, as folds chose them.

    Args:
        settings: `Penalty` of the linear model, `Trees` of LightGBM.
        out_of_fold: float64 [rows of train], predictions of the validation rows of the folds; NaN elsewhere.
    """

    settings: Penalty | Trees
    out_of_fold: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A blend's weights, as folds chose them.

    Args:
        weights: Of each head.
        fold_scores: Mean score of each head and of "blend" on these folds (AUROC, or the negative mean absolute error).
        num_folds: Folds on which all heads have predictions.
    """

    weights: Mapping[str, float]
    fold_scores: Mapping[str, float]
    num_folds: int


class Chooser:
    """Choices on the folds of one task's train rows.

    Args:
        train: Labelled rows of train.
        folds: Expanding windows of them.
        config: Candidates.
        seed: Random seed of LightGBM.
        num_threads: Threads of LightGBM.
    """

    def __init__(
        self, train: Examples, folds: Sequence[Fold], config: HeadsConfig, *, seed: int, num_threads: int
    ) -> None:
        self.train, self.folds, self.config = train, folds, config
        self.boosting = Boosting(config.boosting, seed=seed, num_threads=num_threads)

    @cached_property
    def rankings(self) -> list[NDArray[np.int64]]:
        """The columns of each fold, best first."""
        return [ranked_columns(self.train.rows(fold.train), self.boosting) for fold in self.folds]

    @cached_property
    def ranking(self) -> NDArray[np.int64]:
        """The columns of train, best first."""
        return ranked_columns(self.train, self.boosting)

    def linear(self) -> Chosen:
        """Chooses number of columns and C of the linear model."""
        predicted: dict[Penalty, NDArray[np.float64]] = {}
        for number in self.config.linear.num_columns:
            predicted |= {Penalty(number, c): self._nowhere() for c in self.config.linear.inverse_regularizations}
            for fold, ranking in zip(self.folds, self.rankings, strict=True):
                for c, values in self._linear_of(fold, ranking, number).items():
                    predicted[Penalty(number, c)][fold.validation] = values
        best = max(predicted, key=lambda penalty: self._score(predicted[penalty], self.folds))
        return Chosen(best, predicted[best])

    def lightgbm(self) -> Chosen:
        """Chooses the leaves of LightGBM's trees, and their number: where the folds' mean score is best."""
        scores: dict[Trees, float] = {}
        num_columns = self.config.boosting.num_columns
        sizes = [self.train.weights[fold.validation].sum() for fold in self.folds]
        for num_leaves in self.config.boosting.num_leaves:
            curves = [
                self.boosting.fit_watching(
                    self.train.rows(fold.train), ranking[:num_columns], num_leaves, self.train.rows(fold.validation)
                )[1]
                for fold, ranking in zip(self.folds, self.rankings, strict=True)
            ]
            longest = max(map(len, curves))  # a fold that ended early keeps its last score
            curves = [np.append(curve, np.full(longest - len(curve), curve[-1])) for curve in curves]
            mean = np.average(curves, axis=0, weights=sizes)
            scores[Trees(num_leaves, int(mean.argmax()) + 1)] = float(mean.max())
        best = max(scores, key=lambda trees: scores[trees])
        predicted = self._nowhere()
        for fold, ranking in zip(self.folds, self.rankings, strict=True):
            model = self.boosting.fit(self.train.rows(fold.train), ranking[:num_columns], best)
            predicted[fold.validation] = model.predict(self.train.columns[fold.validation])
        return Chosen(best, predicted)

    def fit(self, chosen: Chosen) -> Head:
        """Fits a head on all of train."""
        if isinstance(chosen.settings, Trees):
            return self.boosting.fit(self.train, self.ranking[: self.config.boosting.num_columns], chosen.settings)
        penalty = chosen.settings
        return fit_linear(self.train, self.ranking[: penalty.num_columns], [penalty.inverse_regularization])[0]

    def blend(self, out_of_fold: Mapping[str, NDArray[np.float64]]) -> Blend:
        """Chooses the weights of heads, on the folds whose validation rows all of them have predicted.

        Args:
            out_of_fold: Of each head float64 [rows of train], NaN where there is no prediction.

        Raises:
            InputError: There is no such fold.
        """
        folds = [f for f in self.folds if all(np.isfinite(p[f.validation]).all() for p in out_of_fold.values())]
        if not folds:
            raise InputError(
                f"blend of {', '.join(out_of_fold)}: expected out-of-fold predictions of each on all validation rows of one of "
                f"{len(self.folds)} folds; there is no such fold.\nRemedy: more labels to learn from, or heads without a blend of the network"
            )
        train = self.train
        weights = greedy_weights(
            out_of_fold, folds, train.target, train.weights, is_binary=train.is_binary, steps=self.config.blend_steps
        )
        scores = {name: self._score(values, folds) for name, values in out_of_fold.items()}
        scores["blend"] = self._score(blended(out_of_fold, weights), folds)
        return Blend(weights=weights, fold_scores=scores, num_folds=len(folds))

    def _linear_of(self, fold: Fold, ranking: NDArray[np.int64], num_columns: int) -> dict[float, NDArray[np.float64]]:
        """Predictions of the fold's validation rows for each C."""
        candidates = self.config.linear.inverse_regularizations
        models = fit_linear(self.train.rows(fold.train), ranking[:num_columns], candidates)
        columns = self.train.columns[fold.validation]
        return {c: model.predict(columns) for c, model in zip(candidates, models, strict=True)}

    def _nowhere(self) -> NDArray[np.float64]:
        return np.full(len(self.train), np.nan)

    def _score(self, prediction: NDArray[np.float64], folds: Sequence[Fold]) -> float:
        train = self.train
        return fold_score(folds, train.target, prediction, train.weights, is_binary=train.is_binary)
