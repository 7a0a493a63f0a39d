"""Commands of entity tasks: finetune, evaluate (data_commands.py says what a command is)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distributed.evaluate import evaluate
from distributed.finetune import FinetuneJob, check_arm, run_data_parallel, run_job
from distributed.options import StoreOptions, WorkerOptions, replaced
from distributed.progress import bar, say
from distributed.report import show_results
from distributed.runs import finish
from rdl_core.backbone import BackboneConfig
from rdl_core.config import PRESETS, Arm, FinetuningConfig, PresetName, Regime
from rdl_core.database import load_task
from rdl_core.downstream import as_deep_as
from rdl_core.finetuning import FinetuningResult
from rdl_core.model_io import from_pretrained, weights_digest


@dataclass(frozen=True, kw_only=True)
class Finetune(WorkerOptions):
    """An entity task in one arm: scratch, frozen or finetuned."""

    task: str
    """Of the database."""
    arm: Arm
    """'scratch' (fresh backbone), 'frozen' (pretrained, only the head learns) or 'finetuned' (all learns)."""
    regime: Regime = "rolling"
    """'rolling': a row sees everything before its own time; 'snapshot': of a database cut at the test timestamp."""
    checkpoint: Path | None = None
    """What `pretrain` printed under "checkpoint"; for frozen and finetuned."""
    preset: PresetName = "robust"
    """'robust' or 'paper'."""
    rows: Literal["linear", "resnet"] | None = None
    """Of arm scratch: how a row becomes a vector. Default: the preset's."""
    num_layers: int | None = None
    """Of arm scratch: GraphSAGE layers. Default: the preset's."""
    aggregation: Literal["sum", "mean"] | None = None
    """Of arm scratch. Default: the preset's."""
    learning_rate: float | None = None
    """Default: the preset's."""
    validation_interval_steps: int | None = None
    """Default: the preset's."""

    def run(self) -> dict[str, Any]:
        check_arm(self.arm, self.checkpoint)
        data, dataset = self.open_data()
        load_task(dataset, self.task)
        backbone, weights = self.backbone()
        config = as_deep_as(self.config(), backbone)
        settings = {
            "task": self.task, "arm": self.arm, "regime": self.regime, "workers": self.workers, "checkpoint": weights,
            "finetuning": dataclasses.asdict(config), "backbone": dataclasses.asdict(backbone),
        }  # fmt: skip
        run = self.open_run("finetune", dataset, settings)
        if (finished := run.result()) is not None:
            say(f"run {run.name} is finished; nothing to do")
            return finished
        store = self.open_store(dataset)
        job = FinetuneJob(
            data=data, store_path=store.place, task=self.task, arm=self.arm, regime=self.regime, config=config,
            checkpoint=None if self.checkpoint is None else str(self.checkpoint), backbone=backbone,
            out=str(run.folder / "model"),
        )  # fmt: skip
        result = run_data_parallel(job, run.folder, self.workers) if self.workers > 1 else _run_with_bar(job)
        show_results([result])
        say(f"checkpoint {run.folder / 'model'}")
        return finish(run, {**dataclasses.asdict(result), "checkpoint": str(run.folder / "model")})

    def config(self) -> FinetuningConfig:
        return replaced(
            PRESETS[self.preset]().finetuning, seed=self.seed, max_steps=self.max_steps,
            learning_rate=self.learning_rate, validation_interval_steps=self.validation_interval_steps,
        )  # fmt: skip

    def backbone(self) -> tuple[BackboneConfig, str | None]:
        """(form of the backbone, digest of the checkpoint's weights)."""
        if self.checkpoint is not None:
            if (self.rows, self.num_layers, self.aggregation) != (None, None, None):
                raise ValueError("--rows, --num-layers and --aggregation are for arm scratch; a checkpoint has its own")
            return from_pretrained(self.checkpoint, kind="pretrained").backbone, weights_digest(self.checkpoint)
        preset = PRESETS[self.preset]().pretraining.backbone
        rows = replaced(preset.rows, model=self.rows)
        return replaced(preset, rows=rows, num_layers=self.num_layers, aggregation=self.aggregation), None


@dataclass(frozen=True, kw_only=True)
class Evaluate(StoreOptions):
    """A fine-tuned checkpoint scored by task.evaluate on validation and test."""

    checkpoint: Path
    """What `finetune` printed under "checkpoint"."""
    regime: Regime | None = None
    """Default: the one it was fine-tuned for."""

    def run(self) -> dict[str, Any]:
        data, dataset = self.open_data()
        from_pretrained(self.checkpoint, kind="finetuned")
        settings = {"checkpoint": weights_digest(self.checkpoint), "regime": self.regime}
        run = self.open_run("evaluate", dataset, settings)
        store = self.open_store(dataset)
        result = evaluate(data, store.place, str(self.checkpoint), self.regime)
        say(f"{result['task']} ({result['regime']}): val {result['val']}, test {result['test']}")
        return finish(run, result)


def _run_with_bar(job: FinetuneJob) -> FinetuningResult:
    with bar() as progress:
        shown = progress.add_task(f"{job.task} {job.arm}", total=job.config.max_steps, text="")
        last = {"val": ""}
        return run_job(
            job,
            on_step=lambda step, loss: progress.update(shown, completed=step, text=f"loss {loss:.3f} {last['val']}"),
            on_validation=lambda step, value: last.update(val=f"val {value:.4f}"),
        )
