"""The commands: each a dataclass of its options, of which tyro makes the command line, with a `run` that returns what result.json holds.

What a command does is in data_commands.py, pretrain_commands.py and task_commands.py, which `run` imports: they load torch and Ray, and the help does
not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from distributed.commands.shared_options import (
    WORKERS,
    Common,
    SamplingOptions,
    StoreOptions,
    WorkerOptions,
    WorkerRange,
)
from distributed.importing.config import ImportConfig

IGNORED = {
    "import": ("data", "max-steps", "seed"),
    "materialize": ("max-steps", "seed"),
    "sample": ("max-steps",),
    "evaluate": ("max-steps", "seed"),
}
"""Common options that have nothing to act on in a command: taken, so that a script may pass them to all, and left out of its help."""


LISTS = ("--exclude", "--exclude-columns", "--tables", "--tasks", "--time-cols")


def check_lists(arguments: list[str]) -> None:
    """Of an option that takes several values and is given twice, the first would be lost, and an excluded column back in.

    Raises:
        ValueError: There is one.
    """
    names = [word.replace("_", "-").partition("=")[0] for word in arguments]
    if twice := [name for name in LISTS if names.count(name) > 1]:
        raise ValueError(
            f"{twice[0]} is there {names.count(twice[0])} times; give it once, with all its values: {twice[0]} A B"
        )


def without_ignored(arguments: list[str]) -> list[str]:
    """The command line without the options that its command ignores, each with its value."""
    if not arguments:
        return []
    names = {f"--{name}" for name in IGNORED.get(arguments[0], ())}
    left, words = arguments[:1], iter(arguments[1:])
    for word in words:
        name, equals, _ = word.replace("_", "-").partition("=")
        if name not in names:
            left.append(word)
        elif not equals:
            next(words, None)
    return left


@dataclass(frozen=True, kw_only=True)
class Import(ImportConfig, Common):
    """SQL database, or folder of CSV/Parquet files, to a RelBench-3 folder."""

    data: tyro.conf.Suppress[str | None] = None
    max_steps: tyro.conf.Suppress[int | None] = None
    seed: tyro.conf.Suppress[int | None] = None

    def __post_init__(self) -> None:
        ImportConfig.__post_init__(self)
        Common.__post_init__(self)

    def run(self) -> dict[str, Any]:
        from distributed.commands.data import run_import

        return run_import(self)


@dataclass(frozen=True, kw_only=True)
class Materialize(WorkerOptions):
    """RelBench-3 folder to REG store: semantic types, statistics and vocabularies from rows up to the cutoff, topology, cells.

    With --workers 2 or more, tables are encoded in parallel by Ray Data."""

    max_steps: tyro.conf.Suppress[int | None] = None
    seed: tyro.conf.Suppress[int | None] = None

    def run(self) -> dict[str, Any]:
        from distributed.commands.data import run_materialize

        return run_materialize(self)


@dataclass(frozen=True, kw_only=True)
class Sample(SamplingOptions, StoreOptions):
    """HGSampling subgraphs as Parquet, so that anyone can check them with a join.

    rows.parquet has sample, table, row; edges.parquet has sample, edge_type ("child table.foreign-key column"), child, parent; all row numbers.
    balance.png shows rows per table and links per key beside plain neighbour sampling."""

    out: Path
    """Folder to write."""
    samples: int = 100
    """How many."""
    preset: Literal["robust", "paper"] = "robust"
    """Whose sampling settings."""
    max_steps: tyro.conf.Suppress[int | None] = None

    def run(self) -> dict[str, Any]:
        from distributed.commands.data import run_sample

        return run_sample(self)


@dataclass(frozen=True, kw_only=True)
class Pretrain(SamplingOptions, StoreOptions):
    """Contrastive pretraining without labels, through Ray Data and Ray Train."""

    preset: str = "robust"
    """'robust' (recommended), 'paper' (arXiv 2506.22530), or a preset file with its own seed (`python -m tune report` writes one)."""
    workers: Annotated[WorkerRange, WORKERS] = WorkerRange()
    """Worker processes. 1:4 is elastic: as many from 1 to 4 as the cluster has place for, now and later; a step is the same samples all the time."""
    rows: Literal["linear", "resnet"] | None = None
    """How a row becomes a vector. Default: the preset's (linear; paper: resnet)."""
    num_layers: int | None = None
    """GraphSAGE layers. Default: the preset's (2)."""
    aggregation: Literal["sum", "mean"] | None = None
    """Of neighbours. Default: the preset's (mean; paper: sum)."""
    corruption: float | None = None
    """Probability of a cell to be replaced in the second view. Default: the preset's (0.4)."""
    samples_per_step: int | None = None
    """Subgraphs of a step over all workers; at least one each. Default: the preset's (1)."""
    max_negatives: int | None = None
    """Most negatives of a row. Default: the preset's (256)."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the encoder's matrix products: 'float32', or 'bfloat16' by autocast; weights, Adam, norms and losses stay float32.
    Default: the preset's (float32)."""
    validation_interval_steps: int | None = None
    """Steps between validations. Default: the preset's (50)."""
    validation_samples: int | None = None
    """Subgraphs of a validation. Default: the preset's (50)."""
    checkpoint_interval_steps: int | None = None
    """Updates between checkpoints. Default: only by time, and at each validation."""
    checkpoint_interval_s: float = 300.0
    """Seconds between checkpoints, besides those at validations."""
    checkpoints_to_keep: int = 3
    """The last so many stay."""
    wandb: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Track with Weights & Biases (offline if there is no key)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset not in ("robust", "paper"):
            from distributed.runs.preset_file import check_preset_name

            check_preset_name(self.preset)

    def run(self) -> dict[str, Any]:
        from distributed.commands.pretrain import run_pretrain

        return run_pretrain(self)


@dataclass(frozen=True, kw_only=True)
class Finetune(WorkerOptions):
    """An entity task in one arm: scratch, frozen or finetuned."""

    task: str
    """Of the database."""
    arm: Literal["scratch", "frozen", "finetuned"]
    """'scratch' (fresh backbone), 'frozen' (pretrained, only the head learns) or 'finetuned' (all learns)."""
    regime: Literal["rolling", "snapshot"] = "rolling"
    """'rolling': a row sees everything before its own time; 'snapshot': of a database cut at the test timestamp."""
    checkpoint: Path | None = None
    """What `pretrain` printed under "checkpoint"; for frozen and finetuned."""
    preset: Literal["robust", "paper"] = "robust"
    """'robust' or 'paper'."""
    rows: Literal["linear", "resnet"] | None = None
    """Of arm scratch: how a row becomes a vector. Default: the preset's (linear; paper: resnet)."""
    num_layers: int | None = None
    """Of arm scratch: GraphSAGE layers. Default: the preset's (2)."""
    aggregation: Literal["sum", "mean"] | None = None
    """Of arm scratch. Default: the preset's (mean; paper: sum)."""
    learning_rate: float | None = None
    """Of Adam. Default: the preset's (0.001; paper: 0.005)."""
    validation_interval_steps: int | None = None
    """Steps between validations. Default: the preset's (100)."""

    def run(self) -> dict[str, Any]:
        from distributed.commands.tasks import run_finetune

        return run_finetune(self)


@dataclass(frozen=True, kw_only=True)
class Evaluate(StoreOptions):
    """A fine-tuned checkpoint scored by task.evaluate on validation and test."""

    checkpoint: Path
    """What `finetune` printed under "checkpoint"."""
    regime: Literal["rolling", "snapshot"] | None = None
    """Default: the one it was fine-tuned for."""
    max_steps: tyro.conf.Suppress[int | None] = None
    seed: tyro.conf.Suppress[int | None] = None

    def run(self) -> dict[str, Any]:
        from distributed.commands.tasks import run_evaluate

        return run_evaluate(self)


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run is, from its folder alone: running, finished, failed or silent, how far, and what happened to it.

    Shows the step and how many are left, the last validation's losses, steps/s, the newest checkpoint and its age, every restart with its reason, its
    cost in steps and seconds, workers and nodes, and where the curves are. Needs no Ray and no GPU, changes nothing, works while the run runs, on any
    machine that sees the folder:

        python -m distributed status pretrain-shop-1a2b3c4d --runs-dir /mnt/shared/runs
        watch -n 30 python -m distributed status /mnt/shared/runs/pretrain-shop-1a2b3c4d

    "silent" is a run without a step or an event for five minutes: dead, hung, or waiting for machines. Run its command again: it goes on from the
    checkpoint, or refuses if it still runs."""

    run_folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Name of a run below runs-dir, or its folder."""
    runs_dir: Path = Path("runs")
    """Where run folders are."""
    json: bool = False
    """Print all of it as the last line of stdout."""

    def run(self) -> dict[str, Any]:
        from distributed.commands.pretrain import run_status_command

        return run_status_command(self)
