"""Heads as files: the same predictions to the bit, the same bytes, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rdl_core.heads import Boosting, Chooser, Examples, Head, LinearModel, Trees, expanding_folds, head_files, read_head
from rdl_core.heads.linear import fit_linear
from rdl_core.problems import InputError
from tests.rdl_core.heads.planted_examples import HORIZON_S, SMALL, planted

BOTH = pytest.mark.parametrize("name", ["linear", "lightgbm"])
BINARY = pytest.mark.parametrize("is_binary", [True, False])
NAMES = [f"mean of table.column_{number}, é" for number in range(12)]


def fitted(name: str, examples: Examples) -> Head:
    """A head as the choices on folds leave it."""
    folds = expanding_folds(
        examples.time_s,
        examples.target,
        examples.weights,
        horizon_s=HORIZON_S,
        num_folds=2,
        is_binary=examples.is_binary,
    )
    chooser = Chooser(examples, folds, SMALL, seed=3, num_threads=1)
    return chooser.fit(chooser.linear() if name == "linear" else chooser.lightgbm())


def again(name: str, head: Head) -> Head:
    return read_head(name, head_files(name, head, NAMES).__getitem__, NAMES)


@BOTH
@BINARY
def test_a_head_that_was_read_predicts_and_is_refitted_to_the_bit(name: str, is_binary: bool) -> None:
    examples, other = planted(is_binary=is_binary), planted(300, is_binary=is_binary, seed=1)
    head = fitted(name, examples)
    read = again(name, head)
    asked = planted(1000, is_binary=is_binary, seed=2).columns
    np.testing.assert_array_equal(read.predict(asked), head.predict(asked))
    np.testing.assert_array_equal(read.refit(other).predict(asked), head.refit(other).predict(asked))
    one_by_one = np.concatenate([read.predict(asked[row : row + 1]) for row in range(50)])
    np.testing.assert_allclose(one_by_one, head.predict(asked[:50]), rtol=1e-12)


@BOTH
def test_the_same_head_gives_the_same_bytes_and_so_does_the_one_that_was_read(name: str) -> None:
    head = fitted(name, planted(is_binary=True))
    files = head_files(name, head, NAMES)
    assert files == head_files(name, head, NAMES)
    assert head_files(name, again(name, head), NAMES) == files


@BINARY
def test_heads_of_which_nothing_was_learned_are_kept_too(is_binary: bool) -> None:
    examples = planted(60, is_binary=is_binary, target=np.ones(60))
    no_columns = np.empty(0, np.int64)
    constant = Boosting(SMALL.boosting, seed=0, num_threads=1).fit(examples, no_columns, Trees(4, 2))
    linear = fit_linear(planted(60, is_binary=is_binary), no_columns, [0.1])[0]
    for name, head in (("lightgbm", constant), ("linear", linear)):
        np.testing.assert_array_equal(again(name, head).predict(examples.columns), head.predict(examples.columns))


def test_no_file_is_a_pickle_and_columns_are_named(capsys: Any) -> None:
    files = head_files("linear", fitted("linear", planted(is_binary=True)), NAMES)
    assert set(files) == {"linear.json", "linear.safetensors"}
    described = json.loads(files["linear.json"])
    assert all(NAMES[column["number"]] == column["name"] for column in described["columns"])
    files = head_files("lightgbm", fitted("lightgbm", planted(is_binary=True)), NAMES)
    assert set(files) == {"lightgbm.json", "lightgbm-0.txt", "lightgbm-1.txt", "lightgbm-2.txt"}
    assert files["lightgbm-0.txt"].startswith(b"tree\n")


@BOTH
def test_data_with_other_columns_is_refused_and_the_columns_are_named(name: str) -> None:
    files = head_files(name, fitted(name, planted(is_binary=True)), NAMES)
    first = json.loads(files[f"{name}.json"])["columns"][0]
    other = [n if i != first["number"] else "count of cats" for i, n in enumerate(NAMES)]
    with pytest.raises(
        InputError, match=rf"head '{name}' .*1 that it reads are not there\n  column {first['number']}: 'mean of"
    ):
        read_head(name, files.__getitem__, other)
    with pytest.raises(InputError, match="fitted on 12 generated columns, and this data has 13: none of those"):
        read_head(name, files.__getitem__, [*NAMES, "count of cats"])


@BOTH
def test_a_damaged_file_is_refused_by_the_heads_name(name: str) -> None:
    files = head_files(name, fitted(name, planted(is_binary=True)), NAMES)
    for file in files:
        for content in (b"", files[file][:40]):
            damaged = files | {file: content}
            with pytest.raises(InputError, match=f"head '{name}' has a damaged file"):
                read_head(name, damaged.__getitem__, NAMES)
    older = json.loads(files[f"{name}.json"]) | {"format_version": 0}
    with pytest.raises(InputError, match="has format 0, expected 1"):
        read_head(name, (files | {f"{name}.json": json.dumps(older).encode()}).__getitem__, NAMES)


def test_a_linear_head_keeps_its_numbers_exactly() -> None:
    head = fitted("linear", planted(is_binary=False))
    read = again("linear", head)
    assert isinstance(head, LinearModel) and isinstance(read, LinearModel)
    np.testing.assert_array_equal(read.coefficients, head.coefficients)
    assert (read.intercept, read.unit, read.inverse_regularization) == (
        head.intercept, head.unit, head.inverse_regularization,
    )  # fmt: skip
