"""The options of embed and nearest; nothing heavy is loaded to read them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from distributed.commands.command_line import Command
from distributed.commands.options import Given
from distributed.commands.shared_options import WorkerOptions, require_positive
from rdl_core.checkpoint_files import backbone_of, read_description
from rdl_core.config import FinetuningConfig, TemporalSamplingConfig, contrast, decode


@dataclass(frozen=True, kw_only=True)
class Embed(WorkerOptions):
    """Vectors of all rows of a table, by a pretrained or fine-tuned model: a folder of Parquet parts, or a table of PostgreSQL.

    Columns: the key as the source has it, under its own name; time; embedding, a fixed-size list of float32. A row sees what exists strictly before
    the time that it is asked for. Stopped, the same command goes on; any number of workers writes the same bytes.

        rdl embed --data shop --checkpoint runs/pretrain-shop-1a2b3c4d/model --table customers --out customers
        rdl embed --data shop --checkpoint MODEL --table orders --out orders --each-row-at time --workers 2
        rdl embed --data shop --checkpoint MODEL --table customers --at 2024-09-01 --out september --to postgresql+psycopg://me@host/shop"""

    checkpoint: Path
    """Folder that `pretrain` or `finetune` printed under "checkpoint"."""
    table: str
    """Table whose rows are embedded."""
    out: Path
    """Folder to write."""
    at: str | None = None
    """Time before which all rows look, such as 2024-09-01. Default: just after the last row of the database."""
    each_row_at: str | None = None
    """Column of the table with the time of each row, before which that row looks."""
    row_numbers: bool = False
    """Name rows by their numbers in db/TABLE.parquet, as `row`, instead of by their key: for a table that has none."""
    to: str | None = None
    """SQLAlchemy URL of a PostgreSQL database that gets the vectors, too, in one transaction: vector(n) where it has pgvector, else real[]."""
    to_table: str | None = None
    """Table that is made there. Default: TABLE_embedding."""
    sampling: TemporalSamplingConfig
    """Form of a row's tree; as deep as the model. Default: a fine-tuned model's own, else the preset contrast's."""
    seed: int = 0
    """The seed from which trees are drawn, with --sampling.strategy uniform."""

    def __post_init__(self) -> None:
        WorkerOptions.__post_init__(self)
        if self.at is not None and self.each_row_at is not None:
            raise ValueError("--at and --each-row-at are two ways to say when; give one")
        if self.to is None and self.to_table is not None:
            raise ValueError(f"--to-table {self.to_table} goes with --to")

    @classmethod
    def defaults(cls, given: Given) -> Embed:
        sampling, checkpoint = contrast().finetuning.sampling, given("--checkpoint")
        if checkpoint is not None:
            with suppress(OSError, ValueError):  # the command refuses it
                description = read_description(checkpoint)
                layers, trained = backbone_of(description).num_layers, description["about"].get("finetuning")
                sampling = replace(sampling, num_neighbors=sampling.num_neighbors[:layers])
                if trained is not None:
                    sampling = decode(FinetuningConfig, trained, f"{checkpoint}: finetuning").sampling
        return cls(checkpoint=tyro.MISSING, table=tyro.MISSING, out=tyro.MISSING, sampling=sampling)


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The rows whose vectors are most like one row's, of a folder that embed has written: exact, by cosine.

    rdl nearest --embeddings customers --key C-02487 --top 5"""

    embeddings: Path
    """Folder that `embed` wrote."""
    key: tuple[str, ...]
    """Key of the row, as the source has it; of a key of several columns, a value for each."""
    top: int = 10
    """Number of rows."""
    json: bool = False
    """Print the rows as the last line of stdout."""

    def __post_init__(self) -> None:
        require_positive(self, "top")


COMMANDS: dict[str, Command] = {
    "embed": Command(options=Embed, runner="distributed.embedding.command:run_embed"),
    "nearest": Command(options=Nearest, runner="distributed.embedding.command:run_nearest"),
}
