"""Heads and baselines on columns beside the network of a finetune run: what they need of it, and what they leave.

    <run>/head_predictions.parquet    split, entity, time, head, prediction
    <run>/heads.json                  their figures, settings and weights

Promises: labels that heads on columns cannot be chosen on are refused before the network is trained; what an earlier call has finished is not done
again; without heads and baselines nothing is loaded, computed or written.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.commands.options import Finetune
from distributed.console import bar
from distributed.runs.folder import write_json
from rdl_core.config import FinetuningConfig
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.heads import Fold
from rdl_core.tasks.column_heads import ColumnHeads, ColumnHeadsResult, HeadScores
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
        InputError: The labels of train have no time by which earlier windows are closed.
    """

    def __init__(self, options: Finetune, store: Store, dataset: RelBenchDataset, config: FinetuningConfig) -> None:
        self.options = options
        self._heads: ColumnHeads | None = None
        self.network_folds: tuple[Fold, ...] = ()
        """Windows on which the network is trained again, for a blend."""
        if options.baseline or options.heads != ("network",):
            task, columns = load_task(dataset, options.task), options.columns
            self._heads = ColumnHeads(store, task, options.regime, config, options.column_heads, columns)
        if self._heads is not None and options.heads != ("network",):
            folds = self._heads.folds()
            if "blend" in options.heads:
                self.network_folds = tuple(folds[-options.column_heads.network_folds :])

    def run(self, network_predictions: Path, folder: Path) -> dict[str, Any]:
        """Returns {"heads", "baselines", "about", "blend", "head_predictions"}; nothing where only the network predicts.

        Args:
            network_predictions: The file of the network's predictions.
            folder: Where files go.
        """
        if self._heads is None:
            return {}
        if (path := folder / FIGURES).exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        with bar() as progress:
            shown = progress.add_task("heads on columns", total=None, text="")
            result = self._heads.run(
                self.options.heads,
                network=read_predictions(network_predictions),
                baseline=self.options.baseline,
                advance=lambda text: progress.update(shown, text=text),
            )
        every = {**result.heads, **{f"baseline {name}": scores for name, scores in result.baselines.items()}}
        predictions = {name: scores.predictions for name, scores in every.items() if name != "network"}
        write_head_predictions(folder / PREDICTIONS, self._heads.task, self._heads.labels, predictions)
        figures = figures_of(result) | {"head_predictions": str(folder / PREDICTIONS)}
        write_json(path, figures)
        return figures


def figures_of(result: ColumnHeadsResult) -> dict[str, Any]:
    """Returns {"heads", "baselines": {name: {"val", "test", ...}}, "about": {name: words}, and of a blend "blend"}."""

    def figures(scores: dict[str, HeadScores]) -> dict[str, dict[str, float]]:
        return {name: one.figures() for name, one in scores.items()}

    heads, baselines = dict(result.heads), dict(result.baselines)
    about = {name: one.about for name, one in heads.items()}
    about |= {f"baseline {name}": one.about for name, one in baselines.items()}
    found: dict[str, Any] = {"heads": figures(heads), "baselines": figures(baselines), "about": about}
    return found if result.blend is None else found | {"blend": dataclasses.asdict(result.blend)}
