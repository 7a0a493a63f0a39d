"""Heads on columns: how the linear model, LightGBM and their blend are chosen on folds inside train."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rdl_core.config.decoding import checked

HeadName = Literal["network", "linear", "lightgbm", "blend"]
CalibrationName = Literal["isotonic", "platt"]
HEADS: tuple[HeadName, ...] = ("network", "linear", "lightgbm", "blend")
Share = Annotated[float, Field(gt=0.0, le=1.0)]


@checked
class LinearConfig:
    """L2-regularised logistic regression, or smoothed L1 regression, on scaled columns."""

    num_columns: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (100, 300)
    """Numbers of columns, best first, of which folds choose one."""
    inverse_regularizations: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        *(1e-4, 3e-4, 1e-3),
        *(3e-3, 1e-2, 3e-2),
    )
    """Candidates of C: the loss summed over the rows is multiplied by it, as in scikit-learn. Folds choose one."""


@checked
class BoostingConfig:
    """LightGBM on the best columns."""

    num_columns: PositiveInt = 300
    """Best columns that it sees."""
    num_leaves: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (7, 31)
    """Most leaves of a tree, of which folds choose one."""
    min_rows_per_leaf: PositiveInt = 20
    """Fewest rows in a leaf; never more than a twentieth of the rows."""
    learning_rate: PositiveFloat = 0.05
    """Share of each tree that is added."""
    column_share: Share = 0.3
    """Share of the columns that each tree sees."""
    row_share: Share = 0.8
    """Share of the rows that each tree sees."""
    num_models: PositiveInt = 3
    """Models of different random seeds whose predictions are averaged."""
    max_rounds: PositiveInt = 400
    """Most trees."""
    patience: PositiveInt = 50
    """Trees without a new best on the fold's validation block before boosting ends."""


@checked
class HeadsConfig:
    """The choices that folds inside train make for the heads on columns: columns, settings and weights."""

    num_folds: PositiveInt = 4
    """Validation blocks of the expanding windows; fewer where train has fewer times."""
    linear: LinearConfig = LinearConfig()
    """The linear model."""
    boosting: BoostingConfig = BoostingConfig()
    """LightGBM."""
    cohort_columns: bool = False
    """Whether the heads also read how each column of a question compares with those of all questions of the same time (rdl_core/heads/cohort.py). A
    list of questions can know the future (who is asked about a race is in it), so it is an option, and such heads are reported but not kept: a single
    prediction has no list."""
    blend_steps: PositiveInt = 25
    """Heads that the blend adds up greedily, with repetition; weights are multiples of one over as many."""
    network_folds: PositiveInt = 2
    """Newest folds on which the network is trained again, for as long as it was on train, so that the blend knows what it is worth. A pretrained
    backbone has seen the rows, though no label, of these folds' windows, so the blend may trust it too much."""
