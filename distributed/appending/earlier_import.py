"""The import that --append adds rows to, and what of a later one does not fit it.

Promises: the later import has all tables, columns, keys and times of the earlier one, or is refused with table, column and remedy; a new column of
an old table is left out, since the earlier rows have no value of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from relbench.manifest import DatasetManifest, TableSpec

from distributed.schema.refusals import ImportRefused, Refusals
from rdl_core.database.appended import file_digests

_MUST_STAY = ("name", "where", "exclude")
ANEW = "import all of it anew into another --out"


@dataclass(frozen=True, kw_only=True)
class EarlierImport:
    """An import that is there.

    Args:
        out: Its folder.
        manifest: Its manifest.
        content: Its import.json.
    """

    out: Path
    manifest: DatasetManifest
    content: dict[str, Any]

    @property
    def task_files(self) -> list[Path]:
        """The task files that it was made with."""
        return sorted(self.out.glob("tasks/*/manifest.yaml"))

    def schema(self, table: str) -> pa.Schema:
        """The columns of one of its tables."""
        return pq.read_schema(self.out / "db" / f"{table}.parquet").remove_metadata()

    def holds(self, identity: Mapping[str, Any]) -> bool:
        """Returns whether it is this very import of this very source; of a server nobody knows whether its rows are still the same."""
        keys = ("config_hash", "source_hashes")
        return bool(identity["source_hashes"]) and all(self.content[key] == identity[key] for key in keys)

    def appended(self, later: Path) -> dict[str, Any]:
        """Returns what tells the first rows of a folder, once it is written, from the later ones: checksums of its files, then and now."""
        names = list(self.manifest.tables)
        rows = {name: pq.read_metadata(self.out / "db" / f"{name}.parquet").num_rows for name in names}
        return {
            "earlier_files": file_digests(self.out, names),
            "earlier_rows": rows,
            "files": file_digests(later, list(DatasetManifest.load(later / "manifest.yaml").tables)),
        }

    def history(self) -> list[dict[str, Any]]:
        """Returns what import.json keeps of all imports up to this one, oldest first."""
        rows = {name: table["num_rows"] for name, table in self.content["report"]["tables"].items()}
        this = {key: self.content[key] for key in ("config", "config_hash", "source_hashes")} | {"rows": rows}
        return [*self.content.get("history", []), this]


def open_earlier(out: Path, identity: Mapping[str, Any]) -> EarlierImport:
    """Opens the import that a later one is appended to.

    Raises:
        ImportRefused: `out` is no import, or one with other settings.
    """
    path = out / "import.json"
    if not path.is_file():
        raise ImportRefused(f"--append: {out} is no import; import into it without --append first")
    content = json.loads(path.read_text(encoding="utf-8"))
    now, then = json.loads(json.dumps(identity["config"])), content["config"]
    if differing := [f"--{key.replace('_', '-')}" for key in _MUST_STAY if now.get(key) != then.get(key)]:
        raise ImportRefused(
            f"--append: {out} was imported with another {', '.join(differing)}; give the same, or {ANEW}"
        )
    if then.get("sample_entities") is not None:
        raise ImportRefused(f"--append: {out} is a sample of entities; {ANEW}")
    return EarlierImport(out=out, manifest=DatasetManifest.load(out / "manifest.yaml"), content=content)


def left_out_columns(earlier: EarlierImport, later: Path, specs: Mapping[str, TableSpec]) -> dict[str, list[str]]:
    """Returns the columns of a later import that the earlier one does not have, by table.

    Args:
        earlier: The earlier import.
        later: The folder of the later one.
        specs: Its keys and times.

    Raises:
        ImportRefused: Tables, columns, keys or times of the earlier import are not there any more.
    """
    refusals, new = Refusals(), {}
    for name, spec in earlier.manifest.tables.items():
        with refusals.each():
            if name not in specs:
                raise ImportRefused(
                    f"--append, table {name!r}: it is not in the source any more (tables: {sorted(specs)}); add it, or {ANEW}"
                )
            names = pq.read_schema(later / "db" / f"{name}.parquet").names
            new[name] = _check_table(name, spec, specs[name], earlier.schema(name).names, names)
    refusals.refuse()
    return new


def _check_table(name: str, then: TableSpec, now: TableSpec, had: Iterable[str], has: Iterable[str]) -> list[str]:
    refusals = Refusals()
    if gone := [column for column in had if column not in set(has)]:
        refusals.problems.append(
            f"--append, table {name!r}: columns {gone} are not in the source any more; add them, with nulls if they have no "
            f"values any more, or {ANEW}"
        )
    else:
        new = [column for column in has if column not in set(had)]
        fkeys = {column: parent for column, parent in now.fkeys.items() if column not in new}
        for what, before, after in (("pkey", then.pkey, now.pkey), ("foreign keys", dict(then.fkeys), fkeys)):
            if before != after:
                refusals.problems.append(
                    f"--append, table {name!r}: the {what} was {before} in the earlier import and is {after}; declare the "
                    f"same, or {ANEW}"
                )
        if then.time_col != now.time_col:
            refusals.problems.append(
                f"--append, table {name!r}: its time column was {then.time_col} in the earlier import and is {now.time_col}; "
                f"name it by --time-cols or in the schema file, or {ANEW}"
            )
    refusals.refuse()
    return [column for column in has if column not in set(had)]
