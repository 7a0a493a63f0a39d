"""The plan of a sweep: its trials, and how they are measured and stopped; sweep.json and every trial's preset file hold it.

Promises: every trial is validated alike (corruption 0.4, the same samples and draws, whatever its own corruption and seed), and downstream tasks are
measured alike; a trial's complete configuration stands in its preset file before it starts.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distributed.runs.folder import write_json
from distributed.runs.preset_file import write_preset_file
from rdl_core.config import PretrainingConfig
from rdl_core.place import Place
from rdl_core.tasks.downstream import OBJECTIVE, DownstreamConfig
from tune.search_space import SearchSpace, Setting, with_setting
from tune.trials.resources import Execution

VALIDATION_CORRUPTION = 0.4
VALIDATION_SAMPLES = 50
VALIDATIONS_PER_TRIAL = 8
"""Default number of validations: with a reduction factor of 2, rungs lie at 1/8, 1/4, 1/2 of the steps."""
EarlyStopping = Literal["asha", "none"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A setting with a seed."""

    id: str
    setting: Setting
    seed: int
    config: PretrainingConfig


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The trials of a sweep and how they run.

    Args:
        folder: The sweep's folder.
        store_path: The store that all trials map.
        base: The configuration around which settings vary.
        trials: The trials in order; in a search by suggestions, those so far.
        space: The space from which further settings are suggested; None when all trials are known.
        samples: Number of trials in the end, in a search by suggestions.
        early_stopping: "asha", or "none" to run every trial to its end.
        reduction_factor: ASHA's ratio of the steps of two successive rungs.
        downstream: Tasks by which trials are compared; None to compare the validation loss.
        workers: Workers per trial.
        execution: "in_process", "ray_train", or "auto": in the trial's process with one CPU worker, else by Ray Train.
        max_concurrent: Upper bound of the trials at a time; None for as many as fit.
        hang_after_s: Seconds without a step after which a trial has hung.
        wandb: Whether to track with Weights & Biases.
        store_options: Command-line options by which `pretrain` makes the same store.
        finetune_options: Command-line options by which `finetune` measures a task alike.
    """

    folder: Path
    store_path: Place
    base: PretrainingConfig
    trials: list[Trial]
    space: SearchSpace | None = None
    samples: int = 0
    early_stopping: EarlyStopping = "asha"
    reduction_factor: float = 2.0
    downstream: DownstreamConfig | None = None
    workers: int = 1
    execution: Execution = "auto"
    max_concurrent: int | None = None
    hang_after_s: float = 600.0
    wandb: bool = True
    store_options: tuple[str, ...] = ()
    finetune_options: tuple[str, ...] = ()

    @property
    def configs(self) -> dict[str, PretrainingConfig]:
        return {trial.id: trial.config for trial in self.trials}

    @property
    def num_trials(self) -> int:
        """Number of trials in the end."""
        return max(self.samples, len(self.trials))

    @property
    def metric(self) -> str:
        """Name of what trials are compared by; lower is better."""
        return "best_loss" if self.downstream is None else OBJECTIVE

    def write(self) -> None:
        """Writes sweep.json, and after it the preset files of trials that have none: every preset belongs to a trial that the sweep knows."""
        description: Mapping[str, Any] = {
            "store": str(self.store_path),
            "max_steps": self.base.max_steps,
            "early_stopping": self.early_stopping,
            "validation_interval_steps": self.base.validation_interval_steps,
            "reduction_factor": self.reduction_factor,
            "metric": self.metric,
            "downstream": self.downstream and dataclasses.asdict(self.downstream),
            "workers_per_trial": self.workers,
            "store_options": self.store_options,
            "finetune_options": self.finetune_options,
            "trials": [{"id": t.id, "config": t.setting, "seed": t.seed} for t in self.trials],
        }
        write_json(self.folder / "sweep.json", description)
        for trial in self.trials:
            path = self.folder / "trials" / trial.id / "preset.yaml"
            about = {"sweep": self.folder.name, "trial": trial.id, "setting": trial.setting, "workers": self.workers}
            if not path.exists():
                write_preset_file(path, trial.config, about)

    def trial(self, number: int, setting: Setting, seed: int) -> Trial:
        """Returns the trial of this number; ids follow from the order."""
        width = len(str(max(self.num_trials, number + 1) - 1))
        config = dataclasses.replace(with_setting(self.base, setting), seed=seed)
        return Trial(id=f"{number:0{width}d}", setting=setting, seed=seed, config=config)


def with_known_trials(plan: SweepPlan) -> SweepPlan:
    """Returns the plan of a search by suggestions with the trials of earlier sessions."""
    path = plan.folder / "sweep.json"
    if plan.space is None or not path.exists():
        return plan
    known = json.loads(path.read_text())["trials"]
    trials = [plan.trial(number, t["config"], t["seed"]) for number, t in enumerate(known)]
    return dataclasses.replace(plan, trials=trials)


def base_config(
    config: PretrainingConfig,
    *,
    max_steps: int | None = None,
    validation_interval_steps: int | None = None,
    validation_samples: int = VALIDATION_SAMPLES,
    seed: int = 0,
) -> PretrainingConfig:
    """Returns a configuration with the validation that all trials of a sweep share.

    What would end a trial by itself before its last step is left out, so that trials are compared after equal steps: `stop_below` (good enough cannot
    be told from better), `patience`, and `max_hours`, by which a loss would depend on how busy the machine was.
    """
    steps = max_steps or config.max_steps
    return dataclasses.replace(
        config,
        max_steps=steps,
        seed=seed,
        stop_below=None,
        patience=None,
        max_hours=None,
        validation_fresh=False,
        validation_corruption=VALIDATION_CORRUPTION,
        validation_interval_steps=validation_interval_steps or max(1, steps // VALIDATIONS_PER_TRIAL),
        validation_seed=seed,
        validation_samples=validation_samples,
    )


def with_trials(plan: SweepPlan, found: list[Setting], seeds: int) -> SweepPlan:
    """Returns the plan with a trial for every setting and each of `seeds` seeds, counted from the base's."""
    pairs = [(setting, plan.base.seed + k) for setting in found for k in range(seeds)]
    sized = dataclasses.replace(plan, samples=len(pairs))
    return dataclasses.replace(sized, trials=[sized.trial(n, setting, seed) for n, (setting, seed) in enumerate(pairs)])


def rung_steps(base: PretrainingConfig, early_stopping: EarlyStopping, reduction_factor: float) -> tuple[int, ...]:
    """Returns the steps of the validations at which trials are compared: the first at or after each rung, and the last."""
    interval, steps = base.validation_interval_steps, {base.max_steps}
    rung = float(interval)
    while early_stopping == "asha" and rung < base.max_steps:
        steps.add(min(base.max_steps, math.ceil(rung / interval) * interval))
        rung *= reduction_factor
    return tuple(sorted(steps))
