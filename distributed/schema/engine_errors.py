"""The errors of DuckDB, Arrow and the disk, told as ours: which table, what went wrong, what to do.

Nothing is swallowed: each becomes an `ImportRefused` that keeps its cause. A full disk, a file-size limit and missing rights are told by remedies.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from distributed.schema.refusals import ImportRefused

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_FULL_WORDS = ("no space left", "file too large", "disk quota exceeded", "disk full", "could not write all bytes")


@contextmanager
def told_as_ours(folder: Path, table: str | None = None) -> Iterator[None]:
    """Tells what the body raises as a refusal.

    Args:
        folder: Where the body writes.
        table: The table that it works on.

    Raises:
        ImportRefused: DuckDB, Arrow or the system raised an error.
    """
    try:
        yield
    except FileExistsError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        place = f"table {table!r}: " if table is not None else ""
        raise ImportRefused(place + _told(error, folder)) from error


def _told(error: Exception, folder: Path) -> str:
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) in _FULL or any(word in text.casefold() for word in _FULL_WORDS):
        return (
            f"the disk of --out is full, or a file may not grow any more{_free(folder)}: {text:.300}. Nothing is left behind; free "
            "about three times the size of the data, or choose another --out"
        )
    if isinstance(error, PermissionError) or "permission denied" in text.casefold():
        return f"no right to read or write: {text:.300}; give this user the right, or choose another path"
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
        return f"DuckDB needs more memory than it may take: {text:.300}; raise --memory-bytes"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"a name is too long for the file system: {text:.300}; rename the table, or leave it out by --tables with the others"
    kind = type(error).__name__
    return f"{kind}: {text:.600}; correct the rows, or leave the column out by --exclude TABLE.COLUMN, or the table by --tables"


def _free(folder: Path) -> str:
    there = next((path for path in (folder, *folder.resolve().parents) if path.is_dir()), None)
    return f" ({shutil.disk_usage(there).free:,} bytes are free)" if there else ""
