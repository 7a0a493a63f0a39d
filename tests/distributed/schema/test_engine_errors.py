"""What DuckDB, Arrow and the system raise ends an import with a line of ours, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from distributed.schema.engine_errors import told_as_ours
from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import run, sqlite_file

LIMIT_BYTES = 300_000
IMPORT = f"""
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT_BYTES}, {LIMIT_BYTES}))
from tests.distributed.importing.small_imports import run
try:
    run(sys.argv[1], Path(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_disk_that_takes_no_more_ends_with_a_line_and_leaves_nothing(tmp_path: Path) -> None:
    rows = "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t SELECT value, hex(randomblob(40)) FROM generate_series(1, 50000)"
    rows = rows.replace(
        "generate_series(1, 50000)",
        "(WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM s LIMIT 50000) SELECT value FROM s)",
    )
    source = sqlite_file(tmp_path / "t.db", rows)
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, source, str(tmp_path / "data" / "out")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ImportRefused table 't': the disk of --out is full"), done.stdout
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "the disk of --out is full"),
        (duckdb.IOException("Could not write file: No space left on device"), "the disk of --out is full"),
        (
            pa.ArrowInvalid("bad thing"),
            "ArrowInvalid: bad thing; correct the rows, or leave the column out by --exclude",
        ),
        (duckdb.ConversionException("cannot cast\n'x'"), "ConversionException: cannot cast 'x'; correct"),
        (PermissionError(13, "Permission denied", "/x"), "no right to read or write: .*'/x'; give"),
        (duckdb.OutOfMemoryException("no"), "DuckDB needs more memory .*raise --memory-bytes"),
    ],
)
def test_errors_of_others_name_the_table_and_the_remedy(tmp_path: Path, error: Exception, told: str) -> None:
    with pytest.raises(ImportRefused, match=f"table 't': {told}"), told_as_ours(tmp_path, "t"):
        raise error


def test_a_refusal_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="^mine$"), told_as_ours(tmp_path, "t"):
        raise ImportRefused("mine")


@pytest.mark.parametrize("folder", ["what?", "a*b[c]", "it's", 'q "q"', "#% {x}", "ž?x=1&y"])
def test_a_path_with_any_characters_can_be_written_to(tmp_path: Path, folder: str) -> None:
    out = tmp_path / folder / "out"
    run(sqlite_file(tmp_path / "nasty.db"), out)
    assert (out / "manifest.yaml").is_file() and [path.name for path in out.parent.iterdir()] == ["out"]
