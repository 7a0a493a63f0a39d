"""Cohort columns: a question's columns beside those of all questions of its time, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rdl_core.heads.cohort import with_cohort_columns


def examples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    columns = rng.integers(0, 4, (60, 3)).astype(np.float32)
    columns[rng.random(columns.shape) < 0.2] = np.nan
    columns[:, 2] = 7.0
    return columns, np.repeat([30, 10, 20], 20)


def test_percentiles_z_and_gaps_are_those_of_pandas_within_each_time() -> None:
    columns, time_s = examples()
    found = with_cohort_columns(columns, time_s)
    of_time = pd.DataFrame(columns.astype(np.float64)).groupby(time_s)
    own = pd.DataFrame(columns.astype(np.float64))
    ranks = (of_time.rank() - 0.5) / of_time.transform("count")
    deviation = of_time.transform("std", ddof=0)
    z = ((own - of_time.transform("mean")) / deviation.where(deviation > 0, np.inf)).where(own.notna())
    expected = [own, ranks, z, own - of_time.transform("min"), of_time.transform("max") - own]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-6, atol=1e-6)


def test_a_cohort_does_not_depend_on_other_times_nor_on_the_order_of_its_questions() -> None:
    columns, time_s = examples()
    whole, order = with_cohort_columns(columns, time_s), np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(with_cohort_columns(columns[order], time_s[order]), whole[order])
    alone = np.flatnonzero(time_s == 20)
    np.testing.assert_array_equal(with_cohort_columns(columns[alone], time_s[alone]), whole[alone])


def test_a_question_that_is_asked_alone_is_the_middle_of_its_cohort() -> None:
    found = with_cohort_columns(np.array([[3.0, np.nan]], np.float32), np.array([1]))
    np.testing.assert_array_equal(found, np.array([[3.0, np.nan, 0.5, np.nan, 0.0, np.nan, 0.0, np.nan, 0.0, np.nan]]))
