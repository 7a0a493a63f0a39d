"""Options that commands share. Nothing heavy is imported here or in options.py: the help needs neither torch nor Ray, which take seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from rdl_core.config import StoreConfig


def require_positive(options: Any, *names: str) -> None:
    """Raises ValueError for an option below 1; None is no value."""
    for name in names:
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every command that leaves a run folder."""

    run_name: str | None = None
    """Folder below runs-dir. Default: made from command, data and configuration; the same name continues."""
    runs_dir: Path = Path("runs")
    """Folder for run folders and stores."""
    json: bool = False
    """Print result.json as the last line of stdout."""


@dataclass(frozen=True)
class WorkerRange:
    """Number of workers of a run: `2`, or elastic `1:4`, as many as there is place for.

    Args:
        least, most: Equal unless elastic.
    """

    least: int = 1
    most: int = 1

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}:{self.most}"

    @classmethod
    def parse(cls, text: str) -> WorkerRange:
        """Returns the range that a word of the command line names.

        Raises:
            ValueError: It is neither N nor LEAST:MOST.
        """
        least, colon, most = text.partition(":")
        if least.isdecimal() and (most if colon else least).isdecimal():
            found = cls(int(least), int(most if colon else least))
            if 1 <= found.least <= found.most:
                return found
        raise ValueError(f"--workers must be N or LEAST:MOST, at least 1, got {text!r}")


WORKERS = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="N|LEAST:MOST",
    instance_from_str=lambda words: WorkerRange.parse(words[0]),
    is_instance=lambda value: isinstance(value, WorkerRange),
    str_from_instance=lambda value: [str(value)],
)


def hours_of(text: str) -> float:
    """Returns the hours that a duration of the command line names: "90s", "10m", "1.5h" or "1h30m".

    Raises:
        ValueError: It has no unit, or is no duration.
    """
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?", text.replace(" ", ""))
    hours = (
        sum(float(part or 0) / unit for part, unit in zip(found.groups(), (1, 60, 3600), strict=True)) if found else 0
    )
    if hours <= 0:
        raise ValueError(f"--time-budget must be a time with its unit, such as 90s, 10m, 1.5h or 1h30m, got {text!r}")
    return hours


HOURS = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar="TIME",
    instance_from_str=lambda words: hours_of(words[0]),
    is_instance=lambda value: value is None or isinstance(value, float),
    str_from_instance=lambda value: [str(value)],
)
"""A duration, as hours."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """The place of the graph and the number of its samplers; the samples are the same bits whatever is chosen."""

    samplers: int = 1
    """Sampling tasks at a time."""
    placement: Literal["auto", "local", "sharded"] = "auto"
    """'local': every process maps the store; 'sharded': actors hold 1/N of the rows each; 'auto': sharded when the store is too large for a node."""
    shards: int | None = None
    """Shards of a sharded placement. Default: as many as nodes, at least 2."""

    def __post_init__(self) -> None:
        require_positive(self, "samplers", "shards")
        if self.shards is not None and self.placement != "sharded":
            raise ValueError(f"--shards {self.shards} goes with --placement sharded, not {self.placement}")


@dataclass(frozen=True, kw_only=True)
class StoreOptions(RunOptions):
    """Options of the commands that need a store."""

    data: str | None = None
    """A RelBench-3 folder (it has manifest.yaml), its URL (s3://...), the name of a folder below RDL_DATA, data or ../shared/data, or a hub name,
    which RelBench downloads: stanford-star/relbench-v1/rel-f1. Default: RDL_DATA itself, else the only dataset there."""
    text_embedder: str = "hashed-ngram:128"
    """'hashed-ngram:CHANNELS', or 'sentence-transformers:MODEL' (needs the text extra)."""
    timeless_rows: Literal["first_reference", "always"] = "first_reference"
    """From when on a row of a table without times exists; 'always' is RelBench's rule and leaks."""
    exclude_columns: tuple[str, ...] = ()
    """Attributes to leave out, as table.column: what a task's label is made of."""
    schema_of: Path | None = None
    """A checkpoint whose statistics, vocabularies, tables and keys the store takes instead of new ones: next month's data, as last month's model
    knows it. Its text embedder and timeless rows, too."""
    stores_dir: str | None = None
    """Folder of stores, which every node sees, or a URL (s3://bucket/stores) of which each node keeps a copy. Default: stores in runs-dir."""
    cache_dir: str | None = None
    """Folder of a node's copies of what is at URLs, on its own disk. Default: its RDL_CACHE, else ~/.cache/relational-pretraining/folders."""

    @property
    def store(self) -> StoreConfig:
        """The settings of the store, besides the data."""
        return StoreConfig(
            text_embedder=self.text_embedder, timeless_rows=self.timeless_rows, exclude_columns=self.exclude_columns
        )


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(StoreOptions):
    """Options of the commands that compute in a fixed number of processes."""

    workers: int = 1
    """Worker processes."""

    def __post_init__(self) -> None:
        require_positive(self, "workers")
