"""Options that commands share. Nothing heavy is imported here or in commands.py: the help needs neither torch nor Ray, which take seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command."""

    data: str | None = None
    """A RelBench-3 folder (it has manifest.yaml), its URL (s3://...), the name of a folder below RDL_DATA (else below ../shared/data), or a hub name,
    which RelBench downloads: stanford-star/relbench-v1/rel-f1. Default: RDL_DATA itself, else the only dataset there."""
    run_name: str | None = None
    """Folder below runs-dir. Default: made from command, data and configuration; the same name continues."""
    runs_dir: Path = Path("runs")
    """Where run folders and stores go."""
    max_steps: int | None = None
    """Updates at most. Default: the preset's (2000)."""
    seed: int | None = None
    """Of everything random. Default: 0, or a preset file's own."""
    json: bool = False
    """Print result.json as the last line of stdout."""

    def __post_init__(self) -> None:
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"--max-steps must be at least 1, got {self.max_steps}")


@dataclass(frozen=True)
class WorkerRange:
    """Workers of a run: `2`, or elastic `1:4`, as many as there is place for.

    Args:
        least, most: Equal unless elastic.
    """

    least: int = 1
    most: int = 1

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}:{self.most}"

    @classmethod
    def parse(cls, text: str) -> WorkerRange:
        """Of the command line.

        Raises:
            ValueError: It is neither N nor LEAST:MOST.
        """
        least, colon, most = text.partition(":")
        try:
            found = cls(int(least), int(most if colon else least))
        except ValueError:
            found = cls(0, 0)
        if not 1 <= found.least <= found.most:
            raise ValueError(f"--workers must be N or LEAST:MOST, at least 1, got {text!r}")
        return found


WORKERS = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1, metavar="N|LEAST:MOST", instance_from_str=lambda words: WorkerRange.parse(words[0]),
    is_instance=lambda value: isinstance(value, WorkerRange), str_from_instance=lambda value: [str(value)],
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Where the graph is and how many sample it; the samples are the same bits whatever is chosen."""

    samplers: int = 1
    """Sampling tasks at a time."""
    placement: Literal["auto", "local", "sharded"] = "auto"
    """'local': every process maps the store; 'sharded': actors hold 1/N of the rows each; 'auto': sharded when the store is too large for a node."""
    shards: int | None = None
    """How many shards, of a sharded placement. Default: as many as nodes, at least 2."""

    def check(self) -> None:
        """Raises ValueError for options that do not go together."""
        for name in ("samplers", "shards"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        if self.shards is not None and self.placement != "sharded":
            raise ValueError(f"--shards {self.shards} goes with --placement sharded, not {self.placement}")


@dataclass(frozen=True, kw_only=True)
class StoreOptions(Common):
    """Options of the commands that need a store."""

    text_embedder: str = "hashed-ngram:128"
    """'hashed-ngram:CHANNELS', or 'sentence-transformers:MODEL' (needs the text extra)."""
    timeless_rows: Literal["first_reference", "always"] = "first_reference"
    """From when a row of a table without time exists; 'always' is RelBench's rule and leaks."""
    exclude_columns: tuple[str, ...] = ()
    """Attributes to leave out, as table.column: what a task's label is made of."""
    stores_dir: str | None = None
    """Where stores are: a folder that every node sees, or a URL (s3://bucket/stores) of which each node keeps a copy. Default: stores in runs-dir."""
    cache_dir: str | None = None
    """Where a node keeps copies of what is at URLs: its own disk. Default: its RDL_CACHE, else ~/.cache/relational-pretraining/folders."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(StoreOptions):
    """Options of the commands that compute in a fixed number of processes."""

    workers: int = 1
    """Worker processes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, got {self.workers}")
