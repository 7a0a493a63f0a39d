"""A check that a task's SQL keeps to its window: what it gives at the validation timestamp, with and without the rows that it must not look at.

    labels with all rows up to the test timestamp    =  labels with the rows up to the end of the window       else it looks beyond the window
    who is asked, with the rows of the window        =  who is asked, with the rows up to the seed time        else being asked tells the answer

Where nobody is asked without the rows of the window, the question has no answer there (an average, the next value), or it leaves out whom "none"
would be the answer of. SQL does not say which, so the sentence says both.

In: a task with SQL. Out: a sentence per promise that does not hold. Cost: three runs of the SQL at one seed time. Rows of tables without a time are
there in all of them: a label that reads such rows alone is not found out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from relbench.base import EntityTask

from rdl_core.database.label_checks import class_name
from rdl_core.database.label_replay import labels_at


def window_findings(task: EntityTask) -> list[str]:
    """Returns what the SQL looks at and must not; nothing of a task without SQL.

    Raises:
        DatabaseError: DuckDB refuses the SQL.
    """
    if not getattr(task, "_sql", None):  # RelBench 3.0.2 keeps a task's SQL in no public attribute
        return []
    seed = task.dataset.val_timestamp
    seeds, end = pd.DatetimeIndex([seed]).as_unit("us"), seed + task.timedelta
    whole, closed, before = (_labels(task, seeds, until) for until in (None, end, seed))
    findings = []
    if differing := _num_differing(whole, closed):
        findings.append(
            f"the SQL looks beyond the window: {differing:,} of {len(whole):,} labels at {seed} change without the rows after {end}; count rows up "
            "to the seed time plus INTERVAL '{timedelta}'"
        )
    if len(closed) and not len(before):
        findings.append(
            f"who is asked depends on rows after the seed time: all {len(closed):,} entities at {seed} are asked because such a row came. Right for "
            "what has no value without one (an average, the next value), but a prediction then holds only for entities that will have one; where "
            "none is an answer, too (a number, yes or no), ask everybody by LEFT JOIN and COALESCE"
        )
    elif asked := len(set(closed.index) ^ set(before.index)):
        findings.append(
            f"who is asked depends on rows after the seed time: {asked:,} of {len(closed):,} entities at {seed} would not be asked, or others would, "
            "without them. Being asked tells something then, and tomorrow nobody can know whom to ask"
        )
    return findings


def _labels(task: EntityTask, seeds: pd.DatetimeIndex, until: pd.Timestamp | None) -> pd.Series:
    found = labels_at(task, seeds, until)
    return found.set_index(task.entity_col)[task.target_col].sort_index()


def _num_differing(one: pd.Series, other: pd.Series) -> int:
    both = one.index.intersection(other.index)
    alone = len(one) + len(other) - 2 * len(both)
    a, b = one.loc[both], other.loc[both]
    if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
        return alone + int((~np.isclose(a.to_numpy(float), b.to_numpy(float), rtol=1e-9, equal_nan=True)).sum())
    return alone + int((a.map(class_name).to_numpy() != b.map(class_name).to_numpy()).sum())
