"""The options of predict; nothing heavy is loaded to read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from distributed.commands.command_line import Command
from distributed.commands.shared_options import WorkerOptions

SUFFIXES = (".parquet", ".csv")
MAX_COVERAGE = 0.999
"""The widest intervals that models keep."""


@dataclass(frozen=True, kw_only=True)
class Predict(WorkerOptions):
    """Predictions of a fine-tuned model for entities in the source's own keys, at any time up to after the last row; no labels are needed.

    Columns: the key under its own name, time, prediction (a probability, or a value), of a regression lower and upper, model, data. A prediction sees
    rows strictly before its time. Stopped, the same command goes on; any number of workers writes the same file:

        rdl predict --checkpoint MODEL --data shop --all --out tomorrow.parquet
        rdl predict --checkpoint MODEL --data shop --entities customers.csv --at 2024-11-01 --out november.csv
        rdl predict --checkpoint MODEL --data shop --all --to postgresql+psycopg://me@host/shop --table churn
        rdl predict --checkpoint MODEL --data rel-f1 --split test --out rel-f1__driver-top3.csv"""

    checkpoint: Path
    """Folder that `finetune` printed under "checkpoint"."""
    out: Path | None = None
    """File to write, .parquet or .csv; one that is there is replaced. Of --split a .csv as RelBench takes it; it calls them DATABASE__TASK.csv."""
    entities: Path | None = None
    """File with the keys to predict for, .csv or .parquet, in the column of the key's name; its other columns are left alone."""
    all: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Predict for all entities that exist strictly before the time."""
    at: str | None = None
    """Time before which is seen, such as 2024-11-01. Default: the second after the last row, "tomorrow"."""
    split: Literal["val", "test"] | None = None
    """Predict for the task's own labels of this split, in RelBench's submission format, and score them."""
    head: str | None = None
    """Head that predicts. Default: the one that was best on validation."""
    coverage: float = 0.9
    """Probability that lower and upper hold the value, of a regression."""
    drift: bool = True
    """Compare the rows between the model's cutoff and the time with those that it was trained on, column by column."""
    to: str | None = None
    """SQLAlchemy URL of a database that gets the predictions as a table, in one transaction."""
    table: str | None = None
    """Table that is made there."""
    replace: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace the table if there is one."""

    def __post_init__(self) -> None:
        WorkerOptions.__post_init__(self)
        given = [name for name in ("entities", "all", "split") if getattr(self, name)]
        if len(given) != 1:
            got = " and ".join(f"--{name}" for name in given) or "none of them"
            raise ValueError(f"whom to predict for? give one of --entities FILE, --all and --split; got {got}")
        if self.split is not None and (self.at is not None or self.to is not None):
            raise ValueError("--split has times of its own, and a format: it goes with --out, without --at and --to")
        if (self.to is None) != (self.table is None):
            raise ValueError("--to URL and --table NAME go together")
        if not 0 < self.coverage <= MAX_COVERAGE:
            raise ValueError(
                f"--coverage {self.coverage}: expected a share above 0 and at most {MAX_COVERAGE}, such as 0.9"
            )
        if self.replace and self.to is None:
            raise ValueError("--replace replaces the --table of a database; without --to there is none")
        if self.out is None and self.to is None:
            raise ValueError("where to? give --out FILE, or --to URL and --table NAME")
        suffixes = (".csv",) if self.split is not None else SUFFIXES
        if self.out is not None and (self.out.suffix not in suffixes or self.out.is_dir()):
            raise ValueError(f"--out {self.out}: expected a file whose name ends in {' or '.join(suffixes)}")
        if self.entities is not None and self.entities.suffix not in SUFFIXES:
            raise ValueError(f"--entities {self.entities}: expected a file whose name ends in {' or '.join(SUFFIXES)}")


COMMANDS: dict[str, Command] = {
    "predict": Command(options=Predict, runner="distributed.prediction.command:run_predict"),
}
