"""One database of a measurement: its dataset, store and tasks, opened once, and its pretrained backbones, each trained once.

Promises: the store is made where it is missing; a backbone is a function of the store, the pretraining configuration and the source of rdl_core, and
lies in a folder named by a digest of the three, so no run takes one that other code or other data has made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from relbench.base import EntityTask
from relbench.manifest import TaskManifest

from benchmarks.tasks.remembered_columns import RememberedColumns
from benchmarks.tasks.source import source_digest
from rdl_core.config import ColumnsConfig, PretrainingConfig
from rdl_core.database import load_task, open_dataset
from rdl_core.database.tasks import SUPPORTED
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint, from_pretrained, save_pretrained
from rdl_core.pretraining import pretrain_here, pretrained_checkpoint
from rdl_core.tasks.inputs import TaskInputs


class Database:
    """A database with its store and tasks.

    Args:
        data: Dataset folder.
        work: Folder of stores and pretrained backbones.
        say: Called with a line for people.
    """

    def __init__(self, data: Path, work: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.dataset, self.work, self.say = open_dataset(data), work, say
        self.name = str(self.dataset.manifest.name)

    @cached_property
    def store(self) -> Store:
        """The store, made if it is missing."""
        return materialize(self.dataset, self.work / "stores")

    @cached_property
    def tasks(self) -> dict[str, EntityTask]:
        """All entity tasks that the framework supports, by name."""
        folders = [path.parent for path in sorted(self.dataset.dataset_dir.glob("tasks/*/manifest.yaml"))]
        kinds = {folder.name: TaskManifest.load(folder / "manifest.yaml").task_type for folder in folders}
        return {name: load_task(self.dataset, name) for name, kind in kinds.items() if kind in SUPPORTED}

    def num_train_rows(self, task: str) -> int:
        """The number of train labels of a task."""
        return len(self.tasks[task].get_table("train", mask_input_cols=False).df)

    def columns(self, table: str, config: ColumnsConfig) -> RememberedColumns:
        """Returns the columns of a table's rows, which are computed once."""
        return RememberedColumns(self.store, table, config, self.work / "columns")

    def remember(self, inputs: TaskInputs) -> None:
        """Lets the inputs of a network take the columns that it reads, if any, from those that are computed once."""
        questions, table = inputs.questions, inputs.task.entity_table
        if (config := questions.config.columns) is not None:
            questions.columns_by_table[table] = self.columns(table, config)

    def pretrained(self, config: PretrainingConfig) -> Checkpoint:
        """Returns the backbone of this configuration; trained once, and then read."""
        text = json.dumps([self.store.content_hash, dataclasses.asdict(config), source_digest()], sort_keys=True)
        path = self.work / "pretrained" / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if not path.exists():
            model, state = pretrain_here(self.store, config)
            self.say(f"{self.name}: pretrained seed {config.seed}, {state.step} steps in {state.seconds:.0f} s")
            future = model.future_targets
            save_pretrained(path, pretrained_checkpoint(model.state_dict(), self.store, config, state, future=future))
        checkpoint = from_pretrained(path, kind="pretrained")
        checkpoint.require_same_schema(self.store)
        return checkpoint
