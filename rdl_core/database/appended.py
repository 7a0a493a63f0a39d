"""The rows of a dataset that are those of the dataset that it was before `import --append`.

In: import.json of an appended import, which has the checksums of the files then and now. Promise: nothing is taken from an older store unless it was
made of exactly the files that were there, and the files of now are exactly those that the import wrote, whose first rows are the older ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relbench.load import RelBenchDataset

from rdl_core.checksums import sha256_of_all
from rdl_core.database.table_settings import FILE_NAME as SETTINGS_FILE


def source_files(folder: Path, tables: list[str]) -> list[Path]:
    """Returns the files of a dataset that its store is made of: the manifest, settings.yaml if there is one, the tables."""
    settings = folder / SETTINGS_FILE
    return [
        folder / "manifest.yaml",
        *([settings] if settings.is_file() else []),
        *(folder / "db" / f"{table}.parquet" for table in tables),
    ]


def file_digests(folder: Path, tables: list[str]) -> list[str]:
    """Returns the SHA-256 of each of these files."""
    return sha256_of_all(source_files(folder, tables))


def earlier_state(dataset: RelBenchDataset) -> tuple[list[str], dict[str, int]]:
    """Returns the checksums of the files that the dataset had before the last append, and how many rows each table had.

    Raises:
        ValueError: The dataset is no appended import, or its files are not those that the import wrote.
    """
    folder = Path(dataset.dataset_dir)
    path = folder / "import.json"
    appended: dict[str, Any] = json.loads(path.read_text()).get("appended", {}) if path.is_file() else {}
    if not appended:
        raise ValueError(
            f"--append: {folder} is no import to which rows were appended (`rdl import --append`); leave --append out"
        )
    if file_digests(folder, list(dataset.manifest.tables)) != appended["files"]:
        raise ValueError(f"--append: the files of {folder} have changed since their import; leave --append out")
    return appended["earlier_files"], appended["earlier_rows"]
