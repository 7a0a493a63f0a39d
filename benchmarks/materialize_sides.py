"""One side of benchmarks/materialize.py, in a process of its own: prints a JSON line.

ours THREADS DATA STORES    peer TYPES DATA    types TYPES DATA, which writes the semantic types that our rules give
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, this folder is the first of the path


def ours(threads: int, data: Path, stores: Path) -> tuple[float, int]:
    """Returns the seconds of making a store, and its rows."""
    from rdl_core.database.dataset import open_dataset
    from rdl_core.graph.materialization import materialize

    begun = time.perf_counter()
    store = materialize(open_dataset(data), stores, workers=threads or None)
    return time.perf_counter() - begun, sum(table.num_rows for table in store.schema.tables.values())


def write_types(types: Path, data: Path) -> None:
    """Writes {table: {column: semantic type}} by our rules."""
    from rdl_core.database.dataset import open_dataset
    from rdl_core.graph.materialization import materialize

    with tempfile.TemporaryDirectory() as folder:
        tables = materialize(open_dataset(data), Path(folder)).schema.tables
    types.write_text(json.dumps({name: {c.name: c.stype for c in t.columns} for name, t in tables.items()}))


def peer(types: Path, data: Path) -> tuple[float, int]:
    """Returns the seconds of RelBench's make_pkey_fkey_graph, and the rows of its graph."""
    import relbench
    import torch
    from relbench.modeling.graph import make_pkey_fkey_graph
    from torch_frame import stype
    from torch_frame.config import TextEmbedderConfig

    from rdl_core.text.text_embedding import text_embedder

    names = {"text": "text_embedded"}
    given = {
        table: {column: stype(names.get(name, name)) for column, name in columns.items()}
        for table, columns in json.loads(types.read_text()).items()
    }
    embedder = text_embedder("hashed-ngram:128")

    def embed(texts: list[object]) -> torch.Tensor:
        return torch.from_numpy(
            embedder.embed([text if isinstance(text, str) else "" for text in texts])
        )  # null is NaN

    config = TextEmbedderConfig(text_embedder=embed, batch_size=256)
    begun = time.perf_counter()
    db = relbench.load_dataset(data).get_db(upto_test_timestamp=False)
    graph, _ = make_pkey_fkey_graph(db, given, config)
    return time.perf_counter() - begun, sum(graph[table].tf.num_rows for table in graph.node_types)


def main() -> None:
    """Runs the side that the command line names."""
    side, option, data, *stores = sys.argv[1:]
    if side == "types":
        write_types(Path(option), Path(data))
        return
    work_s, rows = ours(int(option), Path(data), Path(stores[0])) if side == "ours" else peer(Path(option), Path(data))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"work_s": work_s, "rows": rows, "own_peak_bytes": peak}))


if __name__ == "__main__":
    main()
