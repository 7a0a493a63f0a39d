"""The rows whose vectors point most nearly the way of one row's: exact, by one pass over the parts of a folder.

Memory: one part and the nearest rows so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rdl_core.embedding.folder import EmbeddingsFolder, vectors_of
from rdl_core.problems import InputError


@dataclass(frozen=True)
class Neighbour:
    """A row near another one.

    Args:
        key: Its key, by column.
        similarity: Cosine of the angle between the two vectors, from -1 to 1.
    """

    key: dict[str, Any]
    similarity: float


def nearest_rows(folder: EmbeddingsFolder, key: Sequence[str], top: int) -> list[Neighbour]:
    """Returns the rows nearest to one, itself left out: the most similar first, of equal ones the first in the table.

    Args:
        folder: Whole embeddings.
        key: The row's key as text, a value for each key column.
        top: How many rows; fewer if there are fewer.

    Raises:
        FileNotFoundError: Parts are missing.
        InputError: No row has this key, or its vector is zero and points nowhere.
    """
    found, vector = _find(folder, key)
    norm = np.linalg.norm(vector)
    if norm == 0.0:
        raise InputError(f"the vector of {_shown(found.key)} is zero, so nothing is near it; name another --key")
    nearest: list[Neighbour] = []
    for part in folder.parts():
        similarity = _cosines(vectors_of(part).astype(np.float64), vector / norm)
        names = part.select(folder.about.key_columns)
        best = np.argsort(-similarity, kind="stable")[: top + 1]
        rows = [Neighbour(key, float(s)) for key, s in zip(names.take(best).to_pylist(), similarity[best], strict=True)]
        candidates = [*nearest, *(row for row in rows if row.key != found.key)]
        nearest = sorted(candidates, key=lambda row: -row.similarity)[:top]
    return nearest


def _find(folder: EmbeddingsFolder, key: Sequence[str]) -> tuple[Neighbour, NDArray[np.float64]]:
    names = folder.about.key_columns
    if len(key) != len(names):
        raise InputError(f"--key {' '.join(key)}: expected {len(names)} values, of {', '.join(names)}, got {len(key)}")
    for number, part in enumerate(folder.parts(names)):
        is_it = np.ones(len(part), bool)
        for name, text in zip(names, key, strict=True):
            equal = pc.equal(part[name], _value(name, text, part.schema.field(name).type))
            is_it &= equal.fill_null(False).to_numpy()
        if is_it.any():
            row = folder.part(number).slice(int(np.argmax(is_it)), 1)
            return Neighbour(row.select(names).to_pylist()[0], 1.0), vectors_of(row)[0].astype(np.float64)
    wanted = dict(zip(names, key, strict=True))
    raise InputError(
        f"no row {_shown(wanted)} of table {folder.about.table!r} in {folder.path}: there is none of this key, or it was left out because it did not "
        "exist at the time asked for. Remedy: a key that is there, or embed with a later --at"
    )


def _value(name: str, text: str, kind: pa.DataType) -> pa.Scalar:
    try:
        return pa.scalar(text).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise InputError(f"--key {text!r}: the key {name!r} is of type {kind}; name a value of this type") from None


def _cosines(vectors: NDArray[np.float64], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the cosines to a direction of length 1: float64 [rows]; 0 of a vector that is zero."""
    norms = np.linalg.norm(vectors, axis=1)
    return (vectors @ direction) / np.where(norms == 0.0, 1.0, norms)


def _shown(key: dict[str, Any]) -> str:
    return " ".join(f"{name} {value!r}" for name, value in key.items())
