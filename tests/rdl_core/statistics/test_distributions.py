"""Drift of columns: none where nothing changed, much where numbers or categories moved, nothing said of few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rdl_core.database import open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.problems import InputError
from rdl_core.statistics.distributions import Drift, drift, fit_distributions, from_bytes, to_bytes
from rdl_core.timestamps import seconds_of
from tests.nasty_database import write_database

CUTOFF = "2020-06-01"


def store_of(folder: Path, *, later: int, shift: float = 0.0, kinds: tuple[str, ...] = ("a", "b")) -> Store:
    """A store of one table: 400 rows up to the cutoff and `later` ones after it, whose amounts are shifted and kinds others."""
    rng = np.random.default_rng(0)
    known = [*rng.choice(["a", "b"], 400), *rng.choice(kinds, later)]
    amounts = np.concatenate([rng.normal(size=400), rng.normal(size=later) + shift])
    times = pd.date_range("2020-01-01", CUTOFF, periods=400).append(
        pd.date_range(CUTOFF, "2020-09-01", periods=later + 1)[1:]
    )
    rows = pa.table(
        {"event_id": range(400 + later), "time": times.astype("datetime64[us]"), "amount": amounts, "kind": known}
    )
    spec = {"events": {"pkey": "event_id", "time_col": "time"}}
    path = write_database(folder / "db", {"events": rows}, spec, val_timestamp=CUTOFF, test_timestamp="2020-08-01")
    return materialize(open_dataset(path), folder / "stores")


def drifts(store: Store) -> dict[str, Drift]:
    found = drift(store, fit_distributions(store), after_s=seconds_of(CUTOFF), before_s=seconds_of("2021-01-01"))
    return {one.column: one for one in found}


def test_rows_of_the_same_distribution_have_not_drifted(tmp_path: Path) -> None:
    found = drifts(store_of(tmp_path, later=300))
    assert set(found) == {"amount", "kind"}
    assert all(one.psi < 0.1 and one.rows == 300 for one in found.values())


def test_numbers_that_have_moved_have_drifted_and_others_not(tmp_path: Path) -> None:
    found = drifts(store_of(tmp_path, later=300, shift=1.5))
    assert found["amount"].psi > 1 and found["kind"].psi < 0.1


@pytest.mark.parametrize("kinds", [("a",), ("new", "newer")])
def test_categories_of_other_shares_and_values_that_the_model_does_not_know_have_drifted(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    found = drifts(store_of(tmp_path, later=300, kinds=kinds))
    assert found["kind"].psi > 0.5 and found["amount"].psi < 0.1


def test_few_rows_are_not_compared(tmp_path: Path) -> None:
    assert drifts(store_of(tmp_path, later=49, shift=5.0)) == {}


def test_what_a_model_keeps_is_read_as_it_was_written_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    fitted = fit_distributions(store_of(tmp_path, later=60))
    assert from_bytes(to_bytes(fitted)) == fitted
    with pytest.raises(InputError, match="distributions.json of the model is damaged"):
        from_bytes(b'{"events": 3}')
