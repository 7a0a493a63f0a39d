"""Columns, settings and weights of the heads, chosen on folds inside train; then the heads themselves, fitted with what was chosen.

Promises: within a fold, columns are ranked, scaled and fitted on the fold's train rows alone; validation and test labels have no part in a choice. A
refit changes nothing but the rows: same columns, settings, numbers of trees and weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rdl_core.config.heads import HeadsConfig
from rdl_core.heads.blend import blended, greedy_weights
from rdl_core.heads.boosting import Boosting, BoostingModel, Trees
from rdl_core.heads.examples import Examples
from rdl_core.heads.folds import Fold, expanding_folds
from rdl_core.heads.linear import LinearModel, fit_linear
from rdl_core.heads.score import fold_score
from rdl_core.heads.selection import ranked_columns
from rdl_core.problems import InputError

Predictions = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the folds decided.

    Args:
        linear: Number of columns and C of the linear model.
        lightgbm: Form of the trees.
        weights: Weight of each head in the blend.
        fold_scores: Mean score of each head, and of "blend", on the folds (AUROC, or the negative mean absolute error).
        num_folds: Folds that weights and scores are of.
    """

    linear: tuple[int, float]
    lightgbm: Trees
    weights: Mapping[str, float]
    fold_scores: Mapping[str, float]
    num_folds: int

    @property
    def best(self) -> str:
        """The best single head on the folds."""
        return max(self.weights, key=lambda name: self.fold_scores[name])


class Chooser:
    """Choices on the folds of one task's train rows.

    Args:
        train: Labelled rows of train.
        horizon_s: Seconds from a seed time to the end of its label's window.
        config: Candidates.
        num_threads: Threads of LightGBM.

    Raises:
        InputError: Train has no time by which earlier windows are closed.
    """

    def __init__(self, train: Examples, horizon_s: int, config: HeadsConfig, *, num_threads: int) -> None:
        self.train, self.config = train, config
        self.boosting = Boosting(config.boosting, seed=config.seed, num_threads=num_threads)
        self.folds = expanding_folds(
            train.time_s,
            train.target,
            train.weights,
            horizon_s=horizon_s,
            num_folds=config.num_folds,
            is_binary=train.is_binary,
        )

    @cached_property
    def rankings(self) -> list[NDArray[np.int64]]:
        """The columns of each fold, best first."""
        return [ranked_columns(self.train.rows(fold.train), self.boosting) for fold in self.folds]

    def linear(self) -> tuple[tuple[int, float], NDArray[np.float64]]:
        """Returns (number of columns, C) of the best linear model, and its out-of-fold predictions: float64 [rows], NaN elsewhere."""
        predicted: dict[tuple[int, float], NDArray[np.float64]] = {}
        for number in self.config.linear.num_columns:
            predicted |= {(number, c): self._nowhere() for c in self.config.linear.inverse_regularizations}
            for fold, ranking in zip(self.folds, self.rankings, strict=True):
                for c, values in self._linear_of(fold, ranking, number).items():
                    predicted[number, c][fold.validation] = values
        best = max(predicted, key=lambda settings: self._score(predicted[settings]))
        return best, predicted[best]

    def lightgbm(self) -> tuple[Trees, NDArray[np.float64]]:
        """Returns the best form of LightGBM, with the number of trees at which the folds' mean score is best, and its out-of-fold predictions."""
        scores: dict[Trees, float] = {}
        models: dict[int, list[BoostingModel]] = {}
        sizes = [self.train.weights[fold.validation].sum() for fold in self.folds]
        for num_leaves in self.config.boosting.num_leaves:
            watched = [
                self.boosting.fit_watching(
                    self.train.rows(fold.train),
                    ranking[: self.config.boosting.num_columns],
                    num_leaves,
                    self.train.rows(fold.validation),
                )
                for fold, ranking in zip(self.folds, self.rankings, strict=True)
            ]
            models[num_leaves] = [model for model, _ in watched]
            longest = max(len(curve) for _, curve in watched)  # a fold that ended early keeps its last score
            curves = [np.append(curve, np.full(longest - len(curve), curve[-1])) for _, curve in watched]
            mean = np.average(curves, axis=0, weights=sizes)
            scores[Trees(num_leaves, int(mean.argmax()) + 1)] = float(mean.max())
        best = max(scores, key=lambda trees: scores[trees])
        predicted = self._nowhere()
        for fold, model in zip(self.folds, models[best.num_leaves], strict=True):
            predicted[fold.validation] = model.predict(self.train.columns[fold.validation], best.rounds)
        return best, predicted

    def choose(self, network: NDArray[np.float64] | None = None) -> Choice:
        """Returns all choices.

        Args:
            network: Out-of-fold predictions of a network, float64 [rows of train], NaN where there are none: the blend is then weighted on the folds
                whose validation rows all have one. None: the blend is of the linear model and LightGBM.

        Raises:
            InputError: The network has predictions on no fold.
        """
        linear, of_linear = self.linear()
        trees, of_lightgbm = self.lightgbm()
        predictions = {"linear": of_linear, "lightgbm": of_lightgbm}
        if network is not None:
            predictions = {"network": network} | predictions
        folds = [
            fold for fold in self.folds if all(np.isfinite(p[fold.validation]).all() for p in predictions.values())
        ]
        if not folds:
            raise InputError(
                f"the blend has out-of-fold predictions of the network on no fold; expected them on all validation rows of one of {len(self.folds)}"
            )
        train = self.train
        weights = greedy_weights(
            predictions, folds, train.target, train.weights, is_binary=train.is_binary, steps=self.config.blend_steps
        )
        scores = {name: self._score(values, folds) for name, values in predictions.items()}
        scores["blend"] = self._score(blended(predictions, weights), folds)
        return Choice(linear=linear, lightgbm=trees, weights=weights, fold_scores=scores, num_folds=len(folds))

    def _linear_of(self, fold: Fold, ranking: NDArray[np.int64], num_columns: int) -> dict[float, NDArray[np.float64]]:
        """Predictions of the fold's validation rows for each C."""
        candidates = self.config.linear.inverse_regularizations
        models = fit_linear(self.train.rows(fold.train), ranking[:num_columns], candidates)
        columns = self.train.columns[fold.validation]
        return {c: model.predict(columns) for c, model in zip(candidates, models, strict=True)}

    def _nowhere(self) -> NDArray[np.float64]:
        return np.full(len(self.train), np.nan)

    def _score(self, prediction: NDArray[np.float64], folds: list[Fold] | None = None) -> float:
        train = self.train
        return fold_score(folds or self.folds, train.target, prediction, train.weights, is_binary=train.is_binary)


@dataclass(frozen=True, kw_only=True)
class ColumnModels:
    """The two heads on columns, fitted as chosen.

    Args:
        linear, lightgbm: The models.
        inverse_regularization: C of the linear model.
        boosting: What fitted the trees.
    """

    linear: LinearModel
    lightgbm: BoostingModel
    inverse_regularization: float
    boosting: Boosting

    @classmethod
    def fit(cls, train: Examples, choice: Choice, boosting: Boosting, num_columns: int) -> ColumnModels:
        """Ranks the columns on train and fits both.

        Args:
            num_columns: Columns of LightGBM.
        """
        ranking = ranked_columns(train, boosting)
        linear_columns, c = choice.linear
        (linear,) = fit_linear(train, ranking[:linear_columns], [c])
        trees = boosting.fit(train, ranking[:num_columns], choice.lightgbm)
        return cls(linear=linear, lightgbm=trees, inverse_regularization=c, boosting=boosting)

    def refit(self, labelled: Examples) -> ColumnModels:
        """Returns the same heads fitted on other rows: same columns, settings and number of trees."""
        (linear,) = fit_linear(labelled, self.linear.columns, [self.inverse_regularization])
        trees = self.boosting.fit(labelled, self.lightgbm.columns, self.lightgbm.trees)
        return dataclasses.replace(self, linear=linear, lightgbm=trees)

    def predict(self, columns: NDArray[np.float32]) -> Predictions:
        """Returns {"linear", "lightgbm"}: float64 [rows]."""
        return {"linear": self.linear.predict(columns), "lightgbm": self.lightgbm.predict(columns)}
