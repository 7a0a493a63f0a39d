"""What --strict refuses: all that an import counts and says, but does not stop at.

Promises: an import that passes has no key that is null or without a parent, no value that was read as null, and no warning.
"""

from __future__ import annotations

from distributed.import_report.report import ImportReport
from distributed.schema.refusals import ImportRefused


def refuse_doubts(report: ImportReport) -> None:
    """Refuses an import of which anything is to be doubted.

    Raises:
        ImportRefused: It names all that was counted, by table and column, and every warning.
    """
    problems = []
    for name, table in report.tables.items():
        problems += [
            f"table {name!r}, key {column!r}: {n:,} rows are null" for column, n in table.null_fkeys.items() if n
        ]
        problems += [
            f"table {name!r}, key {column!r}: {n:,} rows have no parent"
            for column, n in table.dangling_fkeys.items()
            if n
        ]
        for column, found in table.columns.items():
            spelled = ", ".join(f"{n:,} {spelling!r}" for spelling, n in found.null_spellings.items())
            problems += [f"table {name!r}, column {column!r}: {spelled} would be read as null"] if spelled else []
    problems += report.warnings
    if problems:
        raise ImportRefused(
            *problems,
            "--strict refuses all of these; correct the source, leave columns out by --exclude, or import without --strict",
        )
