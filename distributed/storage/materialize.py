"""RelBench-3 folder to REG store, the tables in parallel through Ray Data; the same bytes as rdl_core's serial `materialize`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
import relbench
from numpy.typing import NDArray
from relbench.load import RelBenchDataset

from rdl_core.database.dataset import dataset_folder
from rdl_core.graph.materialization import StoreConfig, encode_table, materialize
from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.graph.store import Store
from rdl_core.place import Place


def materialize_in_parallel(
    dataset: RelBenchDataset,
    stores_dir: Path,
    config: StoreConfig,
    *,
    data: Place | None = None,
    model: Schema | None = None,
    progress: Callable[[str], None] = lambda table: None,
) -> Store:
    """Returns what `rdl_core.graph.materialization.materialize` does, made by one Ray task per table.

    Args:
        dataset: A validated dataset; the tasks do not validate it again.
        stores_dir, config, model, progress: Arguments of `materialize`.
        data: Where other nodes find the dataset; None: in the folder where it is here.
    """

    def encode_tables(work: list[tuple[str, NDArray[np.bool_], Path]]) -> Iterator[TableSchema]:
        items = [{"table": t, "visible": ray.put(v), "folder": str(folder.resolve())} for t, v, folder in work]
        tables = ray.data.from_items(items, override_num_blocks=len(items))
        encoder = TableEncoder(data or str(Path(dataset.dataset_dir).resolve()), config, model)
        for row in tables.map(encoder).iter_rows():
            yield row["schema"]

    return materialize(dataset, stores_dir, config, model=model, encode_tables=encode_tables, progress=progress)


class TableEncoder:
    """Ray Data's map callable: encodes one table into its folder, which every node must see.

    Args:
        data: Where the validated dataset is.
        config: Settings of the store.
        model: The schema that is taken instead of a fitted one.
    """

    def __init__(self, data: Place, config: StoreConfig, model: Schema | None = None) -> None:
        self.data, self.config, self.model = data, config, model

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Returns {"schema": the table's} of {"table", "visible": reference to bool [rows], "folder"}."""
        return {"schema": self.encode(item["table"], ray.get(item["visible"]), Path(item["folder"]))}

    def encode(self, table: str, visible: NDArray[np.bool_], folder: Path) -> TableSchema:
        """Encodes a table; of the dataset it reads the manifest and this table, nothing else."""
        dataset = relbench.load_dataset(dataset_folder(self.data))
        return encode_table(dataset, self.config, table, visible, folder, self.model)
