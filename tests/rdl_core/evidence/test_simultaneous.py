"""Simultaneous intervals: all figures of a family lie in theirs about as often as is said, which intervals of each by itself do not."""

from __future__ import annotations

import numpy as np

from rdl_core.evidence import simultaneous_intervals

FIGURES, ROWS, DRAWS, TRIALS = 25, 60, 300, 150


def coverage(ends: np.ndarray) -> bool:
    return bool(((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).all())


def test_all_figures_together_lie_in_their_intervals_as_often_as_is_said() -> None:
    generator, together, alone = np.random.default_rng(0), 0, 0
    for _ in range(TRIALS):
        values = generator.normal(size=(FIGURES, ROWS)) * np.linspace(0.1, 3, FIGURES)[:, None]
        weights = generator.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=DRAWS)
        draws = values @ weights.T / ROWS
        together += coverage(simultaneous_intervals(values.mean(axis=1), draws))
        alone += coverage(np.quantile(draws, (0.025, 0.975), axis=1).T)
    assert 0.88 <= together / TRIALS <= 1.0  # 0.95 as rows grow
    assert alone / TRIALS < 0.5


def test_a_figure_that_never_moves_is_its_own_interval() -> None:
    draws = np.stack([np.full(50, 0.25), np.random.default_rng(0).normal(size=50)])
    ends = simultaneous_intervals(np.array([0.25, 0.0]), draws)
    assert ends[0].tolist() == [0.25, 0.25]
    assert ends[1, 0] < 0 < ends[1, 1]
    assert simultaneous_intervals(np.array([0.25]), draws[:1]).tolist() == [[0.25, 0.25]]
