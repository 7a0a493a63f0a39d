"""Columns that alone nearly determine a task's label: a label is seldom that easy, and often made of such a column.

For each task with one entity and a class or number as label, every attribute is tried that a seed sees at one hop: of the entity's own row, of the
rows that it refers to, and of the latest row before the seed that refers to it; rows of tables with a time strictly before the seed. A column is cut
into values, or 64 quantiles for numbers, null a value of its own; the train labels of one half of the entities give the mean label per value, which
predicts the other half's, and the other way round, so that names and ids, which no other entity shares, predict nothing. Reported: AUROC >= 0.95,
R2 >= 0.9, or nine tenths of the classes that the most frequent one gets wrong; on all train labels, or on those of the last train timestamp, whose
rows are most like what was copied. Test and validation labels are not read.

Cost: at most 50,000 labels per task, one pass over each table at one hop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from relbench.base import TaskType
from relbench.manifest import KIND_AUTOCOMPLETE, TaskManifest
from sklearn.metrics import roc_auc_score

from distributed.import_report.folder_tables import FolderTables, literal, view
from distributed.import_report.report import Finding
from distributed.schema.duckdb_sql import quoted
from distributed.schema.refusals import exclude_option
from rdl_core.database.label_checks import class_name

MAX_LABELS = 50_000
MIN_LABELS = 50
MIN_ENTITIES_PER_CLASS = 10
NUM_QUANTILES = 64
LEAST = {
    TaskType.BINARY_CLASSIFICATION.value: ("AUROC", 0.95),
    TaskType.REGRESSION.value: ("R2", 0.9),
    TaskType.MULTICLASS_CLASSIFICATION.value: ("share of the most frequent class's errors mended", 0.9),
}


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Train labels of a task: entity and label int64 [n] (float64 for regression), `half` bool [n] a split of the entities, `is_last` bool [n]."""

    task: TaskManifest
    entity: NDArray[np.int64]
    label: NDArray[np.float64]
    half: NDArray[np.bool_]
    is_last: NDArray[np.bool_]


def columns_that_tell_labels(tables: FolderTables, task: TaskManifest) -> Iterator[Finding]:
    """Yields a finding per column at one hop that nearly determines the train labels of `task`."""
    if task.task_type not in LEAST or not task.entity_table or not task.target_col:
        return
    if task.kind == KIND_AUTOCOMPLETE:  # as RelBench: the rows of the entity table are the entities, at their own times
        spec = tables.specs[task.entity_table]
        task = dataclasses.replace(task, entity_col=spec.pkey or "primary_key", time_col=spec.time_col)
    if not task.entity_col:
        return
    seeds = _seeds(tables, task)
    if len(seeds.label) < MIN_LABELS:
        return
    hidden = {(str(table), str(column)) for table, column in task.remove_columns}
    if task.kind == KIND_AUTOCOMPLETE:
        hidden.add((task.entity_table, task.target_col))
    for table, relation in _one_hop(tables, task):
        tables.con.execute(f"CREATE OR REPLACE TEMP TABLE hop AS {relation}")
        for column, kind in tables.attributes(table).items():
            if (table, column) not in hidden and not pa.types.is_nested(kind):
                values = _values(tables, column, kind)
                yield from _finding(seeds, table, column, values)


def _seeds(tables: FolderTables, task: TaskManifest) -> Seeds:
    path = literal(str(tables.folder / "tasks" / task.name / "train.parquet"))
    time = f"CAST({quoted(task.time_col)} AS TIMESTAMP)" if task.time_col else "NULL::TIMESTAMP"
    chosen = (
        f"SELECT CAST({quoted(str(task.entity_col))} AS BIGINT) AS entity, {time} AS time, "
        f"{quoted(str(task.target_col))} AS label, file_row_number AS number FROM read_parquet([{path}], file_row_number = true) "
        f"WHERE {quoted(str(task.target_col))} IS NOT NULL"
    )
    (num_labels,) = tables.one(f"SELECT count(*) FROM ({chosen})")
    step = -(-num_labels // MAX_LABELS) if num_labels else 1
    # Every step-th by a scrambled number, so that no rhythm of the file is met.
    tables.con.execute(
        f"CREATE OR REPLACE TEMP TABLE seeds AS SELECT row_number() OVER (ORDER BY number) - 1 AS seed, entity, time, label "
        f"FROM ({chosen}) WHERE hash(number) % {step} = 0"
    )
    found = tables.con.execute(
        "SELECT entity, label, coalesce(time = max(time) OVER (), true) AS is_last FROM seeds ORDER BY seed"
    )
    columns = found.fetchnumpy()
    entity, label = np.asarray(columns["entity"], dtype=np.int64), np.asarray(columns["label"])
    if task.task_type == TaskType.REGRESSION.value:
        numbers = label.astype(np.float64)
    else:
        numbers = np.unique([class_name(one) for one in label.tolist()], return_inverse=True)[1].astype(np.float64)
    # A multiplicative hash: the parity of an id may well be the label.
    half = (entity.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(63) == 1
    return Seeds(task=task, entity=entity, label=numbers, half=half, is_last=np.asarray(columns["is_last"], dtype=bool))


def _one_hop(tables: FolderTables, task: TaskManifest) -> Iterator[tuple[str, str]]:
    """Yields (table, query of its columns, the seed as row): the entity rows, those that they refer to, the latest that refer to them."""
    entity_table = str(task.entity_table)
    yield (
        entity_table,
        f"SELECT s.seed AS {tables.row}, e.* EXCLUDE ({tables.row}) FROM seeds s JOIN {view(entity_table)} e ON e.{tables.row} = s.entity",
    )
    for column, parent in tables.specs[entity_table].fkeys.items():
        time = tables.time(parent, "p")
        before = "" if time is None else f" AND {time} < s.time"
        yield (
            parent,
            f"SELECT s.seed AS {tables.row}, p.* EXCLUDE ({tables.row}) FROM seeds s JOIN {view(entity_table)} e ON e.{tables.row} = s.entity "
            f"JOIN {view(parent)} p ON p.{tables.row} = e.{quoted(column)}{before}",
        )
    for child, spec in tables.specs.items():
        for column, parent in spec.fkeys.items():
            if parent != entity_table:
                continue
            key, time = quoted(column), tables.time(child)
            of_seeds = f"{view(child)} WHERE {key} IN (SELECT entity FROM seeds)"
            if time is not None and task.time_col:
                latest = f"SELECT {key} AS entity, {time} AS time, max({tables.row}) AS row FROM {of_seeds} AND {time} IS NOT NULL GROUP BY ALL"
                picked = f"SELECT s.seed, l.row FROM seeds s ASOF JOIN ({latest}) l ON s.entity = l.entity AND s.time > l.time"
            elif time is None and all(
                tables.specs[other].time_col is None for c, other in spec.fkeys.items() if c != column
            ):
                latest = f"SELECT {key} AS entity, max({tables.row}) AS row FROM {of_seeds} GROUP BY ALL"
                picked = f"SELECT s.seed, l.row FROM seeds s JOIN ({latest}) l ON s.entity = l.entity"
            else:  # its rows are dated by another parent
                continue
            yield (
                child,
                f"SELECT picked.seed AS {tables.row}, c.* EXCLUDE ({tables.row}) FROM ({picked}) picked "
                f"JOIN {view(child)} c ON c.{tables.row} = picked.row",
            )


def _values(tables: FolderTables, column: str, kind: pa.DataType) -> NDArray[np.int64]:
    """Returns the value of a column of `hop` per seed as int64 [n]: -1 for null or no row, else a number of its value or quantile."""
    name = f"r.{quoted(column)}"
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if pa.types.is_timestamp(kind):
        value, is_number = f"CAST(epoch_us({name}) - coalesce(epoch_us(s.time), 0) AS DOUBLE)", True
    else:
        value = f"CAST({name} AS DOUBLE)" if is_number else f"hash({name})"
    found = tables.con.execute(
        f"SELECT {value} AS value, {name} IS NULL AS is_null FROM seeds s LEFT JOIN hop r ON r.{tables.row} = s.seed ORDER BY s.seed"
    ).fetchnumpy()
    is_null = np.asarray(found["is_null"], dtype=bool)
    values = np.ma.getdata(found["value"])
    if is_number:
        is_null = is_null | ~np.isfinite(values)
    codes = np.full(len(values), -1, dtype=np.int64)
    if is_null.all():
        return codes
    known = values[~is_null]
    if is_number and len(np.unique(known)) > NUM_QUANTILES:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_QUANTILES + 1)[1:-1]))
        codes[~is_null] = np.searchsorted(edges, known, side="right")
    else:
        codes[~is_null] = np.unique(known, return_inverse=True)[1]
    return codes


def _finding(seeds: Seeds, table: str, column: str, values: NDArray[np.int64]) -> Iterator[Finding]:
    measure, least = LEAST[seeds.task.task_type]
    for chosen, which in ((np.ones(len(values), dtype=bool), ""), (seeds.is_last, " of the last train timestamp")):
        score = _score(seeds, values, chosen)
        if score is None or score < least:
            continue
        yield Finding(
            kind="label_in_column",
            table=table,
            column=column,
            num_rows=int(chosen.sum()),
            text=f"alone nearly determines the label {seeds.task.target_col} of task {seeds.task.name}: {measure} {score:.3f} "
            f"on {int(chosen.sum()):,} train labels{which}, between entities",
            remedy="if the label is made of it, or it was filled in with it: name it under remove_columns of the task and leave it out: "
            f"{exclude_option(f'{table}.{column}')}, or say in the schema file from when on it is known (known_from)",
            task=seeds.task.name,
        )
        return


def _score(seeds: Seeds, values: NDArray[np.int64], chosen: NDArray[np.bool_]) -> float | None:
    """Returns how well a column tells the labels of other entities; None where there are too few to say."""
    codes, label, half, entity = values[chosen], seeds.label[chosen], seeds.half[chosen], seeds.entity[chosen]
    if len(label) < MIN_LABELS or not 0 < half.sum() < len(half) or len(np.unique(codes)) < 2:
        return None
    if seeds.task.task_type == TaskType.REGRESSION.value:
        if len(np.unique(entity)) < 2 * MIN_ENTITIES_PER_CLASS or not np.isfinite(label).all() or np.ptp(label) == 0:
            return None
        guess = _means(codes, label, half)
        return float(1 - np.square(label - guess).sum() / np.square(label - label.mean()).sum())
    classes = np.unique(label)
    # The most frequent class aside, there must be enough entities, or chance decides.
    per_class = sorted(len(np.unique(entity[label == one])) for one in classes)
    if len(classes) < 2 or sum(per_class[:-1]) < MIN_ENTITIES_PER_CLASS:
        return None
    if seeds.task.task_type == TaskType.BINARY_CLASSIFICATION.value:
        return float(
            roc_auc_score(label == classes[-1], _means(codes, (label == classes[-1]).astype(np.float64), half))
        )
    scores = np.stack([_means(codes, (label == one).astype(np.float64), half) for one in classes])
    accuracy, base = (
        float((classes[scores.argmax(0)] == label).mean()),
        max(float((label == one).mean()) for one in classes),
    )
    return (accuracy - base) / (1 - base)


def _means(codes: NDArray[np.int64], label: NDArray[np.float64], half: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns float64 [n], the mean label of a seed's value among the other half; the other half's overall mean where it lacks the value."""
    shifted, out = codes + 1, np.empty(len(label))
    for part in (half, ~half):
        size = int(shifted.max()) + 1
        sums = np.bincount(shifted[part], weights=label[part], minlength=size)
        counts = np.bincount(shifted[part], minlength=size)
        mean = float(label[part].mean())
        table = np.where(counts > 0, sums / np.maximum(counts, 1), mean)
        out[~part] = table[shifted[~part]]
    return out
