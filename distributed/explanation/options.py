"""The options of explain; nothing heavy is loaded to read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distributed.commands.command_line import Command
from distributed.commands.shared_options import StoreOptions, require_positive
from distributed.prediction.options import SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Explain(StoreOptions):
    """Contributions of each table, foreign key and column to predictions, or to a task's metric: each is left out against a neutral value.

    Written are a JSON file and a picture beside it, FILE.svg. Of entities, a contribution is the prediction less that without the group; of a split,
    the importance of a group is what the metric loses without it, with an interval. Neither is a cause, and columns that tell the same share it
    (docs/explain.md):

        rdl explain --checkpoint MODEL --data shop --entity C-02487 --out explanation.json
        rdl explain --checkpoint MODEL --data shop --entities customers.csv --at 2024-11-01 --out november.json
        rdl explain --checkpoint MODEL --data rel-f1 --split val --out importance.json"""

    checkpoint: Path
    """Folder that `finetune` printed under "checkpoint"."""
    out: Path
    """File to write, .json; the picture takes its name with .svg."""
    entity: tuple[str, ...] = ()
    """Key of the entity whose prediction is explained, as the source has it; of a key of several columns, a value for each."""
    entities: Path | None = None
    """File with the keys of several, .csv or .parquet, in the column of the key's name."""
    at: str | None = None
    """Time before which is seen, such as 2024-11-01. Default: the second after the last row, "tomorrow"."""
    split: Literal["val", "test"] | None = None
    """Explain the task's metric on its own labels of this split."""
    rows: int | None = None
    """Most labels of --split; drawn where there are more. Default: 500."""
    head: str | None = None
    """Head whose predictions are explained. Default: the one that was best on validation, as of predict."""

    def __post_init__(self) -> None:
        given = [name for name in ("entity", "entities", "split") if getattr(self, name)]
        if len(given) != 1:
            got = " and ".join(f"--{name}" for name in given) or "none of them"
            raise ValueError(f"what to explain? give one of --entity KEY, --entities FILE and --split; got {got}")
        if self.split is not None and self.at is not None:
            raise ValueError("--split has times of its own: it goes without --at")
        if self.split is None and self.rows is not None:
            raise ValueError(f"--rows {self.rows} goes with --split: entities are all explained")
        require_positive(self, "rows")
        if self.out.suffix != ".json" or self.out.is_dir():
            raise ValueError(f"--out {self.out}: expected a file whose name ends in .json")
        if self.entities is not None and self.entities.suffix not in SUFFIXES:
            raise ValueError(f"--entities {self.entities}: expected a file whose name ends in {' or '.join(SUFFIXES)}")


COMMANDS: dict[str, Command] = {
    "explain": Command(options=Explain, runner="distributed.explanation.command:run_explain"),
}
