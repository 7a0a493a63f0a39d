"""The heads that a fine-tuned model folder keeps beside its network: written, read, and asked for predictions.

    heads/linear.json, heads/linear.safetensors, heads/lightgbm.json, heads/lightgbm-0.txt ...    models (rdl_core/heads/head_files.py)
    heads/blend.json                                                                              weights of a blend

Promises: of a refit, the kept models are the refitted ones; a head read from its files predicts bit for bit like the one that was fitted; columns see
what exists strictly before the time; a prediction is a function of the model, the row and the time alone. Columns of the data that are not those that
a head has learned are refused by name when it is read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdl_core.config import HEADS
from rdl_core.graph.store import Store
from rdl_core.heads import Head, blended, head_files, read_head
from rdl_core.model.checkpoint import Checkpoint, from_pretrained, save_pretrained
from rdl_core.prediction.head_records import ABOUT, HeadRecord, HeadRecords
from rdl_core.prediction.intervals import Interval
from rdl_core.problems import InputError
from rdl_core.statistics.columns import Columns

FOLDER = "heads"
ON_COLUMNS: tuple[str, ...] = ("linear", "lightgbm")
ROWS_PER_CHUNK = 1 << 14
"""Rows whose columns, some thousands of them, are in memory at a time."""
Values = NDArray[np.float64]


def files_of_heads(models: Mapping[str, Head], weights: Mapping[str, float], columns: Columns) -> dict[str, bytes]:
    """Returns the files of heads, {name in the model folder: bytes}.

    Args:
        models: "linear" and "lightgbm", those that are kept.
        weights: Of a blend; empty without one.
        columns: What the models read.
    """
    files: dict[str, bytes] = {}
    for name, model in models.items():
        files |= head_files(name, model, columns.names)
    if weights:
        files["blend.json"] = json.dumps(dict(weights), indent=1).encode()
    return {f"{FOLDER}/{name}": content for name, content in files.items()}


def with_heads(checkpoint: Checkpoint, records: HeadRecords, files: Mapping[str, bytes]) -> Checkpoint:
    """Returns a fine-tuned checkpoint with heads, in the place of those that it has.

    Args:
        records: What the checkpoint is to say of them.
        files: Their files (`files_of_heads`).
    """
    others = {name: content for name, content in checkpoint.extras.items() if not name.startswith(f"{FOLDER}/")}
    about = checkpoint.about | {ABOUT: records.to_json()}
    return dataclasses.replace(checkpoint, about=about, extras={**others, **files})


def keep_heads(path: Path, records: HeadRecords, files: Mapping[str, bytes]) -> Path:
    """Writes heads into a fine-tuned model's folder, which is replaced as a whole (`with_heads`); returns the path."""
    return save_pretrained(path, with_heads(from_pretrained(path, kind="finetuned"), records, files))


class KeptHeads:
    """The heads of one checkpoint, on one store; a model is read when it is first asked for (`require`).

    Args:
        records: What the checkpoint says of them.
        store: An open store of the checkpoint's schema.
        read: Returns a file of the model folder.

    Raises:
        InputError: The weights of a blend are damaged.
    """

    def __init__(self, records: HeadRecords, store: Store, read: Callable[[str], bytes]) -> None:
        self.records, self._store = records, store
        self.names: tuple[str, ...] = tuple(records.heads)
        """Names of the heads that can predict, in the order in which they were asked for."""
        self.default: str = records.default
        """The one that was best on validation."""
        self.weights: Mapping[str, float] = _read_weights(read) if "blend" in self.names else {}
        """The weights of the blend."""
        self._read = read
        self._models: dict[str, Head] = {}

    @cached_property
    def columns(self) -> Columns:
        """The columns that heads read."""
        return Columns(self._store, self.records.table, self.records.columns)

    def require(self, name: str | None) -> str:
        """Reads a head, the default for None, and returns its name.

        Raises:
            InputError: There is no such head, the store's columns are not those that it has learned, or a file of it is damaged.
        """
        name = self.default if name is None else name
        if name not in self.names:
            remedy = f"fine-tune with --heads network {name}" if name in HEADS else "name one of these"
            raise InputError(f"the model keeps no head {name!r}; its heads: {', '.join(self.names)}.\nRemedy: {remedy}")
        for part in self._parts(name):
            self._model(part)
        return name

    def needs_network(self, name: str) -> bool:
        """Returns whether a head's prediction is made of the network's."""
        return "network" in self._parts(name)

    def needs_columns(self, name: str) -> bool:
        """Returns whether a head, or a part of it, reads `columns`."""
        return any(self._model(part) is not None for part in self._parts(name))

    def predict(
        self,
        name: str,
        rows: NDArray[np.int64],
        before_s: NDArray[np.int64],
        network: Values | None = None,
        *,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> Values:
        """Returns probabilities or values, not calibrated: float64 [m], of several classes as the network's.

        Args:
            name: One of `names`.
            rows: int64 [m], rows of the entity table.
            before_s: int64 [m], UNIX seconds; all that is seen exists strictly before.
            network: float64 [m], of several classes [m, classes], the network's predictions, of a head that needs them.
            advance: Is told how many rows are done, a chunk at a time.

        Raises:
            ValueError: A head that needs the network's predictions is not given them.
        """
        if self.needs_network(name) and network is None:
            raise ValueError(f"head {name!r} is made of the network's predictions, and none were given")
        predicted = np.empty((len(rows), *(() if network is None else network.shape[1:])))
        for begin in range(0, len(rows), ROWS_PER_CHUNK):
            part = slice(begin, begin + ROWS_PER_CHUNK)
            of_network = None if network is None else network[part]
            columns = self.columns(rows[part], before_s[part], raw=True) if self.needs_columns(name) else None
            predicted[part] = self.predict_from(name, columns, of_network)
            advance(len(rows[part]))
        return predicted

    def predict_from(self, name: str, columns: NDArray[np.float32] | None, network: Values | None) -> Values:
        """Returns what `predict` does, from what a head reads: `columns` of the rows in their own units, the network's predictions, or both."""
        predicted: dict[str, Values] = {} if network is None else {"network": network}
        for part in self._parts(name):
            if columns is not None and (model := self._model(part)) is not None:
                predicted[part] = model.predict(columns)
        return blended(predicted, self.weights) if name == "blend" else predicted[name]

    def calibrated(self, name: str, prediction: Values) -> Values:
        """Returns calibrated probabilities, float64 [m]; the predictions themselves of a head without a calibration."""
        calibration = self.records.heads[name].calibration
        return prediction if calibration is None else calibration(prediction)

    def interval(self, name: str, prediction: Values, coverage: float) -> Interval | None:
        """Returns the lower and the upper ends around predictions, float64 [m] each; None of a task that is no regression.

        Raises:
            InputError: The coverage is none.
        """
        intervals = self.records.heads[name].intervals
        return None if intervals is None else intervals(prediction, coverage)

    def _model(self, part: str) -> Head | None:
        """Returns a model on columns, read once; None for the network."""
        if part in ON_COLUMNS and part not in self._models:
            self._models[part] = read_head(part, lambda file: self._read(f"{FOLDER}/{file}"), self.columns.names)
        return self._models.get(part)

    def _parts(self, name: str) -> tuple[str, ...]:
        """Returns the heads whose predictions a head's prediction is made of."""
        if name != "blend":
            return (name,)
        return tuple(part for part, weight in self.weights.items() if weight > 0)


def kept_heads(checkpoint: Checkpoint, store: Store) -> KeptHeads:
    """Returns the heads of a fine-tuned checkpoint; of one that says nothing of heads the network alone, without intervals and calibration.

    Args:
        checkpoint: A fine-tuned checkpoint, read from its folder.
        store: An open store of the checkpoint's schema.

    Raises:
        InputError: The weights of a blend are damaged.
    """
    values, store = checkpoint.about.get(ABOUT), checkpoint.as_read(store)
    if values is None:
        alone = HeadRecords(default="network", heads={"network": HeadRecord(val=math.nan)}, table="")
        return KeptHeads(alone, store, checkpoint.extra)
    return KeptHeads(HeadRecords.from_json(values), store, checkpoint.extra)


def _read_weights(read: Callable[[str], bytes]) -> dict[str, float]:
    try:
        return {str(name): float(weight) for name, weight in json.loads(read(f"{FOLDER}/blend.json")).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{FOLDER}/blend.json is damaged: {error}. Remedy: fine-tune it again") from error
