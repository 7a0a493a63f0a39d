"""Heads and baselines on columns beside the network of a finetune run: what they need of it, and what they leave.

    <run>/head_predictions.parquet    split, entity, time, head, prediction
    <run>/heads.json                  their figures, settings and weights
    <run>/model/heads/                the heads themselves, and in config.json what is said of them and of the network (rdl_core/prediction)
    <run>/reliability.png             with a calibration

Promises: labels that heads on columns cannot be chosen on, or a calibration not be fitted to, are refused before the network is trained; what an
earlier call has finished is not done again; without heads and baselines no column is computed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distributed.commands.options import Finetune
from distributed.console import say
from distributed.heads.kept import HeadKeeper, RunHeads
from distributed.runs.finetuning_journal import begin_phase
from distributed.runs.folder import write_json
from distributed.runs.journal import Journal
from distributed.runs.watch_finetuning import watched_finetuning
from rdl_core.config import FinetuningConfig
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from rdl_core.statistics.columns import Columns
from rdl_core.tasks.column_heads import ColumnHeads, ColumnHeadsResult, HeadScores
from rdl_core.tasks.finetuning_result import FinetuningResult, predictions_path
from rdl_core.tasks.prediction_file import read_predictions, write_head_predictions

if TYPE_CHECKING:
    from relbench.load import RelBenchDataset

PREDICTIONS, FIGURES = "head_predictions.parquet", "heads.json"


class HeadsBeside:
    """Heads and baselines of one run.

    Args:
        options: Of the command.
        store, dataset: The data.
        config: Of the network, with the run's own seed.

    Raises:
        InputError: The labels of train have no time by which earlier windows are closed; or those of validation are none to calibrate on.
    """

    def __init__(self, options: Finetune, store: Store, dataset: RelBenchDataset, config: FinetuningConfig) -> None:
        self.options = options
        task = load_task(dataset, options.task)
        self._keeper = HeadKeeper(task, options.regime, store.test_timestamp_s, options.calibrate)
        self._heads: ColumnHeads | None = None
        self.network_folds: tuple[Fold, ...] = ()
        """Windows on which the network is trained again, for a blend."""
        if options.baseline or options.heads != ("network",):
            self._heads = ColumnHeads(store, task, options.regime, config, options.column_heads, options.columns)
        if self._heads is not None and options.heads != ("network",):
            folds = self._heads.folds()
            if "blend" in options.heads:
                self.network_folds = tuple(folds[-options.column_heads.network_folds :])

    def run(self, network: FinetuningResult, model: Path) -> dict[str, Any]:
        """Returns {"heads", "baselines", "about", "blend", "head_predictions"}, and what `HeadKeeper.keep` does; the latter alone where only the
        network predicts.

        Args:
            network: The network's figures.
            model: Its folder, beside which its predictions lie and files go.
        """
        folder, network_predictions = model.parent, read_predictions(predictions_path(model))
        if self._heads is None:
            return self._keeper.keep(_network_alone(network, network_predictions), model)
        if (path := folder / FIGURES).exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        journal = Journal(folder)
        with watched_finetuning({f"{network.task} seed {network.seed}": journal}):
            begin_phase(journal, "heads", 0, ())
            result = self._heads.run(
                self.options.heads,
                network=network_predictions,
                baseline=self.options.baseline,
                advance=lambda text: journal.reach(0, text),
            )
        every = {**result.heads, **{f"baseline {name}": scores for name, scores in result.baselines.items()}}
        predictions = {name: scores.predictions for name, scores in every.items() if name != "network"}
        write_head_predictions(folder / PREDICTIONS, self._heads.task, self._heads.labels, predictions)
        heads = heads_of(result, self._heads.columns)
        if self.options.column_heads.cohort_columns:
            say(
                "heads that read cohort columns are reported and not kept: a single prediction has no cohort; the network predicts"
            )
            heads = _network_alone(network, network_predictions)
        kept = self._keeper.keep(heads, model)
        figures = figures_of(result) | {"head_predictions": str(folder / PREDICTIONS)} | kept
        write_json(path, figures)
        return figures


def _network_alone(result: FinetuningResult, predictions: Mapping[str, NDArray[np.float64]]) -> RunHeads:
    return RunHeads(metrics={"network": result.val}, predictions={"network": predictions})


def heads_of(result: ColumnHeadsResult, columns: Columns) -> RunHeads:
    """Returns the heads of a run as they are kept."""
    return RunHeads(
        metrics={name: scores.val for name, scores in result.heads.items()},
        predictions={name: scores.predictions for name, scores in result.heads.items()},
        models=result.models,
        weights={} if result.blend is None else result.blend.weights,
        columns=columns,
    )


def figures_of(result: ColumnHeadsResult) -> dict[str, Any]:
    """Returns {"heads", "baselines": {name: {"val", "test", ...}}, "about": {name: words}, and of a blend "blend"}."""

    def figures(scores: dict[str, HeadScores]) -> dict[str, dict[str, float]]:
        return {name: one.figures() for name, one in scores.items()}

    heads, baselines = dict(result.heads), dict(result.baselines)
    about = {name: one.about for name, one in heads.items()}
    about |= {f"baseline {name}": one.about for name, one in baselines.items()}
    found: dict[str, Any] = {"heads": figures(heads), "baselines": figures(baselines), "about": about}
    return found if result.blend is None else found | {"blend": dataclasses.asdict(result.blend)}
