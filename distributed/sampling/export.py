"""Samples as Parquet, so that anyone can check them from outside with a join against the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distributed.sampling.placement import Placement
from distributed.sampling.plan import StepPlan
from distributed.sampling.sampler import in_order, sampled_dataset
from rdl_core.atomic_write import replace_folder
from rdl_core.config import HGSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.sampling.subgraph import Subgraph

ROWS = pa.schema([("sample", pa.int64()), ("table", pa.string()), ("row", pa.int64())])
EDGES = pa.schema([("sample", pa.int64()), ("edge_type", pa.string()), ("child", pa.int64()), ("parent", pa.int64())])


def export_samples(
    store: Store,
    config: HGSamplingConfig,
    num_samples: int,
    out: Path,
    *,
    seed: int,
    placement: Placement | None = None,
    samplers: int = 1,
) -> dict[str, Any]:
    """Writes the first samples of a run (from several epochs where one has fewer).

    Args:
        out: Gets rows.parquet (sample, table, row) and edges.parquet (sample, edge_type, child, parent): row numbers of the database; edge_type is
            "child table.foreign-key column"; each link stands once.
        placement: Where the graph is; by default mapped.
        samplers: With more than one, or with shards, samples come through Ray Data; a session must run.

    Returns:
        {"rows": {table: n}, "edges": {edge_type: n}}.

    Raises:
        FileExistsError: `out` exists and holds something else.
    """
    names = {"rows.parquet", "edges.parquet", "balance.png"}
    if out.exists() and {p.name for p in out.iterdir()} - names:
        raise FileExistsError(f"{out} exists and holds more than {sorted(names)}; choose another --out")
    placement = placement or Placement(store.place)
    rows: Counter[str] = Counter()
    edges: Counter[str] = Counter()
    with (
        replace_folder(out) as partial,
        pq.ParquetWriter(partial / "rows.parquet", ROWS) as row_file,
        pq.ParquetWriter(partial / "edges.parquet", EDGES) as edge_file,
    ):
        for number, subgraph in enumerate(_samples(placement, store, config, num_samples, seed, samplers)):
            row_file.write_table(_rows(number, subgraph))
            edge_file.write_table(_edges(number, subgraph))
            rows.update(subgraph.num_rows)
            edges.update({f"{e[0]}.{e[1]}": n for e, n in subgraph.num_links.items()})
    return {"rows": dict(rows), "edges": dict(edges)}


def _samples(
    placement: Placement, store: Store, config: HGSamplingConfig, num_samples: int, seed: int, samplers: int
) -> Iterator[Subgraph]:
    sampler = placement.sampling(config, seed)
    if placement.shards is None and samplers == 1:
        for number in range(num_samples):
            epoch, sample = divmod(number, sampler.samples_per_epoch)
            yield sampler.sample(epoch, [sample])[0]
        return
    plan = StepPlan(samples_per_step=1, workers=1, samples_per_epoch=sampler.samples_per_epoch)
    dataset = sampled_dataset(placement, config, seed, plan, first_step=0, max_steps=num_samples, samplers=samplers)
    dataset.context.execution_options = in_order()
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        assert isinstance(block, pa.Table)
        for packed in block.column("subgraph"):
            yield Subgraph.from_bytes(packed.as_buffer(), store.graph.node_types, store.graph.edge_types)


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
