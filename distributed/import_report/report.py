"""The report of an import: one structure, of which the lines, `import.json`, `--json` and `report.html` are views.

Every part has a default but what an import cannot lack, so that a report written by an earlier version can be read again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from distributed.inference.evidence import Proposal
from rdl_core.database.label_checks import SplitLabels

FindingKind = Literal[
    "later_time",
    "filled_in_later",
    "changes_later",
    "overwritten",
    "key_to_later_row",
    "label_in_column",
    "labels",
]
"""The kinds of findings: a time after its row's; a column that is null in recent rows, or that holds a value which old rows lack; a name that tells
of an update in place; a parent dated after its child; a column that determines a task's label; labels too few or too alike."""

KeyRole = Literal["primary key", "foreign key", "time"]


@dataclass(frozen=True, kw_only=True)
class LaterTimes:
    """The rows in which a column of times lies after the row's own time, and by how much at most."""

    num_later: int
    largest_lead_s: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One doubt about the imported data, which the data alone cannot settle.

    Args:
        table, column: Where; `column` is as the source calls it.
        num_rows: Rows that show it.
        text: The evidence, as a clause that goes on after "table.column ".
        remedy: What to do, where it is a leak.
        task, split: Of a finding about labels.
    """

    kind: FindingKind
    table: str
    column: str | None = None
    num_rows: int
    text: str
    remedy: str = ""
    task: str | None = None
    split: str | None = None

    @property
    def place(self) -> str:
        """`table.column`, before it the task of labels."""
        column = self.table if self.column is None else f"{self.table}.{self.column}"
        return f"task {self.task}, {self.split}" if self.kind == "labels" else column

    @property
    def line(self) -> str:
        """The line that a user sees."""
        return f"warning: {self.place} {self.text}"


@dataclass(frozen=True, kw_only=True)
class ColumnReport:
    """One column of an imported table.

    Args:
        kind: Its type in the folder.
        num_null: Nulls in the folder.
        evidence: How the type was found, where the source does not declare it.
        null_spellings: How often each spelling of null stood in the source, such as {"NA": 3}.
        renamed_from: The source's name, where the folder has another.
    """

    kind: str
    num_null: int
    evidence: str = ""
    null_spellings: dict[str, int] = field(default_factory=dict)
    renamed_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class KeyReport:
    """A key or time column: followed by the import, or proposed only.

    Args:
        parent, parent_columns: Of a foreign key.
        origin: Declared by the source, the schema file or an option; or inferred from names and values.
        evidence: Why, for an inferred one.
    """

    role: KeyRole
    table: str
    columns: tuple[str, ...]
    parent: str | None = None
    parent_columns: tuple[str, ...] = ()
    origin: Literal["declared", "inferred"] = "declared"
    is_accepted: bool = True
    evidence: str = ""


@dataclass(frozen=True, kw_only=True)
class TableReport:
    """One imported table.

    Args:
        null_fkeys: Keys that are null in the source, by column.
        dangling_fkeys: Keys without a parent that were set to null, by column.
        unselected_fkeys: Keys of parents that --where leaves out, set to null, by column.
        left_out: Why a column was left out.
        later_times: Attributes that lie after their row's time.
        columns: By name in the folder.
    """

    num_rows: int
    num_columns: int
    pkey_col: str | None
    time_col: str | None
    fkey_col_to_pkey_table: dict[str, str]
    null_fkeys: dict[str, int]
    dangling_fkeys: dict[str, int]
    left_out: dict[str, str]
    later_times: dict[str, LaterTimes] = field(default_factory=dict)
    unselected_fkeys: dict[str, int] = field(default_factory=dict)
    columns: dict[str, ColumnReport] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskLabels:
    """The labels of one task.

    Args:
        splits: What each split holds.
        baseline: What the trivial prediction reaches per split, by metric: the train labels' median, rate or most frequent class.
    """

    task_type: str
    entity_table: str
    target_col: str | None
    splits: dict[str, SplitLabels]
    baseline: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RowsOverTime:
    """Rows per table in equal spans of time.

    Args:
        start_s: UNIX seconds of the first span's start; `bin_s` is the length of one.
        counts: Rows per span, by table with a time.
        num_outside: Rows before the first or after the last span.
    """

    start_s: int
    bin_s: int
    val_timestamp_s: int
    test_timestamp_s: int
    counts: dict[str, tuple[int, ...]]
    num_outside: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """The changes that --append made to one table.

    Args:
        num_old: Rows that were there, and stay as they are.
        num_new: Rows added behind them.
        num_older: New rows that are older than the last that was there.
        num_changed: Rows whose source has changed since; per column, `changed_columns`; the first source keys of them, `first_changed`.
        num_gone: Rows that are not in the source any more; the first source keys of them, `first_gone`.
        has_key: Whether the table has a key; without one, a row that changed counts as gone and as new.
    """

    num_old: int = 0
    num_new: int = 0
    num_older: int = 0
    num_changed: int = 0
    changed_columns: dict[str, int] = field(default_factory=dict)
    first_changed: tuple[str, ...] = ()
    num_gone: int = 0
    first_gone: tuple[str, ...] = ()
    has_key: bool = True

    def lines(self, table: str) -> list[str]:
        """Returns what a user sees of it."""
        lines = [f"{table}: {self.num_new:,} new rows after the {self.num_old:,} that were there"]
        if self.num_older:
            lines.append(f"{table}: {self.num_older:,} of the new rows are older than the last row that was there")
        if self.num_changed:
            columns = ", ".join(f"{column} in {number:,}" for column, number in self.changed_columns.items())
            lines.append(
                f"{table}: {self.num_changed:,} rows have changed in the source ({columns}; keys {_first(self.first_changed, self.num_changed)}); "
                "they stay as they were imported, and cells that were empty stay so. A new import into another --out has them as they are now"
            )
        if self.num_gone:
            keys = f" (keys {_first(self.first_gone, self.num_gone)})" if self.has_key else ""
            remark = "" if self.has_key else "; without a key, a row that has changed counts as gone and as new"
            lines.append(f"{table}: {self.num_gone:,} rows are not in the source any more{keys}; they stay{remark}")
        return lines


def _first(keys: tuple[str, ...], number: int) -> str:
    return ", ".join(keys) + (", ..." if number > len(keys) else "")


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """One import.

    Args:
        tasks: Number of labels per task and split.
        leaks: Columns and keys that may tell the future; whether they do is not in the data.
        warnings: The lines that a user sees of leaks and labels.
        keys: Primary and foreign keys, accepted and proposed.
        proposal: Keys, times and timestamps that --accept asked for, with their evidence and what was accepted.
        paths: Files of the import, by what they are.
        growth: What --append did, by table.
        is_reused: Whether `out` held this very import already.
    """

    manifest: Path
    tables: dict[str, TableReport]
    tasks: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    keys: tuple[KeyReport, ...] = ()
    leaks: tuple[Finding, ...] = ()
    labels: dict[str, TaskLabels] = field(default_factory=dict)
    label_findings: tuple[Finding, ...] = ()
    proposal: Proposal | None = None
    rows_over_time: RowsOverTime | None = None
    growth: dict[str, Growth] = field(default_factory=dict)
    wall_s: float = 0.0
    is_reused: bool = False

    @property
    def page(self) -> Path:
        """The page that shows all of this."""
        return self.manifest.with_name("report.html")

    def as_json(self) -> dict[str, Any]:
        """Returns the report as `--json` prints it: its fields, and rows, nulls, dangling keys and paths at a glance."""
        folder = self.manifest.parent
        return {
            **asdict(self),
            "rows": {name: table.num_rows for name, table in self.tables.items()},
            "nulls": {
                name: {column: found.num_null for column, found in table.columns.items() if found.num_null}
                for name, table in self.tables.items()
            },
            "dangling": {
                name: {column: number for column, number in table.dangling_fkeys.items() if number}
                for name, table in self.tables.items()
            },
            "paths": {
                "manifest": str(self.manifest),
                "report": str(self.page),
                "import": str(folder / "import.json"),
                "tables": str(folder / "db"),
                "keys": str(folder / "keys"),
                "tasks": str(folder / "tasks") if self.tasks else None,
            },
        }
