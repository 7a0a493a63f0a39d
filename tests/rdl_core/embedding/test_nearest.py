"""Nearest rows against a loop over all pairs, over parts of a few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from rdl_core.embedding import nearest_rows
from rdl_core.problems import InputError
from tests.rdl_core.embedding.small_models import folder_of


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    """Thirty rows: row 20 points as row 4 does, row 5 is zero."""
    vectors = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    vectors[20], vectors[5] = 2 * vectors[4], 0.0
    return vectors


def test_the_nearest_are_those_of_a_loop_over_all_pairs_most_similar_first(
    tmp_path: Path, vectors: NDArray[np.float32]
) -> None:
    folder = folder_of(tmp_path, pa.table({"shop_id": [f"S-{i}" for i in range(30)]}), vectors)
    for row in (4, 29):
        a = vectors[row].astype(float)
        cosine = {}
        for other, b in enumerate(vectors.astype(float)):
            if other != row and np.any(b):
                cosine[f"S-{other}"] = float(a @ b / np.sqrt((a @ a) * (b @ b)))
        expected = sorted(cosine, key=lambda key: -cosine[key])[:8]
        found = nearest_rows(folder, [f"S-{row}"], top=8)
        assert [near.key["shop_id"] for near in found] == expected
        np.testing.assert_allclose([near.similarity for near in found], [cosine[key] for key in expected], atol=1e-12)


def test_of_equally_near_rows_the_first_of_the_table_comes_first(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, pa.table({"id": range(20)}), np.ones((20, 3), np.float32))
    assert [near.key["id"] for near in nearest_rows(folder, ["8"], top=10)] == [*range(8), 9, 10]


def test_a_key_of_several_columns_needs_a_value_for_each(tmp_path: Path, vectors: NDArray[np.float32]) -> None:
    keys = pa.table({"town": ["Brno", "Praha"] * 15, "no": np.repeat(range(15), 2)})
    folder = folder_of(tmp_path, keys, vectors)
    (near,) = nearest_rows(folder, ["Brno", "2"], top=1)
    assert near.key == {"town": "Brno", "no": 10}
    with pytest.raises(InputError, match="expected 2 values, of town, no, got 1"):
        nearest_rows(folder, ["Brno"], top=1)


@pytest.mark.parametrize(
    ("key", "said"),
    [("99", r"no row id '99' of table 'shops'"), ("x", r"'x': the key 'id' is of type int64"), ("5", "id 5 is zero")],
)
def test_a_key_that_is_not_there_or_no_key_or_of_a_zero_vector_is_refused(
    tmp_path: Path, vectors: NDArray[np.float32], key: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        nearest_rows(folder_of(tmp_path, pa.table({"id": range(30)}), vectors), [key], top=1)
