"""The LightGBM head: gradient boosting on columns, log loss of classes, L1 of numbers.

Promises: the same seed gives the same trees, whatever the number of threads, as far as LightGBM's own promises (`deterministic`, `force_col_wise`)
go; nothing is printed and nothing warned of. Where there is nothing to learn (one class or value, no column), the model is the best constant.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from rdl_core.config.heads import BoostingConfig
from rdl_core.heads.examples import Examples, weighted_median
from rdl_core.heads.scaling import RankGauss

MIN_LEAVES_OF_ROWS = 20
"""min_rows_per_leaf is never more than one over as many of the rows, so that few rows can be told apart at all."""


@dataclass(frozen=True)
class Trees:
    """Form of the boosting.

    Args:
        num_leaves, rounds: Most leaves of a tree, number of trees.
    """

    num_leaves: int
    rounds: int


@dataclass(frozen=True)
class BoostingModel:
    """A fitted LightGBM head.

    Args:
        columns: int64 [k], the columns that it reads.
        boosters: LightGBM's models, whose predictions are averaged; none: `constant` everywhere.
        trees: Their form; `rounds` trees of each predict.
        constant: The prediction without boosters.
        boosting: What fitted them.
    """

    columns: NDArray[np.int64]
    boosters: tuple[lightgbm.Booster, ...]
    trees: Trees
    constant: float
    boosting: Boosting

    def predict(self, columns: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns probabilities or values: float64 [rows].

        Args:
            columns: float32 [rows, all columns].
        """
        if not self.boosters or not len(columns):
            return np.full(len(columns), self.constant)
        x, options = columns[:, self.columns], self.boosting.prediction_options
        predicted = [booster.predict(x, num_iteration=self.trees.rounds, **options) for booster in self.boosters]
        return np.mean(predicted, axis=0)

    def refit(self, examples: Examples) -> BoostingModel:
        """Returns a model of other rows: same columns, same form and number of trees."""
        return self.boosting.fit(examples, self.columns, self.trees)


class Boosting:
    """Fits LightGBM.

    Args:
        config: Settings.
        seed: Random seed.
        num_threads: Threads of LightGBM; results do not depend on them.
    """

    def __init__(self, config: BoostingConfig, *, seed: int, num_threads: int) -> None:
        self.config, self.seed, self.num_threads = config, seed, num_threads

    @property
    def prediction_options(self) -> dict[str, Any]:
        """The options that LightGBM gets when it predicts: a model that was read from a file would use all cores."""
        return {"num_threads": self.num_threads}

    def fit(self, examples: Examples, columns: NDArray[np.int64], trees: Trees) -> BoostingModel:
        """Fits `num_models` times so many trees."""
        if (constant := _constant(examples, columns)) is not None:
            return BoostingModel(columns, (), trees, constant, self)
        parameters = self._parameters(examples, trees.num_leaves)
        first = self.seed * self.config.num_models
        boosters = tuple(
            lightgbm.train(
                parameters | {"seed": seed}, _dataset(examples, columns, parameters), num_boost_round=trees.rounds
            )
            for seed in range(first, first + self.config.num_models)
        )
        return BoostingModel(columns, boosters, trees, np.nan, self)

    def fit_watching(
        self, examples: Examples, columns: NDArray[np.int64], num_leaves: int, validation: Examples
    ) -> tuple[BoostingModel, NDArray[np.float64]]:
        """Fits one model until validation has not improved for `patience` trees.

        Returns:
            The model with its best number of trees, and the score on validation after each tree (higher is better): float64 [trees].
        """
        if (constant := _constant(examples, columns)) is not None:
            return BoostingModel(columns, (), Trees(num_leaves, 1), constant, self), np.zeros(1)
        parameters = self._parameters(examples, num_leaves)
        train = _dataset(examples, columns, parameters)
        watched = _dataset(validation, columns, parameters, train)
        curves: dict[str, Any] = {}
        stop = lightgbm.early_stopping(self.config.patience, verbose=False)
        booster = lightgbm.train(
            parameters,
            train,
            num_boost_round=self.config.max_rounds,
            valid_sets=[watched],
            callbacks=[lightgbm.record_evaluation(curves), stop],
            keep_training_booster=True,  # else the trees behind the best one are dropped
        )
        (curve,) = curves["valid_0"].values()
        scores = np.asarray(curve) if examples.is_binary else -np.asarray(curve)
        return BoostingModel(columns, (booster,), Trees(num_leaves, int(scores.argmax()) + 1), np.nan, self), scores

    def gains(self, examples: Examples, columns: NDArray[np.int64], rounds: int) -> NDArray[np.float64]:
        """Returns the total gain of the splits of each of these columns in a fast boosting of them: float64 [columns].

        Numbers are learned by squares of their rank-gauss: gains of L1 do not shrink while the fit gets better, so that late splits on noise add up.
        """
        if _constant(examples, columns) is not None:
            return np.zeros(len(columns))
        parameters = self._parameters(examples, SELECTION_LEAVES) | {"learning_rate": SELECTION_LEARNING_RATE}
        if not examples.is_binary:
            parameters |= {"objective": "regression", "metric": "l2"}
            target = examples.target.astype(np.float32)[:, None]
            ranks = RankGauss.fit(target, examples.weights)(target)[:, 0]
            examples = dataclasses.replace(examples, target=ranks)
        booster = lightgbm.train(parameters, _dataset(examples, columns, parameters), num_boost_round=rounds)
        return np.asarray(booster.feature_importance("gain"), dtype=np.float64)

    def _parameters(self, examples: Examples, num_leaves: int) -> dict[str, Any]:
        least = min(self.config.min_rows_per_leaf, max(1, len(examples) // MIN_LEAVES_OF_ROWS))
        return {
            "objective": "binary" if examples.is_binary else "regression_l1",
            "metric": "auc" if examples.is_binary else "l1",
            "num_leaves": num_leaves,
            "min_data_in_leaf": least,
            "learning_rate": self.config.learning_rate,
            "feature_fraction": self.config.column_share,
            "bagging_fraction": self.config.row_share,
            "bagging_freq": 1,
            "feature_pre_filter": False,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": self.num_threads,
            "verbosity": -1,
        }


SELECTION_LEAVES, SELECTION_LEARNING_RATE = 15, 0.1
"""Form of the boosting whose gains rank columns."""


def _constant(examples: Examples, columns: NDArray[np.int64]) -> float | None:
    """The best constant where the target has one value or there is no column to split by; else None."""
    target = examples.target[examples.weights > 0]
    if len(columns) and not (target == target[0]).all():
        return None
    if examples.is_binary:
        return float(np.average(examples.target, weights=examples.weights))
    return weighted_median(examples.target, examples.weights)


def _dataset(
    examples: Examples,
    columns: NDArray[np.int64],
    parameters: dict[str, Any],
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        examples.columns[:, columns],
        label=examples.target,
        weight=examples.weights,
        reference=reference,
        params={"verbosity": -1, "feature_pre_filter": False, "num_threads": parameters["num_threads"]},
    )
