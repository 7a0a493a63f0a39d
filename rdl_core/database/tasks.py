"""Loads an entity task of a RelBench dataset after checking its hosted labels.

In: a validated dataset and a task name. Out: relbench's own `EntityTask`, binary or multi-class classification or
regression, for whose hosted label files this holds: entity, time and target column exist; entities are rows of the
entity table; every seed has a time; targets are 0 or 1, classes, or finite numbers, and not null in train and val. The
manifest is read before relbench builds the task, so that nothing fails half way.

Labels that are not hosted are made by relbench from the task's SQL or column when `task.get_table` asks for them: its
errors come from there, as they are. Cost: three columns of each label file are read.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from relbench.base import EntityTask, TaskType
from relbench.hf import find_task_dir
from relbench.load import RelBenchDataset
from relbench.manifest import KIND_AUTOCOMPLETE, KIND_EXTERNAL, TaskManifest

from rdl_core.database.column_checks import (
    DatabaseError,
    Problem,
    check_classes,
    check_foreign_key,
    check_no_null,
    check_target,
    check_time,
)

SUPPORTED = (
    TaskType.BINARY_CLASSIFICATION.value,
    TaskType.MULTICLASS_CLASSIFICATION.value,
    TaskType.REGRESSION.value,
)
SPLITS = ("train", "val", "test")
ROLES = ("entity_col", "time_col", "target_col")


def load_task(dataset: RelBenchDataset, task_name: str) -> EntityTask:
    """Loads the task of this name, its hosted labels checked.

    Raises:
        DatabaseError: There is no such task (the error lists those there are); it is not an entity task of a supported type (the error lists
            those that are); or its labels break the contract at the top of this file, with all problems together.
    """
    manifest, folder = read_task_manifest(dataset, task_name)
    if manifest.task_type not in SUPPORTED:
        raise _refused(dataset, task_name, manifest.task_type)
    problems = list(_label_problems(dataset, task_name, manifest, folder))
    if problems:
        raise DatabaseError(str(dataset.dataset_dir), problems)
    # by folder: relbench would prefer a folder of this name in the working directory to the one just checked
    return dataset.load_task(folder)


def read_task_manifest(dataset: RelBenchDataset, task_name: str) -> tuple[TaskManifest, Path]:
    """Returns the manifest of a task of any type, and its folder.

    Raises:
        DatabaseError: There is no such task, or its manifest is broken.
    """
    folder = _task_folder(dataset, task_name)
    return _read_manifest(dataset, folder), folder


def _read_manifest(dataset: RelBenchDataset, folder: Path) -> TaskManifest:
    try:
        return TaskManifest.load(folder / "manifest.yaml")
    except (TypeError, AttributeError, yaml.YAMLError) as error:  # a key missing; not a mapping; not YAML
        problem = Problem(
            place=f"task {folder.name!r}, manifest.yaml",
            expected="a mapping with at least name, kind and task_type",
            got=" ".join(str(error).split()),
            remedy="correct the file; a task of another RelBench 3 dataset shows the form",
        )
        raise DatabaseError(str(dataset.dataset_dir), [problem]) from error


def _task_folder(dataset: RelBenchDataset, task_name: str) -> Path:
    """Returns the task's folder: beside the database or, for a hub dataset, in whichever RelBench repository hosts it."""
    folder = Path(dataset.dataset_dir) / "tasks" / task_name
    if task_name and (folder / "manifest.yaml").is_file():
        return folder
    names = dataset.get_task_names()
    if task_name in names:  # listed but not here: hosted apart from its database
        hosted = find_task_dir(dataset.manifest.name, task_name, revision=dataset.revision)
        if hosted is not None:
            return Path(hosted)
    problem = Problem(
        place=f"task {task_name!r}",
        expected=f"one of the dataset's tasks: {', '.join(names) or '(it has none)'}",
        got="no such task",
        remedy="correct the name, or make the task: `rdl task new`, or tasks/<name>/manifest.yaml in the folder",
    )
    raise DatabaseError(str(dataset.dataset_dir), [problem])


def _refused(dataset: RelBenchDataset, task_name: str, task_type: str) -> DatabaseError:
    manifests = [
        _read_manifest(dataset, path.parent) for path in sorted(dataset.dataset_dir.glob("tasks/*/manifest.yaml"))
    ]
    entity_tasks = [manifest.name for manifest in manifests if manifest.task_type in SUPPORTED]
    is_link = task_type == TaskType.RECOMMENDATION.value
    also = "; `rdl finetune` and `rdl predict` alone take a link task" if is_link else ""
    problem = Problem(
        place=f"task {task_name!r}",
        expected=f"an entity task of type {' or '.join(SUPPORTED)}: only those are supported",
        got=f"task_type {task_type}",
        remedy=f"choose one of: {', '.join(entity_tasks) or '(this dataset has none)'}{also}",
    )
    return DatabaseError(str(dataset.dataset_dir), [problem])


def _label_problems(
    dataset: RelBenchDataset, task_name: str, manifest: TaskManifest, folder: Path
) -> Iterator[Problem]:
    place = f"task {task_name!r}"
    columns = _label_columns(dataset, manifest)
    spec = dataset.manifest.tables.get(manifest.entity_table)
    if spec is None or spec.pkey is None and manifest.kind != KIND_AUTOCOMPLETE:
        yield Problem(
            place=f"{place}, manifest.yaml",
            expected="entity_table: a table of the dataset with a primary key",
            got=repr(manifest.entity_table),
            remedy=f"name one of: {', '.join(name for name, spec in dataset.manifest.tables.items() if spec.pkey)}",
        )
        return
    if unnamed := [role for role, column in zip(ROLES, columns, strict=True) if not column]:
        yield Problem(
            place=f"{place}, manifest.yaml",
            expected="entity_col, time_col and target_col: the columns of the label files",
            got=f"no {', '.join(unnamed)}",
            remedy="add it; an entity task needs a seed time, before which all that it sees must lie",
        )
        return
    with pq.ParquetFile(dataset.db_dir / f"{manifest.entity_table}.parquet") as file:
        num_entities = file.metadata.num_rows
    for split in SPLITS:
        path = folder / f"{split}.parquet"
        if path.is_file():
            yield from _split_problems(path, f"{place}, {split}.parquet", manifest, columns, num_entities)
        elif manifest.kind == KIND_EXTERNAL:  # the other kinds are regenerated by relbench
            yield Problem(
                place=place,
                expected=f"the file tasks/{folder.name}/{split}.parquet",
                got="no such file",
                remedy="add the file: labels of kind external cannot be regenerated",
            )


def _label_columns(dataset: RelBenchDataset, manifest: TaskManifest) -> tuple[str, str, str]:
    """Returns entity_col, time_col and target_col; "" for one that is not named."""
    entity_col, time_col = manifest.entity_col, manifest.time_col
    spec = dataset.manifest.tables.get(manifest.entity_table)
    if manifest.kind == KIND_AUTOCOMPLETE and spec is not None:
        # as relbench: from the entity table, whose rows it numbers where there is no primary key
        entity_col, time_col = spec.pkey or "primary_key", spec.time_col
    return entity_col or "", time_col or "", manifest.target_col or ""


def _split_problems(
    path: Path, place: str, manifest: TaskManifest, columns: tuple[str, str, str], num_entities: int
) -> Iterator[Problem]:
    """Yields the problems of one label file."""
    with pq.ParquetFile(path) as file:
        present, num_rows = file.schema_arrow.names, file.metadata.num_rows
        labels: pa.Table = file.read(columns=[column for column in columns if column in present])
    for role, column in zip(ROLES, columns, strict=True):
        if column not in present:
            yield Problem(
                place=place,
                column=column,
                expected=f"this column (the task's manifest names it under {role})",
                got=f"columns: {', '.join(present)}",
                remedy="correct the name in the task's manifest.yaml, or add the column",
            )
    if num_rows == 0:
        yield Problem(place=place, expected="labels", got="0 rows", remedy="write the file again with its labels")
        return
    entity, time, target = columns
    if entity in present:
        table = str(manifest.entity_table)
        yield from check_no_null(labels[entity], place, entity, "entity")
        yield from check_foreign_key(labels[entity], place, entity, pkey_table=table, num_parents=num_entities)
    if time in present:
        wrong_type = check_time(labels[time], place, time)
        yield from wrong_type or check_no_null(labels[time], place, time, "seed time")
    if target in present:
        if manifest.task_type == TaskType.MULTICLASS_CLASSIFICATION.value:
            yield from check_classes(labels[target], place, target)
        else:
            is_binary = manifest.task_type == TaskType.BINARY_CLASSIFICATION.value
            yield from check_target(labels[target], place, target, is_binary=is_binary)
        if path.name != "test.parquet":
            yield from check_no_null(labels[target], place, target, "target")
