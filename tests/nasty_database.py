"""Builds tiny RelBench-3 folders: one that holds every hard case at once, and any other from Arrow tables.

`write_nasty_database` is valid and deterministic: 190 rows in 9 tables, two tasks. What is hard about it is written
beside each table. `write_database` writes what it is given, right or wrong: tests of bad input break one thing each.

    categories (no time) <- self reference               teams (no time) -> categories
    order (placed_at) -> teams                           order_line (no time, no primary key) -> order, categories
    match (played_at) -> teams twice                     lineup (no time) -> match, teams
    goal (scored_at) -> lineup                           ticket (sold_at, no primary key) -> match
    équipe_catégorie (keys only) -> teams, categories

All times are whole seconds, so that every time_unit holds the same times. Dated tables with a primary key are sorted by
time, nulls last, as RelBench's `get_db` demands.
"""

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest

from rdl_core.database.table_settings import TableSettings, write_table_settings

VAL, TEST = datetime.datetime(2020, 6, 1), datetime.datetime(2020, 9, 1)
TRAIN_SEEDS = [datetime.datetime(2020, month, 1) for month in (2, 3, 4, 5)]
DAY, HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)
NUM_TEAMS = 12  # team 10 is never referenced, team 11 first after VAL
Times = list[datetime.datetime | None]


def write_database(
    folder: Path,
    tables: Mapping[str, pa.Table],
    specs: Mapping[str, Mapping[str, Any]],
    *,
    val_timestamp: str,
    test_timestamp: str,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write manifest.yaml, db/ and tasks/ as given, unchecked; the manifest last, so that a folder with one is whole.

    Args:
        specs: per table of the manifest {"pkey": ..., "time_col": ..., "fkeys": {...}}, each optional.
        tasks: per task {"manifest": {...}, "train": labels, "val": labels, "test": labels}: a TaskManifest's fields
            except name, and those label files that there are.
    """
    (folder / "db").mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        pq.write_table(rows, folder / "db" / f"{name}.parquet")
    for name, task in (tasks or {}).items():
        TaskManifest.from_dict({"name": name, **task["manifest"]}).save(folder / "tasks" / name / "manifest.yaml")
        for split in ("train", "val", "test"):
            if split in task:
                pq.write_table(task[split], folder / "tasks" / name / f"{split}.parquet")
    manifest = DatasetManifest(
        name=folder.name,
        val_timestamp=val_timestamp,
        test_timestamp=test_timestamp,
        tables={name: TableSpec.from_dict(dict(spec)) for name, spec in specs.items()},
    )
    manifest.save(folder / "manifest.yaml")
    return folder


def write_nasty_database(folder: Path, *, time_unit: str = "us", time_zone: str | None = None) -> Path:
    """Write the folder with every hard case, its times in the given unit and, unless None, zone; return the folder.

    Parquet has no seconds: time_unit "s" reads back as "ms". With a zone the manifest's timestamps have one too:
    otherwise RelBench's `get_db` could not compare.
    """
    time = pa.timestamp(time_unit, tz=time_zone)
    tables = {
        "categories": _categories(),
        "teams": _teams(),
        "order": _order(time),
        "order_line": _order_line(),
        "match": _match(time),
        "lineup": _lineup(),
        "goal": _goal(time),
        "ticket": _ticket(time),
        "équipe_catégorie": _bridge(),
    }
    specs: dict[str, dict[str, Any]] = {
        "categories": {"pkey": "category_id", "fkeys": {"parent_id": "categories"}},
        "teams": {"pkey": "team_id", "fkeys": {"category_id": "categories"}},
        "order": {"pkey": "order_id", "time_col": "placed_at", "fkeys": {"team_id": "teams"}},
        "order_line": {"fkeys": {"order_id": "order", "category_id": "categories"}},
        "match": {"pkey": "match_id", "time_col": "played_at", "fkeys": {"home_id": "teams", "away_id": "teams"}},
        "lineup": {"pkey": "lineup_id", "fkeys": {"match_id": "match", "team_id": "teams"}},
        "goal": {"pkey": "goal_id", "time_col": "scored_at", "fkeys": {"lineup_id": "lineup"}},
        "ticket": {"time_col": "sold_at", "fkeys": {"match_id": "match"}},
        "équipe_catégorie": {"fkeys": {"team_id": "teams", "category_id": "categories"}},
    }
    zone = "" if time_zone is None else "+00:00"
    folder.mkdir(parents=True, exist_ok=True)
    # Some goals fall before their match, which would else be a sign that lineups were given their match later.
    write_table_settings(folder, {"lineup": TableSettings(known_with_row=("match_id",))})
    return write_database(
        folder,
        tables,
        specs,
        val_timestamp=f"{VAL.isoformat()}{zone}",
        test_timestamp=f"{TEST.isoformat()}{zone}",
        tasks=_tasks(time),
    )


def _times(values: Sequence[datetime.datetime | None], time: pa.DataType) -> pa.Array:
    """UTC times, shown in whatever zone `time` has."""
    return pa.array(values, pa.timestamp("s")).cast(pa.timestamp(time.unit)).cast(pa.int64()).cast(time)


def _categories() -> pa.Table:
    """A self reference: a root, nulls, three levels; the last row is never referenced."""
    return pa.table(
        {
            "category_id": pa.array(range(6), pa.int64()),
            "parent_id": pa.array([None, 0, 0, 1, 3, None], pa.int64()),
            "name": pa.array(["all", "sport", "art", "ball", "foot ball", "unused"]),
        }
    )


def _teams() -> pa.Table:
    """Odd names, a constant, two columns without a value, decimal and date32; int32 keys."""
    n = NUM_TEAMS
    return pa.table(
        {
            "team_id": pa.array(range(n), pa.int32()),
            "category_id": pa.array([i % 5 if i % 4 else None for i in range(n)], pa.int32()),
            "home town": pa.array(["Praha", "Brno", "Ústí nad Labem"] * 4),
            "größe_cm": pa.array([180.5 + i for i in range(n)], pa.float32()),
            "budget": pa.array([Decimal(i * 1000) / 100 if i != 3 else None for i in range(n)], pa.decimal128(10, 2)),
            "founded": pa.array(
                [datetime.date(1890 + 10 * i, 2, 28) if i != 5 else None for i in range(n)], pa.date32()
            ),
            "country": pa.array(["CZ"] * n),
            "retired_number": pa.nulls(n, pa.float64()),
            "unknown": pa.nulls(n),
        }
    )


def _order(time: pa.DataType) -> pa.Table:
    """A table with an SQL keyword as name: high-cardinality text, null keys, a second time column before 1970 and null.

    Sorted by time; three rows in the very second of VAL, eight after it, of which three after TEST.
    """
    before: Times = [TRAIN_SEEDS[0] + 8 * i * DAY for i in range(13)]
    placed: Times = [
        *before,
        VAL,
        VAL,
        VAL,
        *(VAL + 20 * i * DAY for i in range(1, 5)),
        TEST,
        *(TEST + i * DAY for i in (1, 2, 60)),
    ]
    notes = [None, "", "žluťoučký kůň", "订单 🚚", "line\nbreak", *(f"note {i} on order {i * i}" for i in range(5, 24))]
    delivered = [None if i % 6 == 5 else datetime.datetime(1969, 12, 31, 23) + i * HOUR for i in range(24)]
    delivered[1] = datetime.datetime(1905, 3, 1)
    return pa.table(
        {
            "order_id": pa.array(range(24), pa.int64()),
            "team_id": pa.array([None if i % 7 == 6 else (11 if i == 19 else i % 10) for i in range(24)], pa.int64()),
            "placed_at": _times(placed, time),
            "note": pa.array(notes, pa.string()),
            "delivered": _times(delivered, time),
            "is_paid": pa.array([None if i % 5 == 4 else i % 2 == 0 for i in range(24)]),
        }
    )


def _order_line() -> pa.Table:
    """No time of its own, no primary key; order 3 is a hub with half of all rows; a float key with NaN as null."""
    tail = np.random.default_rng(0).pareto(1.1, 48) * 10
    tail[7] = 1e9
    return pa.table(
        {
            "order_id": pa.array([3 if i % 2 else (i // 2) % 24 for i in range(48)], pa.int64()),
            "category_id": pa.array([np.nan if i % 5 == 0 else float(i % 4) for i in range(48)], pa.float64()),
            "quantity": pa.array([i % 9 - 2 for i in range(48)], pa.int16()),
            "price": pa.array([np.nan if i == 11 else round(float(tail[i]), 2) for i in range(48)], pa.float64()),
        }
    )


def _match(time: pa.DataType) -> pa.Table:
    """Two keys to one table; ties; null times last; lists; a category first seen after VAL; a dotted name.

    "home_id.note" begins like the key "home_id", which must not be taken for a struct. Two matches in the second of
    every train seed, three at VAL and three at TEST.
    """
    played: Times = [seed for seed in TRAIN_SEEDS for _ in range(2)]
    played += [seed + days * DAY for seed in TRAIN_SEEDS for days in (3, 3, 17)]
    played += [VAL] * 3 + [VAL + 10 * DAY] * 3 + [VAL + 40 * DAY] + [TEST] * 3 + [TEST + DAY] * 3 + [TEST + 90 * DAY]
    played = [*sorted(t for t in played if t is not None), None, None]
    n = len(played)
    is_late = [t is not None and t > VAL for t in played]
    tags = [None, [], ["derby"], ["derby", "cup"], [""], ["cup", "cup", "夜"]]
    return pa.table(
        {
            "match_id": pa.array(range(n), pa.int64()),
            "home_id": pa.array([11 if is_late[i] and i % 4 == 0 else i % 10 for i in range(n)], pa.int64()),
            "away_id": pa.array([None if i % 6 == 1 else (i + 3) % 10 for i in range(n)], pa.int64()),
            "played_at": _times(played, time),
            "kind": pa.array(["playoff" if is_late[i] and i % 2 else ("league", "cup")[i % 2] for i in range(n)]),
            "score": pa.array([np.nan if i % 8 == 2 else i * 0.5 for i in range(n)], pa.float64()),
            "tags": pa.array([tags[i % 6] for i in range(n)], pa.list_(pa.string())),
            "minutes": pa.array([None if i % 9 == 8 else [i] * (i % 3) for i in range(n)], pa.list_(pa.int64())),
            "home_id.note": pa.array([f"n{i % 3}" for i in range(n)]),
        }
    )


def _lineup() -> pa.Table:
    """Without time, between the dated match and the dated goal."""
    return pa.table(
        {
            "lineup_id": pa.array(range(16), pa.int64()),
            "match_id": pa.array([2 * i for i in range(16)], pa.int64()),
            "team_id": pa.array([i % 10 for i in range(16)], pa.int64()),
            "formation": pa.array([None if i == 4 else f"4-{i % 3}-3" for i in range(16)]),
        }
    )


def _goal(time: pa.DataType) -> pa.Table:
    """A grandchild by way of a table without time; half of the goals fall in one second."""
    scored: Times = [TRAIN_SEEDS[1]] * 8 + [TRAIN_SEEDS[2] + i * 30 * DAY for i in range(7)] + [None]
    return pa.table(
        {
            "goal_id": pa.array(range(16), pa.int64()),
            "lineup_id": pa.array([i if i % 5 else None for i in range(16)], pa.int64()),
            "scored_at": _times(scored, time),
            "minute": pa.array([7 * i % 91 for i in range(16)], pa.uint8()),
        }
    )


def _ticket(time: pa.DataType) -> pa.Table:
    """Sold a day before its match: a child before its parent, at TEST across the cut; unsorted, null times inside."""
    played = _match(pa.timestamp("s"))["played_at"].to_pylist()
    matches = [30, 4, 27, 11, 0, 33, 8, 21, 2, 15, 28, 6, 19, 23, 26, 1, 13, 29, 9, 17]
    sold = [None if i % 9 == 3 or played[m] is None else played[m] - DAY for i, m in enumerate(matches)]
    return pa.table(
        {
            "match_id": pa.array([m if i != 5 else None for i, m in enumerate(matches)], pa.int64()),
            "sold_at": _times(sold, time),
            "price": pa.array([5.0 + i for i in range(20)], pa.float64()),
        }
    )


def _bridge() -> pa.Table:
    """Many to many: nothing but two keys; one pair twice."""
    pairs = [(0, 1), (0, 2), (1, 1), (2, 3), (3, 1), (4, 4), (5, 1), (6, 2), (7, 1), (8, 0), (9, 1), (0, 1)]
    teams, categories = zip(*pairs, strict=True)
    return pa.table({"team_id": pa.array(teams, pa.int64()), "category_id": pa.array(categories, pa.int64())})


def _tasks(time: pa.DataType) -> dict[str, dict[str, Any]]:
    """Labels of teams 0..9 and, from VAL on, 11 (unknown to the past); both classes in each split."""

    def labels(seeds: list[datetime.datetime], target_col: str) -> pa.Table:
        pairs = [(s, e) for s in seeds for e in range(NUM_TEAMS) if e < 10 or (e == 11 and s >= VAL)]
        keys = {
            "seed_time": _times([s for s, _ in pairs], time),
            "team_id": pa.array([e for _, e in pairs], pa.int64()),
        }
        if target_col == "wins":
            return pa.table(
                {**keys, "wins": pa.array([(e + s.month // 3) % 3 == 0 for s, e in pairs]).cast(pa.int64())}
            )
        return pa.table({**keys, "points": pa.array([1.5 * e - 0.25 * s.month for s, e in pairs], pa.float64())})

    def task(task_type: str, target_col: str) -> dict[str, Any]:
        manifest = {
            "kind": "external",
            "task_type": task_type,
            "entity_table": "teams",
            "entity_col": "team_id",
            "time_col": "seed_time",
            "target_col": target_col,
            "timedelta": "30 days",
        }
        splits = {"train": TRAIN_SEEDS, "val": [VAL, VAL + 30 * DAY], "test": [TEST, TEST + 30 * DAY]}
        return {"manifest": manifest, **{split: labels(seeds, target_col) for split, seeds in splits.items()}}

    return {"team-wins": task("binary_classification", "wins"), "team-points": task("regression", "points")}
