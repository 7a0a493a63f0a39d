"""A generated shop as a folder of Parquet files with keys of its own, of any number of rows, written batch by batch.

Promises: the same rows for the same number; twice as many keys as rows and a little more; rows in no order of time; keys that are not row numbers.
Costs: about 35 bytes a row on the disk, and memory of one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 500_000
SHARES = {"lines": 0.6, "orders": 0.2, "reviews": 0.17, "customers": 0.0249, "products": 0.005, "stores": 0.0001}
NUM_KEYS = {"lines": 2, "orders": 3, "reviews": 2, "customers": 1, "products": 0, "stores": 0}
SCHEMA = """
stores: {pkey: store, time_col: null}
customers: {pkey: customer, time_col: since, fkeys: {store: stores}}
products: {pkey: product, time_col: null}
orders: {pkey: order_no, time_col: ordered_at, fkeys: {customer: customers, store: stores, advertised: products}}
lines: {time_col: null, fkeys: {order_no: orders, product: products}}
reviews: {pkey: review, time_col: written_at, fkeys: {customer: customers, product: products}}
"""
_WORDS = np.array([f"{first}{last}" for first in ("bad", "good", "late", "new") for last in ("", "ly", "er", "ish")])


def write_source(folder: Path, num_rows: int) -> dict[str, int]:
    """Writes the files; returns {"rows", "keys"}."""
    sizes = {table: max(1, int(num_rows * share)) for table, share in SHARES.items()}
    sizes["lines"] += num_rows - sum(sizes.values())
    folder.mkdir(parents=True)
    for number, (table, columns) in enumerate(_TABLES.items()):
        writer = None
        for begin in range(0, sizes[table], BATCH_ROWS):
            rows = np.arange(begin, min(begin + BATCH_ROWS, sizes[table]))
            batch = pa.table(columns(np.random.default_rng([number, begin]), rows, sizes))
            writer = writer or pq.ParquetWriter(folder / f"{table}.parquet", batch.schema)
            writer.write_table(batch)
        if writer:
            writer.close()
    return {"rows": sum(sizes.values()), "keys": sum(sizes[table] * count for table, count in NUM_KEYS.items())}


def _key(rows: np.ndarray) -> np.ndarray:
    return rows * 3 + 1_000_003


def _popular(rng: np.random.Generator, num: int, size: int) -> np.ndarray:
    """Returns keys of which few come often, by a power law."""
    return _key(np.minimum((size * rng.random(num) ** 3).astype(np.int64), size - 1))


def _any(rng: np.random.Generator, num: int, size: int) -> np.ndarray:
    return _key(rng.integers(0, size, num))


def _times(rng: np.random.Generator, num: int) -> pa.Array:
    return pa.array(rng.integers(1_577_836_800, 1_735_689_600, num) * 1_000_000, pa.timestamp("us"))


def _phrases(rng: np.random.Generator, num: int) -> list[str]:
    """Returns texts, about 65,000 different ones."""
    a, b, c, d = (_WORDS[rng.integers(0, len(_WORDS), num)] for _ in range(4))
    return [" ".join(words) for words in zip(a, b, c, d, strict=True)]


Columns = Callable[[np.random.Generator, np.ndarray, dict[str, int]], dict[str, object]]
_TABLES: dict[str, Columns] = {
    "stores": lambda rng, rows, n: {"store": _key(rows), "town": [f"town {row % 97}" for row in rows]},
    "customers": lambda rng, rows, n: {
        "customer": _key(rows),
        "since": pa.array(rng.integers(1_262_304_000, 1_577_836_800, len(rows)) * 1_000_000, pa.timestamp("us")),
        "store": _any(rng, len(rows), n["stores"]),
        "born": rng.integers(1930, 2005, len(rows)),
        "name": [f"customer {row:x}" for row in rng.integers(0, 10**6, len(rows))],
    },
    "products": lambda rng, rows, n: {
        "product": _key(rows),
        "list_price": np.round(rng.lognormal(2, 1, len(rows)), 2),
        "title": _phrases(rng, len(rows)),
    },
    "orders": lambda rng, rows, n: {
        "order_no": _key(rows),
        "customer": _popular(rng, len(rows), n["customers"]),
        "store": _any(rng, len(rows), n["stores"]),
        "advertised": pa.array(_popular(rng, len(rows), n["products"]), mask=rng.random(len(rows)) < 0.6),
        "ordered_at": _times(rng, len(rows)),
        "channel": np.array(["web", "shop", "phone"])[rng.integers(0, 3, len(rows))],
        "shipping": np.round(rng.gamma(2, 3, len(rows)), 2),
    },
    "lines": lambda rng, rows, n: {
        "order_no": _any(rng, len(rows), n["orders"]),
        "product": _popular(rng, len(rows), n["products"]),
        "quantity": rng.integers(1, 40, len(rows)),
        "price": np.round(rng.lognormal(2, 1, len(rows)), 2),
        "weight": rng.normal(5, 2, len(rows)),
    },
    "reviews": lambda rng, rows, n: {
        "review": _key(rows),
        "customer": _popular(rng, len(rows), n["customers"]),
        "product": _popular(rng, len(rows), n["products"]),
        "written_at": _times(rng, len(rows)),
        "stars": rng.integers(1, 6, len(rows)),
        "text": _phrases(rng, len(rows)),
    },
}
