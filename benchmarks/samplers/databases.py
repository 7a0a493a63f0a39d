"""Generated databases of any size and one shape, for effects that only size shows: a shop with a power-law hub table.

    categories <- products <- order_lines -> orders -> customers -> stores
    promotions -> categories, stores      orders -> stores, promotions      reviews -> customers, products

Promises: `shop(rows, seed)` is a function of its arguments; it has exactly `rows` rows and 2 * `rows` keys (nulls counted: two orders in three
have no promotion, a line in a hundred no product). Product popularity is Zipf's law: the product of rank r gets about 1/r of what the first
gets, whatever the number of products, so at 20 million rows the first has more than half a million order lines. Orders and reviews are dated,
and their rows lie in time order as a database writes them; customers and products are dated and in random order; the rest is dated by
`existence_times`. A fifth of the time lies after the cutoff; one order in a thousand has no time.

Costs: 20 million rows take seconds and about 1.2 GB; see `python -m benchmarks.samplers.databases --help` to write one as a store.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import tyro
from numpy.typing import NDArray

from rdl_core.config import StoreConfig
from rdl_core.graph.existence import existence_times
from rdl_core.graph.features import encode
from rdl_core.graph.prefix_sums import write_prefix_sums
from rdl_core.graph.reg import EdgeType, RelationalEntityGraph, build_graph
from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.graph.store import Store, open_store, write_manifest
from rdl_core.text.text_embedding import text_embedder
from rdl_core.timestamps import NO_TIME

UNIT_ROWS = 20_000
ROWS_PER_UNIT = {
    "categories": 1,
    "stores": 4,
    "promotions": 5,
    "products": 300,
    "customers": 1_690,
    "orders": 2_000,
    "order_lines": 12_000,
    "reviews": 4_000,
}
"""The shape: with the keys of `_parents`, 20,000 rows and 40,000 keys."""
BEGIN_S = 1_577_836_800  # 2020-01-01
SPAN_S = 5 * 365 * 86_400
CUTOFF_S = BEGIN_S + SPAN_S * 4 // 5
DATED = ("products", "customers", "orders", "reviews")


@dataclass(frozen=True, kw_only=True)
class GeneratedDatabase:
    """A generated database.

    Args:
        graph: Topology and times.
        cutoff_s: Its validation cutoff, UNIX seconds.
        seed, rows: The arguments of `shop`.
    """

    graph: RelationalEntityGraph
    cutoff_s: int
    seed: int
    rows: int

    @property
    def num_keys(self) -> int:
        """Number of foreign keys, nulls counted."""
        return len(self.graph.parent)


def shop(rows: int, *, seed: int = 0) -> GeneratedDatabase:
    """Returns a shop of so many rows.

    Args:
        rows: A multiple of UNIT_ROWS.
        seed: Random seed.

    Raises:
        ValueError: The number of rows is another.
    """
    if rows < UNIT_ROWS or rows % UNIT_ROWS:
        raise ValueError(f"rows must be a multiple of {UNIT_ROWS:,}, so that the shape is exact; got {rows:,}")
    num_rows = {table: n * (rows // UNIT_ROWS) for table, n in ROWS_PER_UNIT.items()}
    generator = np.random.Generator(np.random.Philox(seed))
    parents = _parents(generator, num_rows)
    times = existence_times(num_rows, parents, _times(generator, num_rows))
    graph = build_graph(num_rows, parents, times, {table: table in DATED for table in num_rows}, cutoff_s=CUTOFF_S)
    return GeneratedDatabase(graph=graph, cutoff_s=CUTOFF_S, seed=seed, rows=rows)


def write_store(database: GeneratedDatabase, stores_dir: Path) -> Store:
    """Writes a database as a REG store without attributes, memory-mapped when opened, so that samplers in other processes share its pages.

    Args:
        stores_dir: The folder in which the store becomes a folder; a store of this name is taken as it is.
    """
    path = stores_dir / f"generated-shop-{database.rows}-{database.seed}"
    if (path / "store.json").exists():
        return open_store(path)
    (path / "graph").mkdir(parents=True, exist_ok=True)
    for name, array in database.graph.arrays().items():
        np.save(path / "graph" / f"{name}.npy", array)
    tables = {}
    for number, table in enumerate(database.graph.node_types):
        tables[table] = _table_schema(database, table)
        _write_cells(path / "tables" / str(number), tables[table])
    schema = Schema(
        database="generated-shop",
        cutoff_s=database.cutoff_s,
        time_span_s=SPAN_S,
        text_embedder=StoreConfig().text_embedder,
        timeless_rows=StoreConfig().timeless_rows,
        tables=tables,
    )
    write_prefix_sums(path, schema, database.graph.edge_types)
    about = {
        "config": dataclasses.asdict(StoreConfig()),
        "edge_types": [list(e) for e in database.graph.edge_types],
        "test_timestamp_s": database.cutoff_s + SPAN_S // 10,
        "schema": schema.to_json(),
    }
    write_manifest(path, about)
    return open_store(path)


def _parents(generator: np.random.Generator, num_rows: dict[str, int]) -> dict[EdgeType, NDArray[np.int32]]:
    def uniform(child: str, parent: str) -> NDArray[np.int32]:
        return generator.integers(0, num_rows[parent], num_rows[child], dtype=np.int32)

    popularity = generator.permutation(num_rows["products"]).astype(np.int32)  # rank -> product
    activity = generator.permutation(num_rows["customers"]).astype(np.int32)

    def product(child: str) -> NDArray[np.int32]:
        return popularity[_zipf(generator, num_rows["products"], num_rows[child])]

    def customer(child: str) -> NDArray[np.int32]:
        # The activity of rank r falls as 1 / sqrt(r): busy customers, no hubs.
        draw = generator.random(num_rows[child], np.float32).astype(np.float64)
        return activity[(draw * draw * num_rows["customers"]).astype(np.int32)]

    return {
        ("promotions", "category", "categories"): uniform("promotions", "categories"),
        ("promotions", "store", "stores"): uniform("promotions", "stores"),
        ("products", "category", "categories"): uniform("products", "categories"),
        ("customers", "home_store", "stores"): uniform("customers", "stores"),
        ("orders", "customer", "customers"): customer("orders"),
        ("orders", "store", "stores"): uniform("orders", "stores"),
        ("orders", "promotion", "promotions"): _nulled(generator, uniform("orders", "promotions"), 2 / 3),
        ("order_lines", "order", "orders"): np.sort(uniform("order_lines", "orders")),  # an order's lines lie together
        ("order_lines", "product", "products"): _nulled(generator, product("order_lines"), 0.01),
        ("reviews", "customer", "customers"): customer("reviews"),
        ("reviews", "product", "products"): product("reviews"),
    }


def _zipf(generator: np.random.Generator, num_ranks: int, size: int) -> NDArray[np.int32]:
    """Draws ranks from 0 with probability log(1 + 1 / (rank + 1)) / log(num_ranks + 1), which is Zipf's 1 / rank but for the first few."""
    draw = generator.random(size, np.float32)
    rank = np.exp(draw * np.log(num_ranks + 1, dtype=np.float64)).astype(np.int32) - 1
    return np.minimum(rank, num_ranks - 1)


def _nulled(generator: np.random.Generator, parent: NDArray[np.int32], share: float) -> NDArray[np.int32]:
    parent[generator.random(len(parent), np.float32) < share] = -1
    return parent


def _times(generator: np.random.Generator, num_rows: dict[str, int]) -> dict[str, NDArray[np.int64]]:
    def spread(table: str, span_s: int) -> NDArray[np.int64]:
        return BEGIN_S + generator.integers(0, span_s, num_rows[table], dtype=np.int64)

    times = {
        "products": spread("products", SPAN_S),
        "customers": spread("customers", SPAN_S),
        "orders": np.sort(spread("orders", SPAN_S)),
        "reviews": np.sort(spread("reviews", SPAN_S)),
    }
    times["products"][generator.random(num_rows["products"]) < 0.7] = BEGIN_S  # what the shop opened with
    times["orders"][generator.random(num_rows["orders"]) < 0.001] = NO_TIME
    return times


def _table_schema(database: GeneratedDatabase, table: str) -> TableSchema:
    keys = {fkey_col: parent for child, fkey_col, parent in database.graph.edge_types if child == table}
    return TableSchema(
        name=table,
        num_rows=database.graph.num_rows(table),
        num_rows_up_to_cutoff=int((database.graph.table_time(table) <= database.cutoff_s).sum()),
        pkey_col="id",
        time_col="time" if table in DATED else None,
        fkey_col_to_pkey_table=keys,
        columns=(),
    )


def _write_cells(folder: Path, schema: TableSchema) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in encode(pa.table({}), schema, np.zeros(0, bool), text_embedder("hashed-ngram:128")).items():
        np.save(folder / f"{name}.npy", array)


def main(rows: int = 20_000_000, seed: int = 0, out: Path = Path("runs/stores")) -> None:
    """Writes a generated shop as a REG store and prints its folder.

    Args:
        rows: A multiple of 20,000.
        seed: Random seed.
        out: Folder of stores.
    """
    print(write_store(shop(rows, seed=seed), out).path)


if __name__ == "__main__":
    tyro.cli(main)
