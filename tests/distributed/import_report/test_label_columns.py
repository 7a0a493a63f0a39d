"""A column that determines a label is found at every hop and for every type; what a model may learn is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from relbench.manifest import TableSpec

from tests.distributed.import_report.small_folders import (
    NUM_LOANS,
    NUM_READERS,
    NUM_TOWNS,
    SPECS,
    Tables,
    findings,
    labels,
    library,
    places,
    task,
)

RNG = np.random.default_rng(7)
BINARY = (RNG.random(NUM_READERS) < 0.3).astype(int)
NUMBER = RNG.gamma(2.0, size=NUM_READERS)
CLASS = RNG.integers(0, 4, NUM_READERS)


def test_a_number_of_the_entity_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["unpaid"] = BINARY * 3.0 + RNG.random(NUM_READERS)
    (found,) = findings(tmp_path / "in", tables, labels(BINARY))
    assert (found.kind, found.place, found.task, found.num_rows) == ("label_in_column", "readers.unpaid", "leaves", 800)
    assert (
        "AUROC 0.99" in found.text and "remove_columns" in found.remedy and "--exclude readers.unpaid" in found.remedy
    )


def test_a_word_of_the_entity_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["card"] = np.where(BINARY == 1, "void", "good")
    assert places(findings(tmp_path / "in", tables, labels(BINARY))) == [("label_in_column", "readers.card")]


def test_a_null_of_the_entity_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["reason"] = np.where(BINARY == 1, [f"reason {i}" for i in range(NUM_READERS)], None)
    assert places(findings(tmp_path / "in", tables, labels(BINARY))) == [("label_in_column", "readers.reason")]


def test_a_time_of_the_entity_is_found_by_its_distance_to_the_seed(tmp_path: Path) -> None:
    tables = library()
    left = pd.Timestamp("2020-06-01") + pd.to_timedelta(RNG.uniform(0, 700, NUM_READERS), unit="D")
    tables["readers"]["left"] = left
    train = pd.concat(
        [labels((left < pd.Timestamp(t)).astype(int), [t]) for t in ("2021-01-01", "2021-09-01")], ignore_index=True
    )
    assert ("label_in_column", "readers.left") in places(findings(tmp_path / "in", tables, train))


def test_a_column_of_the_row_that_the_entity_refers_to_is_found(tmp_path: Path) -> None:
    tables = library()
    closes = RNG.random(NUM_TOWNS) < 0.4
    tables["towns"]["closes"] = closes
    target = closes[tables["readers"]["town"]].astype(int)
    assert ("label_in_column", "towns.closes") in places(findings(tmp_path / "in", tables, labels(target)))


def loans_with(tables: Tables, column: str, values: np.ndarray) -> Tables:
    tables["loans"][column] = values[tables["loans"]["reader"]]
    return tables


def test_a_column_of_the_latest_row_before_the_seed_is_found(tmp_path: Path) -> None:
    tables = loans_with(library(), "reminder", np.where(BINARY == 1, "sent", "none"))
    assert places(findings(tmp_path / "in", tables, labels(BINARY))) == [("label_in_column", "loans.reminder")]


def test_rows_at_or_after_the_seed_are_not_read(tmp_path: Path) -> None:
    tables = loans_with(library(), "reminder", np.where(BINARY == 1, "sent", "none"))
    seed = pd.Timestamp("2021-01-01")
    tables["loans"].loc[len(tables["loans"]) // 2, "at"] = seed  # at the very seed
    tables["loans"] = (
        tables["loans"].sort_values("at", kind="stable").reset_index(drop=True).assign(id=range(NUM_LOANS))
    )
    tables["loans"].loc[tables["loans"]["at"] < seed, "reminder"] = "none"
    found = findings(tmp_path / "in", tables, labels(BINARY, ["2021-01-01"]))
    assert [one.place for one in found if one.kind == "label_in_column"] == []


def test_a_row_without_a_time_that_refers_to_the_entity_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["profiles"]["left"] = BINARY
    assert places(findings(tmp_path / "in", tables, labels(BINARY))) == [("label_in_column", "profiles.left")]


def test_a_number_that_gives_a_regression_label_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["invoice"] = 100 - 2 * NUMBER
    (found,) = findings(tmp_path / "in", tables, labels(NUMBER), task("regression"))
    assert found.place == "readers.invoice" and "R2 0.9" in found.text


def test_a_word_that_gives_one_of_several_classes_is_found(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["shelf"] = np.array(["north", "south", "east", "west"])[CLASS]
    found = findings(tmp_path / "in", tables, labels(CLASS), task("multiclass_classification"))
    assert places(found) == [("label_in_column", "readers.shelf")]


def test_a_state_at_the_time_of_the_copy_is_found_on_the_last_labels(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["card"] = np.where(BINARY == 1, "void", "good")
    early = labels((RNG.random(NUM_READERS) < 0.3).astype(int), ["2020-07-01", "2021-01-01"])
    (found,) = findings(tmp_path / "in", tables, pd.concat([early, labels(BINARY, ["2021-07-01"])], ignore_index=True))
    assert (
        found.place == "readers.card" and "of the last train timestamp" in found.text and found.num_rows == NUM_READERS
    )


@pytest.mark.parametrize("noise", [1.0, 1.5, 3.0])
def test_a_strong_but_honest_column_is_not_reported(tmp_path: Path, noise: float) -> None:
    tables = library()
    tables["readers"]["score"] = BINARY + RNG.normal(scale=noise, size=NUM_READERS)
    assert findings(tmp_path / "in", tables, labels(BINARY)) == []


def test_a_name_that_no_other_entity_has_tells_nothing_though_labels_last(tmp_path: Path) -> None:
    target = np.arange(NUM_READERS) % 2  # the parity of the key
    assert findings(tmp_path / "in", library(), labels(target, ["2020-05-01", "2020-09-01", "2021-05-01"])) == []


@pytest.mark.parametrize("num_positives", [0, 1, 5])
def test_too_few_positives_tell_nothing(tmp_path: Path, num_positives: int) -> None:
    tables = library()
    target = (np.arange(NUM_READERS) < num_positives).astype(int)
    tables["readers"]["card"] = target
    assert findings(tmp_path / "in", tables, labels(target)) == []


def test_columns_that_the_task_must_not_see_are_not_reported(tmp_path: Path) -> None:
    tables = library()
    tables["readers"]["card"] = BINARY
    hidden = task(remove_columns=[["readers", "card"]])
    assert findings(tmp_path / "in", tables, labels(BINARY), hidden) == []


def test_rows_dated_by_another_parent_are_not_taken_for_known(tmp_path: Path) -> None:
    tables = library()
    tables["profiles"] = pd.DataFrame({"reader": range(NUM_READERS), "loan": range(NUM_READERS), "left": BINARY})
    specs = {**SPECS, "profiles": TableSpec(fkeys={"reader": "readers", "loan": "loans"})}
    found = findings(tmp_path / "in", tables, labels(BINARY), specs=specs)
    assert [one for one in found if one.kind == "label_in_column"] == []


def test_a_column_to_be_completed_is_no_finding_of_its_own_and_its_copy_is(tmp_path: Path) -> None:
    tables = library()
    kept = RNG.random(NUM_LOANS) < 0.4
    tables["loans"]["kept"] = kept.astype(int)
    tables["loans"]["copy"] = np.where(kept, "kept", "brought back")
    train = pd.DataFrame({"at": tables["loans"]["at"], "id": range(NUM_LOANS), "kept": kept.astype(int)}).head(3000)
    of_loans = task(kind="autocomplete", entity_table="loans", entity_col=None, time_col=None, target_col="kept")
    assert places(findings(tmp_path / "in", tables, train, of_loans)) == [("label_in_column", "loans.copy")]
