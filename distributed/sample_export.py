"""Samples as Parquet, so that anyone can check them from outside with a join against the database."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distributed.sampling import open_sampler
from rdl_core.hg_sampling import HGSamplingConfig
from rdl_core.store import Store
from rdl_core.subgraph import Subgraph

SAMPLES_PER_GROUP = 50
ROWS = pa.schema([("sample", pa.int64()), ("table", pa.string()), ("row", pa.int64())])
EDGES = pa.schema([("sample", pa.int64()), ("edge_type", pa.string()), ("child", pa.int64()), ("parent", pa.int64())])


def export_samples(store: Store, config: HGSamplingConfig, num_samples: int, out: Path, *, seed: int) -> dict[str, Any]:
    """Writes the first samples of a run (of several epochs where one has fewer).

    Args:
        out: Gets rows.parquet (sample, table, row) and edges.parquet (sample, edge_type, child, parent): row numbers of the database; edge_type is
            "child table.foreign-key column"; each link stands once.

    Returns:
        {"rows": {table: n}, "edges": {edge_type: n}}.

    Raises:
        FileExistsError: `out` exists and holds something else.
    """
    names = {"rows.parquet", "edges.parquet"}
    if out.exists() and {p.name for p in out.iterdir()} - names:
        raise FileExistsError(f"{out} exists and holds more than {sorted(names)}; choose another --out")
    sampler = open_sampler(str(store.path.resolve()), config, seed)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows: Counter[str] = Counter()
    edges: Counter[str] = Counter()
    with (
        pq.ParquetWriter(partial / "rows.parquet", ROWS) as row_file,
        pq.ParquetWriter(partial / "edges.parquet", EDGES) as edge_file,
    ):
        for first in range(0, num_samples, SAMPLES_PER_GROUP):
            numbers = range(first, min(first + SAMPLES_PER_GROUP, num_samples))
            subgraphs = [sampler.sample(*_split(n, sampler.samples_per_epoch))[0] for n in numbers]
            for number, subgraph in zip(numbers, subgraphs, strict=True):
                row_file.write_table(_rows(number, subgraph))
                edge_file.write_table(_edges(number, subgraph))
                rows.update(subgraph.num_rows)
                edges.update({f"{e[0]}.{e[1]}": n for e, n in subgraph.num_links.items()})
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return {"rows": dict(rows), "edges": dict(edges)}


def _split(number: int, per_epoch: int) -> tuple[int, list[int]]:
    return number // per_epoch, [number % per_epoch]


def _rows(number: int, subgraph: Subgraph) -> pa.Table:
    parts = subgraph.rows
    table = np.repeat(list(parts), [len(r) for r in parts.values()])
    rows = np.concatenate(list(parts.values())).astype(np.int64)
    return pa.table(
        {"sample": np.full(len(rows), number), "table": pa.array(table.tolist(), pa.string()), "row": rows}, schema=ROWS
    )


def _edges(number: int, subgraph: Subgraph) -> pa.Table:
    rows, links = subgraph.rows, subgraph.links
    names = [name for (child, fkey_col, _), index in links.items() for name in [f"{child}.{fkey_col}"] * index.shape[1]]
    child = np.concatenate([rows[e[0]][index[0]] for e, index in links.items()] or [np.zeros(0)]).astype(np.int64)
    parent = np.concatenate([rows[e[2]][index[1]] for e, index in links.items()] or [np.zeros(0)]).astype(np.int64)
    return pa.table(
        {
            "sample": np.full(len(child), number),
            "edge_type": pa.array(names, pa.string()),
            "child": child,
            "parent": parent,
        },
        schema=EDGES,
    )
