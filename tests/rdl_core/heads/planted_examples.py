"""Rows of columns with a planted signal, and small settings under which everything is fitted in a fraction of a second."""

from __future__ import annotations

from typing import Any

import numpy as np

from rdl_core.config.heads import BoostingConfig, HeadsConfig, LinearConfig
from rdl_core.heads import Examples

DAY_S = 86_400
HORIZON_S = 30 * DAY_S
SMALL = HeadsConfig(
    num_folds=3,
    linear=LinearConfig(num_columns=(3, 8), inverse_regularizations=(1e-3, 1e-1)),
    boosting=BoostingConfig(
        num_columns=8, num_leaves=(4, 8), learning_rate=0.2, column_share=0.5, max_rounds=60, patience=20
    ),
)


def planted(num_rows: int = 400, *, is_binary: bool, seed: int = 0, num_times: int = 10, **changes: Any) -> Examples:
    """Twelve columns, a tenth of the cells undefined, of which column 2 decides the target up to noise; seed times HORIZON_S apart."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(num_rows, 12)).astype(np.float32)
    signal = 2 * columns[:, 2] + 0.5 * rng.normal(size=num_rows)
    columns[rng.random(columns.shape) < 0.1] = np.nan
    values = {
        "columns": columns,
        "target": (signal > 0).astype(np.float64) if is_binary else 10 + 3 * signal.astype(np.float64),
        "time_s": np.sort(rng.integers(num_times, size=num_rows)) * HORIZON_S,
        "weights": np.ones(num_rows),
    }
    return Examples(**values | changes, is_binary=is_binary)
