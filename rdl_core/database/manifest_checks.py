"""Checks of a dataset's manifest.yaml, made before relbench reads it.

In: a folder. Out: nothing, or a `DatabaseError`. relbench's own reader takes the shape of the file for granted; its
errors would name a Python key, not the file. Cost: one small YAML file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from rdl_core.database.column_checks import DatabaseError, Problem
from rdl_core.file_names import EXPECTED_NAME, is_file_name
from rdl_core.timestamps import seconds_of


def check_manifest(folder: Path) -> None:
    """Refuses a folder whose manifest.yaml is missing, is not YAML, or lacks what relbench and we need of it.

    Raises:
        DatabaseError: The manifest cannot be used; it holds all its problems.
    """
    path = folder / "manifest.yaml"
    if not path.is_file():
        problem = Problem(
            place="manifest.yaml",
            expected="a RelBench-3 folder: manifest.yaml beside db/<table>.parquet",
            got="no manifest.yaml" if folder.is_dir() else "no such folder",
            remedy="pass such a folder or a hub name org/repo/dataset; to make one: `rdl import`",
        )
        raise DatabaseError(str(folder), [problem])
    try:
        manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        got = " ".join(str(error).split())
        problem = Problem(place="manifest.yaml", expected="YAML", got=got, remedy="correct the file at the place named")
        raise DatabaseError(str(folder), [problem]) from error
    problems = list(_manifest_problems(manifest))
    if problems:
        raise DatabaseError(str(folder), problems)


def _problem(expected: str, got: object, remedy: str) -> Problem:
    return Problem(place="manifest.yaml", expected=expected, got=repr(got), remedy=remedy)


def _manifest_problems(manifest: Any) -> Iterator[Problem]:
    if not isinstance(manifest, dict):
        yield _problem("a mapping with name, val_timestamp, test_timestamp and tables", manifest, "write these four")
        return
    if not isinstance(manifest.get("name"), str) or not is_file_name(manifest["name"]):
        yield _problem(
            f"name: the dataset's name, which names folders ({EXPECTED_NAME})",
            manifest.get("name"),
            "add name: to the manifest, or correct it",
        )
    yield from _timestamp_problems(manifest)
    tables = manifest.get("tables")
    if not isinstance(tables, dict) or not tables:
        yield _problem("tables: a mapping of at least one table", tables, "list every table of db/ under tables:")
        return
    for table, spec in tables.items():
        if not isinstance(table, str) or not _is_table_spec(spec):
            yield _problem(
                f"tables: {table}: pkey and time_col one column name or null, fkeys a mapping of column to table",
                spec,
                f"write {table}: {{pkey: ..., time_col: ..., fkeys: {{...}}}}, names such as 'on' or '1' in quotes",
            )


def _is_table_spec(spec: Any) -> bool:
    if not isinstance(spec, dict) or not isinstance(spec.get("fkeys", {}), dict):
        return False
    fkeys = spec.get("fkeys", {})
    names = [name for name in (spec.get("pkey"), spec.get("time_col")) if name is not None]
    return all(isinstance(name, str) for name in (*names, *fkeys, *fkeys.values()))


def _timestamp_problems(manifest: dict[str, Any]) -> Iterator[Problem]:
    seconds: dict[str, int] = {}
    for key in ("val_timestamp", "test_timestamp"):
        try:
            seconds[key] = seconds_of(manifest[key])
        except (KeyError, TypeError):
            yield _problem(f"{key}: a time", manifest.get(key), f"add {key}: '2005-01-01' (an ISO time)")
    if len(seconds) < 2:
        return
    val, test = (pd.Timestamp(manifest[key]) for key in seconds)
    if (val.tzinfo is None) != (test.tzinfo is None):
        yield _problem("both timestamps with a time zone, or neither", f"{val} and {test}", "write both alike")
    elif seconds["val_timestamp"] >= seconds["test_timestamp"]:
        got = f"val_timestamp {val}, test_timestamp {test}"
        yield _problem("val_timestamp before test_timestamp", got, "correct or swap the two in manifest.yaml")
