"""Distributions of the cells of each column over a stretch of time: shares that a model keeps, and how far newer cells have moved from them.

    numbers      ten bins between the deciles of the model's rows, and a share of nulls
    categories   a share for each of the 20 most frequent values, one for all others, and one of nulls and of values that the model does not know

The population stability index of shares p (model) and q (now) is the sum of (q - p) ln(q / p): below 0.1 little has changed, above 0.25 much (Siddiqi
2006). Shares are smoothed by half a row per bin, so that an empty bin is no infinity. What pure chance makes of few rows is taken off: about (bins -
1) (1 / rows of the model + 1 / rows now).

Limits: times, texts and vectors are not compared; neither are tables with fewer than 50 rows since the cutoff.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from rdl_core.graph.schema import TableSchema
from rdl_core.graph.store import Store
from rdl_core.problems import InputError

FILE_NAME = "distributions.json"
"""The file of a model folder."""
NUM_BINS = 10
NUM_CATEGORIES = 20
MIN_ROWS = 50
"""Fewer rows say nothing of a distribution."""
COMPARED = ("numerical", "categorical")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The distribution of one column.

    Args:
        edges: Of numbers, in standard deviations from the mean: ascending, [bins - 1]; of categories empty.
        counts: Rows in each bin, the nulls last.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The drift of one column: how far it has moved.

    Args:
        table, column: Its names.
        psi: Population stability index, what chance makes of it taken off; at least 0.
        rows: Rows that are compared with the model's.
    """

    table: str
    column: str
    psi: float
    rows: int


Distributions = Mapping[str, Mapping[str, Distribution]]
"""By table and column."""


def fit_distributions(store: Store) -> Distributions:
    """Returns the distributions of the rows up to a store's cutoff; of tables with too few rows none."""
    found: dict[str, dict[str, Distribution]] = {}
    for table, rows in _rows(store, None, store.schema.cutoff_s).items():
        found[table] = {name: _fitted(cells) for name, cells in _columns(store, table, rows, store.schema.cutoff_s + 1)}
    return found


def drift(store: Store, model: Distributions, *, after_s: int, before_s: int) -> list[Drift]:
    """Returns how far the columns of a store's rows in a stretch of time have moved from a model's, the farthest first.

    Args:
        store: A store with the model's schema.
        model: The model's distributions.
        after_s: UNIX seconds, the model's cutoff.
        before_s: UNIX seconds; rows strictly between the two are compared.
    """
    found = []
    for table, rows in _rows(store, after_s, before_s - 1).items():
        for name, cells in _columns(store, table, rows, before_s):
            if (known := model.get(table, {}).get(name)) is not None:
                found.append(Drift(table=table, column=name, psi=_psi(known, _counted(cells, known)), rows=len(rows)))
    return sorted(found, key=lambda one: (-one.psi, one.table, one.column))


def to_bytes(distributions: Distributions) -> bytes:
    """Returns the content of a model's file."""
    plain = {t: {name: asdict(of) for name, of in columns.items()} for t, columns in distributions.items()}
    return json.dumps(plain).encode()


def from_bytes(content: bytes) -> Distributions:
    """Returns what `to_bytes` wrote.

    Raises:
        InputError: The file is damaged.
    """
    try:
        return {
            table: {
                name: Distribution(edges=tuple(of["edges"]), counts=tuple(of["counts"])) for name, of in columns.items()
            }
            for table, columns in json.loads(content).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{FILE_NAME} of the model is damaged: {error}. Remedy: fine-tune it again") from error


def _rows(store: Store, after_s: int | None, until_s: int) -> dict[str, NDArray[np.int64]]:
    """Returns the rows of each table in a stretch of time, of those that have enough."""
    rows = {}
    for table in store.schema.tables:
        times = store.graph.table_time(table)
        inside = times <= until_s if after_s is None else (times > after_s) & (times <= until_s)
        if np.count_nonzero(inside) >= MIN_ROWS:
            rows[table] = np.flatnonzero(inside)
    return rows


def _columns(
    store: Store, table: str, rows: NDArray[np.int64], before_s: int
) -> list[tuple[str, NDArray[np.floating] | NDArray[np.integer]]]:
    """Returns the cells of each compared column, NaN or -1 for null, as known before a time: [(name, [rows])]."""
    schema, features = store.schema.tables[table], store.features[table]
    known, found = features.known(rows, before_s), []
    for place, name, kind, position in _compared(schema):
        cells = np.array(features.arrays[kind][rows, position])
        if known is not None:
            cells[~known[:, place]] = np.nan if kind == "numerical" else -1
        found.append((name, cells))
    return found


def _compared(schema: TableSchema) -> list[tuple[int, str, str, int]]:
    """Returns (place among all columns, name, semantic type, place among those of the type) of each compared column."""
    seen: dict[str, int] = {}
    found = []
    for place, column in enumerate(schema.columns):
        position = seen[column.stype] = seen.get(column.stype, -1) + 1
        if column.stype in COMPARED:
            found.append((place, column.name, str(column.stype), position))
    return found


def _fitted(cells: NDArray) -> Distribution:
    edges: tuple[float, ...] = ()
    if cells.dtype.kind == "f":
        present = cells[~np.isnan(cells)]
        if len(present):
            edges = tuple(np.unique(np.quantile(present, np.arange(1, NUM_BINS) / NUM_BINS)).astype(float).tolist())
    return Distribution(edges=edges, counts=tuple(_counted(cells, Distribution(edges=edges, counts=())).tolist()))


def _counted(cells: NDArray, like: Distribution) -> NDArray[np.int64]:
    """Returns the rows in each bin of a distribution, the nulls last: int64 [bins + 1]."""
    if cells.dtype.kind == "f":
        null, size = np.isnan(cells), len(like.edges) + 1
        bins = np.searchsorted(np.asarray(like.edges), cells, side="left")
    else:
        null, size = cells == -1, NUM_CATEGORIES + 1
        bins = np.minimum(cells, NUM_CATEGORIES)  # categories are numbered by how frequent they were
    return np.bincount(np.where(null, size, bins), minlength=size + 1)


def _psi(model: Distribution, counts: NDArray[np.int64]) -> float:
    known = np.asarray(model.counts)
    used = (known > 0) | (counts > 0)
    p, q = ((c[used] + 0.5) / (c[used] + 0.5).sum() for c in (known, counts))
    by_chance = (int(used.sum()) - 1) * (1 / max(known.sum(), 1) + 1 / max(counts.sum(), 1))
    return max(0.0, float(((q - p) * np.log(q / p)).sum()) - by_chance)
