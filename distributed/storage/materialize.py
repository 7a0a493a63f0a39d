"""RelBench-3 folder to REG store, the tables in parallel through Ray Data; the same bytes as rdl_core's serial `materialize`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.config import StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import encode_table, materialize
from rdl_core.graph.schema import TableSchema
from rdl_core.graph.store import Store
from rdl_core.place import Place


def materialize_in_parallel(
    dataset: RelBenchDataset,
    stores_dir: Path,
    config: StoreConfig,
    *,
    data: Place | None = None,
    progress: Callable[[str], None] = lambda table: None,
) -> Store:
    """As `rdl_core.graph.materialization.materialize`, one Ray task a table.

    Args:
        data: Where other nodes find the dataset; None: in the folder where it is here.
    """

    def encode_tables(work: list[tuple[str, NDArray[np.bool_], Path]]) -> Iterator[TableSchema]:
        items = [{"table": t, "visible": ray.put(v), "folder": str(folder.resolve())} for t, v, folder in work]
        tables = ray.data.from_items(items, override_num_blocks=len(items))
        encoder = TableEncoder(data or str(Path(dataset.dataset_dir).resolve()), config)
        for row in tables.map(encoder).iter_rows():
            yield row["schema"]

    return materialize(dataset, stores_dir, config, encode_tables=encode_tables, progress=progress)


class TableEncoder:
    """Ray Data's map callable: encodes one table into its folder, which every node must see."""

    def __init__(self, data: Place, config: StoreConfig) -> None:
        self.data, self.config = data, config

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        dataset = open_dataset(self.data)
        schema = encode_table(dataset, self.config, item["table"], ray.get(item["visible"]), Path(item["folder"]))
        return {"schema": schema}
