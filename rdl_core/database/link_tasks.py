"""Loads a link task (recommendation) of a RelBench dataset after checking its manifest and hosted labels.

In: a validated dataset and a task name. Out: relbench's own `RecommendationTask`, for whose hosted label files this holds: source, time and
destination column exist; sources are rows of the source table, or null; every row has a time; destinations are lists of rows of the destination
table. Labels that are not hosted are made by relbench from the task's SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from relbench.base import RecommendationTask, TaskType
from relbench.load import RelBenchDataset
from relbench.manifest import TaskManifest

from rdl_core.database.column_checks import DatabaseError, Problem, check_foreign_key, check_no_null, check_time
from rdl_core.database.tasks import SPLITS, read_task_manifest

ROLES = ("src_entity_table", "src_entity_col", "dst_entity_table", "dst_entity_col", "time_col", "eval_k", "timedelta")


def is_link_task(dataset: RelBenchDataset, task_name: str) -> bool:
    """Returns whether a task is one of recommendation.

    Raises:
        DatabaseError: There is no such task, or its manifest is broken.
    """
    return bool(read_task_manifest(dataset, task_name)[0].task_type == TaskType.RECOMMENDATION.value)


def load_link_task(dataset: RelBenchDataset, task_name: str) -> RecommendationTask:
    """Loads the link task of this name, its hosted labels checked.

    Raises:
        DatabaseError: There is no such task, it is none of links, or its labels break the contract at the top of this file.
    """
    manifest, folder = read_task_manifest(dataset, task_name)
    problems = list(_problems(dataset, task_name, manifest, folder))
    if problems:
        raise DatabaseError(str(dataset.dataset_dir), problems)
    return dataset.load_task(folder)


def _problems(dataset: RelBenchDataset, task_name: str, manifest: TaskManifest, folder: Path) -> Iterator[Problem]:
    place = f"task {task_name!r}, manifest.yaml"
    if manifest.task_type != TaskType.RECOMMENDATION.value:
        yield Problem(
            place=place,
            expected="task_type recommendation",
            got=manifest.task_type,
            remedy="load_task is for entity tasks",
        )
        return
    if missing := [role for role in ROLES if not getattr(manifest, role)]:
        yield Problem(
            place=place,
            expected=", ".join(ROLES),
            got=f"no {', '.join(missing)}",
            remedy="add it to the task's manifest",
        )
        return
    tables = dataset.manifest.tables
    for role in ("src_entity_table", "dst_entity_table"):
        if (table := getattr(manifest, role)) not in tables or tables[table].pkey is None:
            names = ", ".join(name for name, spec in tables.items() if spec.pkey)
            yield Problem(
                place=place,
                expected=f"{role}: a table of the dataset with a primary key",
                got=repr(table),
                remedy=f"name one of: {names}",
            )
            return
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        if path.is_file():
            yield from _split_problems(dataset, path, f"task {task_name!r}, {split}.parquet", manifest)


def _split_problems(dataset: RelBenchDataset, path: Path, place: str, manifest: TaskManifest) -> Iterator[Problem]:
    source, destination, time = str(manifest.src_entity_col), str(manifest.dst_entity_col), str(manifest.time_col)
    labels = pq.read_table(path)
    if missing := [column for column in (source, destination, time) if column not in labels.column_names]:
        yield Problem(
            place=place,
            expected=f"the columns {source}, {destination} and {time}, which the task's manifest names",
            got=f"no {', '.join(missing)}",
            remedy="correct the name in the task's manifest.yaml, or add the column",
        )
        return
    if not len(labels):
        yield Problem(place=place, expected="labels", got="0 rows", remedy="write the file again with its labels")
        return
    wrong_type = check_time(labels[time], place, time)
    yield from wrong_type or check_no_null(labels[time], place, time, "seed time")
    of_source = str(manifest.src_entity_table)
    yield from check_foreign_key(
        labels[source], place, source, pkey_table=of_source, num_parents=_num_rows(dataset, of_source)
    )
    lists = labels[destination]
    if not pa.types.is_list(lists.type) and not pa.types.is_large_list(lists.type):
        yield Problem(
            place=place,
            column=destination,
            expected="lists of row numbers",
            got=str(lists.type),
            remedy="write it as lists",
        )
        return
    of_destination = str(manifest.dst_entity_table)
    flat = pa.chunked_array([chunk.flatten() for chunk in lists.chunks], type=lists.type.value_type)
    yield from check_no_null(flat, place, destination, "destination")
    yield from check_foreign_key(
        flat, place, destination, pkey_table=of_destination, num_parents=_num_rows(dataset, of_destination)
    )


def _num_rows(dataset: RelBenchDataset, table: str) -> int:
    with pq.ParquetFile(dataset.db_dir / f"{table}.parquet") as file:
        return int(file.metadata.num_rows)
