"""The options of each command, as dataclasses of which tyro makes the command line; what a command does is in the module that COMMANDS names.

Configurations are fields like any other, so every setting of every preset is an option: `--config.backbone.channels 64`. Options with a short name
(`--learning-rate`) name a setting of a configuration, too: SHORT says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import tyro

from distributed.commands.command_line import Command
from distributed.commands.shared_options import (
    HOURS,
    WORKERS,
    RunOptions,
    SamplingOptions,
    StoreOptions,
    WorkerOptions,
    WorkerRange,
    require_positive,
)
from distributed.importing.config import ImportConfig
from distributed.runs.preset_file import pretraining_preset
from distributed.sharing.push import Push
from rdl_core.checkpoint_files import backbone_of, read_description
from rdl_core.config import (
    PRESETS,
    AggregationKind,
    Arm,
    BackboneConfig,
    CalibrationName,
    ColumnsConfig,
    FinetuningConfig,
    HeadName,
    HeadsConfig,
    HGSamplingConfig,
    Level,
    LinkConfig,
    Precision,
    Preset,
    PresetName,
    PretrainingConfig,
    Regime,
    RowsKind,
)

Given = Callable[[str], str | None]
"""The last value that a command line gives an option, or None."""


def with_given_kinds(backbone: BackboneConfig, given: Given, prefix: str) -> BackboneConfig:
    """Returns the backbone with the kinds of rows and aggregation that the command line names: they decide which further fields there are."""
    kinds: dict[str, Any] = {}
    for name, known in (("rows", get_args(RowsKind)), ("aggregation", get_args(AggregationKind))):
        short = given(f"--{name}")  # a word that is no kind is refused when the option is read
        kinds[name] = short if short in known else given(f"{prefix}.{name}.kind")
    return backbone.of_kind(**kinds)


def given_preset(given: Given) -> Preset:
    """Returns the built-in preset that the command line names."""
    return PRESETS.get(given("--preset") or "robust", PRESETS["robust"])()


def pretrained_backbone(checkpoint: Path) -> BackboneConfig:
    """Returns the form of a checkpoint's backbone.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: It is of another kind, or damaged.
    """
    return backbone_of(read_description(checkpoint, kind="pretrained"))


@dataclass(frozen=True, kw_only=True)
class Import(ImportConfig, RunOptions):
    """SQL database, or folder of CSV/Parquet files, to a RelBench-3 folder.

    rdl import --source sqlite:///shop.db --out data/shop --name shop --val-timestamp 2024-06-01 --test-timestamp 2024-09-01

    Files declare no keys, and many databases neither. Then either look first, and change what is proposed:

        rdl import --source dump/ --propose schema.yaml
        rdl import --source dump/ --schema-file schema.yaml --out data/dump --name dump --val-timestamp ... --test-timestamp ...

    or take what is certain at once, the timestamps too:

        rdl import --source dump/ --accept --out data/dump --name dump"""


@dataclass(frozen=True, kw_only=True)
class Materialize(WorkerOptions):
    """RelBench-3 folder to REG store: semantic types, statistics and vocabularies from rows up to the cutoff, topology, cells.

    With --workers 2 or more, tables are encoded in parallel by Ray Data."""

    append: Path | None = None
    """The store of the data as it was before `rdl import --append`: the cells and vectors of its rows are copied, only new rows are encoded, by its
    schema (as with --schema-of)."""

    def __post_init__(self) -> None:
        WorkerOptions.__post_init__(self)
        if self.append is not None and (
            self.workers > 1 or self.schema_of is not None or "://" in (self.stores_dir or "")
        ):
            raise ValueError(
                "--append takes its schema from the earlier store, here: without --schema-of, --workers and a URL as --stores-dir"
            )


@dataclass(frozen=True, kw_only=True)
class Sample(SamplingOptions, StoreOptions):
    """HGSampling subgraphs as Parquet, so that anyone can check them with a join.

    rows.parquet has sample, table, row; edges.parquet has sample, edge_type ("child table.foreign-key column"), child, parent; all row numbers.
    balance.png shows rows per table and links per key beside plain neighbour sampling."""

    out: Path
    """Folder to write."""
    samples: int = 100
    """Number of subgraphs."""
    preset: PresetName = "robust"
    """Preset whose sampling settings are taken."""
    seed: int = 0
    """Random seed."""
    sampling: HGSamplingConfig
    """Form of one sample."""

    def __post_init__(self) -> None:
        SamplingOptions.__post_init__(self)
        require_positive(self, "samples")

    @classmethod
    def defaults(cls, given: Given) -> Sample:
        return cls(out=tyro.MISSING, sampling=given_preset(given).pretraining.sampling)


@dataclass(frozen=True, kw_only=True)
class Pretrain(SamplingOptions, StoreOptions):
    """Pretraining without labels, by contrast and by what comes next, through Ray Data and Ray Train.

    Every setting of the preset is an option, below as --config...; --rows and --aggregation choose which settings those parts have:

        rdl pretrain --data shop --max-steps 500
        rdl pretrain --data shop --preset paper --config.learning-rate 3e-4 --config.max-hours 12
        rdl pretrain --data shop --rows resnet --config.backbone.rows.dropout 0.1 --config.backbone.channels 128

    Next month, with new rows, it goes on from the model that there is:

        rdl pretrain --data shop-july --init-from runs/pretrain-shop-1a2b3c4d/model --max-steps 200"""

    SHORT: ClassVar[Mapping[str, str]] = {
        "rows": "config.backbone.rows",
        "num_layers": "config.backbone.num_layers",
        "aggregation": "config.backbone.aggregation",
        "levels": "config.levels",
        "corruption": "config.corruption.probability",
        "samples_per_step": "config.samples_per_step",
        "max_negatives": "config.loss.max_negatives",
        "precision": "config.precision",
        "validation_interval_steps": "config.validation_interval_steps",
        "validation_samples": "config.validation_samples",
        "max_steps": "config.max_steps",
        "seed": "config.seed",
    }

    preset: str = "robust"
    """'robust' (contrast on three levels and what follows a time, on exact statistics of the past), 'contrast' (the three levels alone), 'paper'
    (likewise, as in arXiv 2506.22530), or a preset file with its own seed (`rdl report` writes one)."""
    workers: Annotated[WorkerRange, WORKERS] = WorkerRange()
    """Worker processes. 1:4 is elastic: as many from 1 to 4 as the cluster has place for, now and later; a step is the same samples all the time."""
    init_from: Path | None = None
    """A pretrained model (its folder, or org/name on the hub) whose weights the run begins with. The data is read by its schema, as with --schema-of;
    categories that it does not know get weights of their own."""
    max_steps: int | None = None
    """Most updates. Default: the preset's (400; paper: 2000)."""
    seed: int | None = None
    """Random seed. Default: 0, or a preset file's own."""
    rows: RowsKind | None = None
    """The way in which a row becomes a vector. Default: the preset's (linear; paper: resnet)."""
    num_layers: int | None = None
    """Layers of message passing. Default: the preset's (0; paper: 2)."""
    aggregation: AggregationKind | None = None
    """The aggregation of a row's neighbours. Default: the preset's (mean; paper: sum)."""
    levels: tuple[Level, ...] | None = None
    """Levels of the loss: some of row, link, context (contrast) and future (what follows a time).
    Default: the preset's (row link context future; paper: row link context)."""
    corruption: float | None = None
    """Probability that a cell is replaced in the second view. Default: the preset's (0.4)."""
    samples_per_step: int | None = None
    """Subgraphs per step over all workers; at least one each. Default: the preset's (1)."""
    max_negatives: int | None = None
    """Most negatives per row. Default: the preset's (256)."""
    precision: Precision | None = None
    """Precision of the encoder's matrix products: 'float32', or 'bfloat16' by autocast; weights, Adam, norms and losses stay float32.
    Default: the preset's (float32)."""
    validation_interval_steps: int | None = None
    """Steps between validations. Default: the preset's (50)."""
    validation_samples: int | None = None
    """Subgraphs per validation. Default: the preset's (50)."""
    checkpoint_interval_steps: int | None = None
    """Updates between checkpoints. Default: only by time, and at each validation."""
    checkpoint_interval_s: float = 300.0
    """Seconds between checkpoints, besides those at validations."""
    checkpoints_to_keep: int = 3
    """Number of newest checkpoints that stay."""
    wandb: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Track with Weights & Biases (offline if there is no key)."""
    config: PretrainingConfig
    """All settings of the run."""

    def __post_init__(self) -> None:
        SamplingOptions.__post_init__(self)
        require_positive(self, "checkpoint_interval_steps", "checkpoints_to_keep")
        if self.init_from is not None and self.schema_of is not None:
            raise ValueError("--init-from reads the data by its own model's schema; leave --schema-of out")

    @classmethod
    def defaults(cls, given: Given) -> Pretrain:
        config, model = pretraining_preset(given("--preset") or "robust"), given("--init-from")
        start = config.backbone
        if model is not None:
            with suppress(OSError, ValueError):  # the command refuses it
                start = pretrained_backbone(Path(model))
        backbone = with_given_kinds(start, given, "--config.backbone")
        return cls(config=replace(config, backbone=backbone))


@dataclass(frozen=True, kw_only=True)
class Finetune(WorkerOptions):
    """An entity task, or a link task (recommendation), in one arm: scratch, frozen or finetuned.

    Every setting is an option, below as --config... (the run) and --backbone... (the model of arm scratch):

        rdl finetune --data shop --task customer-churn --arm finetuned --checkpoint runs/pretrain-shop-1a2b3c4d/model
        rdl finetune --data shop --task customer-churn --arm scratch --seeds 5 --preset contrast --config.sampling.num-neighbors 64 32

    Beside the network, models of columns that are generated from the schema, and what is to be beaten:

        rdl finetune --data shop --task customer-churn --arm scratch --heads network linear lightgbm blend --baseline"""

    SHORT: ClassVar[Mapping[str, str]] = {
        "rows": "backbone.rows",
        "num_layers": "backbone.num_layers",
        "aggregation": "backbone.aggregation",
        "learning_rate": "config.learning_rate",
        "validation_interval_steps": "config.validation_interval_steps",
        "max_steps": "config.max_steps",
        "time_budget": "config.max_hours",
        "label_share": "config.label_share",
        "label_stride": "config.label_stride",
        "refit": "config.refit",
        "seed": "config.seed",
    }

    task: str
    """Name of a task of the database."""
    arm: Arm
    """'scratch' (fresh backbone), 'frozen' (pretrained, only the head learns) or 'finetuned' (all learns)."""
    regime: Regime = "rolling"
    """'rolling': a row sees everything before its own time; 'snapshot': of a database cut at the test timestamp."""
    checkpoint: Path | None = None
    """Folder that `pretrain` printed under "checkpoint"; for frozen and finetuned."""
    preset: PresetName = "robust"
    """'robust' (reads exact statistics and columns), 'contrast' or 'paper': the one that the checkpoint was pretrained with."""
    max_steps: int | None = None
    """Most updates. Default: the preset's (600; paper: 2000)."""
    seed: int | None = None
    """Random seed. Default: 0."""
    time_budget: Annotated[float | None, HOURS] = None
    """Most time that training takes, such as 90s, 10m or 1h30m, over all restarts; the best weights by then are kept. It is the setting
    config.max-hours in other words. A refit and the folds of a blend, which train for as many epochs again, come on top. Default: 2 hours."""
    seeds: int = 1
    """Number of runs, with seeds from --seed on; above 1, the mean and its standard error are printed and written."""
    rows: RowsKind | None = None
    """The way in which a row becomes a vector, in arm scratch. Default: the preset's (linear; paper: resnet)."""
    num_layers: int | None = None
    """Layers of message passing, in arm scratch. Default: the preset's (0; paper: 2)."""
    aggregation: AggregationKind | None = None
    """The aggregation of a row's neighbours, in arm scratch. Default: the preset's (mean; paper: sum)."""
    learning_rate: float | None = None
    """Learning rate of Adam. Default: the preset's (0.001; paper: 0.005)."""
    validation_interval_steps: int | None = None
    """Steps between validations. Default: the preset's (10; paper: 100)."""
    label_share: float | None = None
    """Share of the train labels to learn from, such as 0.1. Default: the preset's (1.0)."""
    label_stride: float | None = None
    """Label replay: run the task's SQL at further seed times, this share of its timedelta apart, such as 0.25. Default: the preset's (None)."""
    refit: bool = False
    """Train again at the end on every label whose window has closed, validation's too: test is reported before and after, the model saved is the
    second."""
    heads: tuple[HeadName, ...] = ("network",)
    """Heads that predict, beside the network: 'linear' (L2-regularised, on the best generated columns), 'lightgbm' (on them) and 'blend' (all of
    these, weighted). Their settings are chosen on windows of time inside train. A blend trains the network again on the newest windows. All are
    kept in the model's folder; the one that is best on validation predicts unless another is asked for."""
    baseline: bool = False
    """Show beside it what it must beat: a trivial prediction, and LightGBM on all generated columns as most people would fit it."""
    calibrate: CalibrationName | None = None
    """Binary tasks: a map of each head's probabilities, fitted on validation and kept with the model: 'isotonic' (any rising map; some hundred labels
    or more) or 'platt' (two numbers). Brier score, expected calibration error and a reliability plot are reported before and after."""
    config: FinetuningConfig
    """All settings of the run."""
    backbone: BackboneConfig
    """The model of arm scratch."""
    column_heads: HeadsConfig = HeadsConfig()
    """Candidates of the heads on columns."""
    columns: ColumnsConfig = ColumnsConfig()
    """The generated columns."""
    links: LinkConfig = LinkConfig()
    """Settings of link tasks (recommendation)."""

    def __post_init__(self) -> None:
        require_positive(self, "workers", "seeds")
        if "network" not in self.heads:
            raise ValueError(
                f"--heads {' '.join(self.heads)} lacks network, which this command trains in any case: --heads network {' '.join(self.heads)}"
            )
        if len(set(self.heads)) < len(self.heads):
            raise ValueError(f"--heads {' '.join(self.heads)} names a head twice")

    @classmethod
    def defaults(cls, given: Given) -> Finetune:
        preset, checkpoint = given_preset(given), given("--checkpoint")
        start = preset.pretraining.backbone
        if checkpoint is not None:
            with suppress(OSError, ValueError):  # the command refuses it, after an arm that takes none
                start = pretrained_backbone(Path(checkpoint))
        backbone = with_given_kinds(start, given, "--backbone")
        return cls(
            task=tyro.MISSING,
            arm=tyro.MISSING,
            refit=preset.finetuning.refit,
            config=preset.finetuning,
            backbone=backbone,
        )


@dataclass(frozen=True, kw_only=True)
class Features(StoreOptions):
    """A task's columns from the schema alone, as one Parquet file: exact statistics of each entity's past, and of the rows that its keys lead to.

    The file has the task's entity, time and target columns, `split`, and a column per feature, named in words:

        mean of results.points over the last 4 via driverId
        mean over the latest 16 order_lines via order_id of product_id's mean of reviews.stars over all via product_id

    in the cells' own units; nothing at or after a row's time is in it. Give it to LightGBM, or to whatever you like:

        rdl features --data shop --task customer-churn --out churn.parquet
        rdl features --data shop --task customer-churn --out churn.parquet --split train val --columns.hops 2"""

    task: str
    """Name of a task of the database."""
    out: Path
    """Parquet file to write."""
    split: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
    """Splits whose rows are written."""
    regime: Regime = "rolling"
    """'rolling': a row sees everything before its own time; 'snapshot': of a database cut at the test timestamp."""
    columns: ColumnsConfig = ColumnsConfig()
    """The columns that are generated."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(StoreOptions):
    """A fine-tuned checkpoint scored by task.evaluate on validation and test."""

    checkpoint: Path
    """Folder that `finetune` printed under "checkpoint"."""
    regime: Regime | None = None
    """Regime to score in. Default: the one it was fine-tuned for."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """State of a run, told from its folder alone: running, finished, failed or silent, how far, and what happened to it.

    Shows the step, the last validation's losses, the newest checkpoint, the workers, and every restart with its reason and the steps done again.
    Needs no Ray and no GPU, changes nothing, works while the run runs, on any machine that sees the folder:

        rdl status pretrain-shop-1a2b3c4d --runs-dir /mnt/shared/runs
        watch -n 30 rdl status /mnt/shared/runs/pretrain-shop-1a2b3c4d

    "silent" is a run without a step or an event for five minutes: dead, hung, or waiting for machines. Run its command again: it goes on from the
    checkpoint, or refuses if it still runs."""

    run_folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Name of a run below runs-dir, or its folder."""
    runs_dir: Path = Path("runs")
    """Folder of run folders."""
    json: bool = False
    """Print all of it as the last line of stdout."""


COMMANDS: dict[str, Command] = {
    "import": Command(options=Import, runner="distributed.commands.data:run_import"),
    "materialize": Command(options=Materialize, runner="distributed.commands.data:run_materialize"),
    "sample": Command(options=Sample, runner="distributed.commands.data:run_sample"),
    "pretrain": Command(options=Pretrain, runner="distributed.commands.pretrain:run_pretrain"),
    "features": Command(options=Features, runner="distributed.commands.features:run_features"),
    "finetune": Command(options=Finetune, runner="distributed.commands.tasks:run_finetune"),
    "evaluate": Command(options=Evaluate, runner="distributed.commands.tasks:run_evaluate"),
    "push": Command(options=Push, runner="distributed.sharing.push:run_push"),
    "status": Command(options=Status, runner="distributed.commands.pretrain:run_status_command"),
}
