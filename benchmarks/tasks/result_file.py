"""One finished run as one JSON file in a flat folder, which is never overwritten.

    {"database", "task", "regime", "preset", "setting", "arm", "head", "label_share", "seed",
     "val", "test", "metric", "predictions", "steps", "seconds", "config", "commit", "command"}

`predictions` are those of the test split in its order, to five significant digits, so that anyone can bootstrap. A run that only chooses
(`--val-only`) has null for `test` and `predictions`.

Promises: a file is there whole or not at all; what is read back is what was written; files whose name and content disagree are refused, and so are
results of one setting with two configurations.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tasks.settings import Setting
from rdl_core.atomic_write import replace_file
from rdl_core.config import Regime, decode

NETWORK_ARMS = ("scratch", "frozen", "finetuned", "untrained")
ARMS = (*NETWORK_ARMS, "none")
"""The arm of a head that sees no network is "none"; "untrained" is "frozen" with a fresh backbone, a control."""
HEADS = ("network", "linear", "lightgbm", "lightgbm_on_folds", "blend", "trivial")
"""LightGBM is there twice: the baseline, which sees all columns and stops early on validation, and the head chosen on folds inside train."""
REFIT = "+refit"
"""Ends the name of a setting where the model was fitted again on every closed label; one run gives both."""


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """The fields that tell one run from every other."""

    setting: str
    database: str
    task: str
    regime: Regime
    arm: str
    head: str
    label_share: float
    seed: int

    @property
    def file_name(self) -> str:
        """The name of its file; values that hold the separator are read from the content alone."""
        values = dataclasses.astuple(self)
        return "__".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values) + ".json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run.

    Args:
        key: Which run it is.
        preset: The built-in preset of the setting.
        val, test: The metric; test is None if only validation was looked at.
        metric: "roc_auc" or "mae".
        predictions: Of the test rows in their order, or None.
        steps: Updates of the network until it stopped; 0 without one.
        seconds: Training, with its validations and without pretraining; of heads on columns, of all that were fitted together.
        config: The setting in full, with the seed of the run.
        commit: Of the source that ran, with "-dirty" if it had changes.
        command: The command line, folders of data by their names.
    """

    key: RunKey
    preset: str
    val: float
    test: float | None
    metric: str
    predictions: tuple[float, ...] | None
    steps: int
    seconds: float
    config: dict[str, Any]
    commit: str
    command: str


def write_result(folder: Path, result: Result) -> Path:
    """Writes a result; returns its path.

    Raises:
        FileExistsError: There is one of this run.
    """
    path = folder / result.key.file_name
    if path.exists():
        raise FileExistsError(f"{path} is there; a finished run is never written again")
    content: dict[str, Any] = dataclasses.asdict(result)
    key = content.pop("key")
    fields = ("database", "task", "regime", "preset", "setting", "arm", "head", "label_share", "seed")
    ordered = {name: (key | content)[name] for name in fields} | content
    if result.predictions is not None:
        ordered["predictions"] = [float(f"{p:.5g}") for p in result.predictions]
    with replace_file(path) as partial:
        partial.write_text(json.dumps(ordered, separators=(",", ":"), allow_nan=False) + "\n")
    return path


def read_result(path: Path) -> Result:
    """Reads a result.

    Raises:
        ValueError: The file is not one, or has the name of another run.
    """
    try:
        content = json.loads(path.read_text())
        key = RunKey(**{field.name: content.pop(field.name) for field in dataclasses.fields(RunKey)})
        predictions = content.pop("predictions")
        result = Result(key=key, predictions=None if predictions is None else tuple(predictions), **content)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of a run: {error}") from error
    if path.name != key.file_name:
        raise ValueError(f"{path} holds the run whose file is {key.file_name}; rename it")
    return result


def read_results(folders: Iterable[Path]) -> list[Result]:
    """Reads all results of some folders, in the order of their names."""
    return [read_result(path) for folder in folders for path in sorted(folder.glob("*.json"))]


def require_same_setting(results: Sequence[Result], setting: Setting) -> None:
    """Raises ValueError if a result of the setting's name was made with another configuration.

    Fields that the configuration had not when the result was written count as their defaults; the name of the preset, whose values all stand in the
    configuration, may have changed.
    """
    for result in results:
        if result.key.setting.removesuffix(REFIT) != setting.name:
            continue
        made_with = decode(Setting, result.config, f"{result.key.file_name}: config")
        if dataclasses.replace(made_with, preset=setting.preset) != setting.of_seed(result.key.seed):
            raise ValueError(
                f"{result.key.file_name} was made with another configuration than setting {setting.name!r} has now; "
                "results of both must not stand under one name. Remedy: name the changed setting otherwise in settings.yaml"
            )
