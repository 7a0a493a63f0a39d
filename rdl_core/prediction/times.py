"""The times that predictions are asked for: read, rounded down to seconds, and refused where nothing can be known of them.

Promises: whoever names no time asks for the second after the last row ("tomorrow"), so that every row counts; an entity is asked about only at a time
at which it exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rdl_core.graph.reg import ALWAYS, RelationalEntityGraph
from rdl_core.prediction.entity_keys import NUM_KEYS_SHOWN, EntityKeys
from rdl_core.problems import InputError
from rdl_core.timestamps import NO_TIME, seconds_of, series_to_unix_seconds

Times = str | date | pd.Timestamp | Iterable[Any] | None


def shown_time(seconds: int) -> str:
    """Returns a time as people read it, in UTC."""
    return str(pd.Timestamp(seconds, unit="s"))


def first_row_s(graph: RelationalEntityGraph) -> int:
    """Returns the time of the first row that has one, UNIX seconds; NO_TIME where none has."""
    return int(np.min(graph.time, initial=NO_TIME, where=graph.time != ALWAYS))


def asked_seconds(time: Times, number: int, *, tomorrow_s: int) -> NDArray[np.int64]:
    """Returns the time of each question, rounded down: int64 [number], UNIX seconds.

    Args:
        time: One time (a time without zone is taken as UTC), one per question, or None for `tomorrow_s`.
        number: Number of questions.

    Raises:
        InputError: It is no time, or there is not one per question.
    """
    if time is None:
        return np.full(number, tomorrow_s)
    try:
        if isinstance(time, str | date | np.datetime64):
            return np.full(number, seconds_of(time if isinstance(time, str) else pd.Timestamp(time)))
        listed = pd.Series(time) if isinstance(time, np.ndarray | pd.Index | pd.Series) else pd.Series(list(time))
        seconds = series_to_unix_seconds(pd.to_datetime(listed) if listed.dtype.kind not in "iuf" else listed)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the time to predict at: {error}. Remedy: one time, or one per key, such as '2024-11-01'"
        ) from error
    if len(seconds) != number:
        raise InputError(f"{len(seconds):,} times for {number:,} keys. Remedy: one time for all, or one per key")
    return seconds


def refuse_unknowable(
    keys: EntityKeys, rows: NDArray[np.int64], time_s: NDArray[np.int64], exists_s: NDArray[np.int64], *, first_s: int
) -> None:
    """Refuses times before all data, and entities that do not exist yet.

    Args:
        rows: int64 [questions], rows of the entity table.
        time_s: int64 [questions], UNIX seconds.
        exists_s: int64 [questions], the latest time at which the entity is not there yet.
        first_s: Time of the first row of the database.

    Raises:
        InputError: Naming the first few and how many there are.
    """
    early = np.flatnonzero(time_s <= first_s)
    if len(early):
        raise InputError(
            f"{len(early):,} of {len(rows):,} times lie before all data: {shown_time(int(time_s[early[0]]))}, and the first row is of "
            f"{shown_time(first_s)}; a prediction sees rows strictly before its time. Remedy: a later time"
        )
    unborn = np.flatnonzero(exists_s >= time_s)
    if not len(unborn):
        return
    some = unborn[:NUM_KEYS_SHOWN]
    shown = ", ".join(
        f"{name!r} ({'no row refers to it' if s == NO_TIME else f'from {shown_time(int(s))} on'})"
        for name, s in zip(keys.shown(rows[some]), exists_s[some], strict=True)
    )
    raise InputError(
        f"{len(unborn):,} of {len(rows):,} {keys.table} do not exist yet at the time asked for, {shown_time(int(time_s[unborn[0]]))}: {shown}"
        f"{', ...' if len(unborn) > len(some) else ''}. A row of a table without times exists from the first row on that refers to it. "
        "Remedy: a later time, or leave them out (--all asks for those that exist)"
    )
