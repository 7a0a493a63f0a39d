"""Normal scores of ranks against a loop over the fitted numbers."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch

from rdl_core.model.rank_gauss import NUM_KNOTS, OUTERMOST_RANK, RankGauss


def fitted(*columns: list[float]) -> RankGauss:
    part = RankGauss(len(columns))
    part.fit(np.array(columns, np.float32).T)
    return part


def score(rank: float) -> float:
    return NormalDist().inv_cdf(min(max(rank, OUTERMOST_RANK), 1 - OUTERMOST_RANK))


def test_a_number_gets_the_normal_score_of_its_rank() -> None:
    values = [float(i) ** 3 for i in range(NUM_KNOTS)]
    found = fitted(values)(torch.tensor([values]).T)[:, 0]
    expected = [score(sum(v < value for v in values) / (len(values) - 1)) for value in values]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_between_two_knots_scores_rise_with_the_number_and_beyond_them_stay() -> None:
    part = fitted([0.0, 1.0, 10.0])
    points = torch.linspace(-5.0, 15.0, 201).unsqueeze(1)
    found = part(points)[:, 0]
    assert (found.diff() >= 0).all()
    assert found[0] == found[points[:, 0] <= 0].max()
    assert found[-1] == found[points[:, 0] >= 10].min()
    assert len(found.unique()) > 50


def test_ties_share_the_middle_of_their_ranks() -> None:
    values = [0.0] * 90 + [1.0] * 10
    found = fitted(values)(torch.tensor([[0.0], [1.0]]))[:, 0]
    assert abs(found[0].item() - score(0.45)) < 0.03
    assert abs(found[1].item() - score(0.95)) < 0.15


def test_what_is_undefined_constant_or_never_seen_is_zero() -> None:
    part = fitted([1.0, 2.0, math.nan], [7.0, 7.0, 7.0], [math.nan] * 3)
    found = part(torch.tensor([[math.nan, 7.0, 3.0], [1.5, 9.0, math.nan]]))
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    assert found[1, 1:].tolist() == [0.0, 0.0]
    assert found[1, 0].isfinite()
