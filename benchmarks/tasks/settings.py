"""Complete configurations of a measurement, by name: settings.yaml has them.

    NAME:
      preset: robust                   what is not named below
      pretraining: {...}               only what changes, nested as PretrainingConfig is
      finetuning: {...}                likewise, of FinetuningConfig
      columns: {...}, heads: {...}     of the heads on columns: ColumnsConfig and HeadsConfig
      network_train_rows: 20000        the networks learn from so many of the train labels at most; heads on columns take all
      excluded_targets: {DATABASE/TASK: [table.column, ...]}   of which the future level asks nothing when it pretrains for that task
      shuffled_labels: true            train and validation labels are dealt out anew: a control, which learns nothing unless something leaks

Promises: a name stands for one configuration, which every result holds in full; a result whose configuration is another than its setting's is refused
(result_file.py), so a changed setting needs a new name. Whatever a random seed decides follows from the run's seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from distributed.runs.preset_file import read_yaml
from rdl_core.config import PRESETS, ColumnsConfig, FinetuningConfig, HeadsConfig, PretrainingConfig, changed, checked

SETTINGS = Path(__file__).with_name("settings.yaml")


@checked
class Setting:
    """All that decides a run besides database, task, regime, arm, head, share of the labels and seed.

    Args:
        name: The name, which results carry.
        preset: The built-in preset that it starts from.
        pretraining, finetuning: Settings of the networks.
        columns, heads: Settings of the heads on columns.
        network_train_rows: Most train labels of a network. None: all.
        excluded_targets: By "database/task", tables or columns of which the future level asks nothing when it pretrains for that task.
        shuffled_labels: Whether the labels of train and of validation are shuffled.
    """

    name: str
    preset: str
    pretraining: PretrainingConfig
    finetuning: FinetuningConfig
    columns: ColumnsConfig = ColumnsConfig()
    heads: HeadsConfig = HeadsConfig()
    network_train_rows: PositiveInt | None = None
    excluded_targets: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    shuffled_labels: bool = False

    def of_labels(self, share: float, num_train_rows: int, *, is_network: bool) -> FinetuningConfig:
        """Returns the fine-tuning settings of a run with a share of the train labels.

        A network gets at most `network_train_rows` of them. With a part of the labels nothing is replayed (`label_stride`).
        """
        if is_network and self.network_train_rows is not None:
            share = min(share, self.network_train_rows / num_train_rows)
        stride = self.finetuning.label_stride if share == 1.0 else None
        return dataclasses.replace(self.finetuning, label_share=share, label_stride=stride)

    def of_seed(self, seed: int) -> Setting:
        """Returns the setting with this random seed everywhere."""
        return dataclasses.replace(
            self,
            pretraining=dataclasses.replace(self.pretraining, seed=seed),
            finetuning=dataclasses.replace(self.finetuning, seed=seed),
        )

    def without_refit(self) -> Setting:
        """Returns the setting, nothing refitted: a refit learns from validation, which then tells nothing."""
        return dataclasses.replace(self, finetuning=dataclasses.replace(self.finetuning, refit=False))


def read_setting(name: str, path: Path = SETTINGS) -> Setting:
    """Returns the setting of this name.

    Raises:
        ValueError: There is none, or it says what no configuration has; the error names the field.
    """
    settings = read_yaml(path) or {}
    if name not in settings:
        raise ValueError(f"--setting is {name!r}; {path.name} has {', '.join(settings)}")
    return make_setting(name, settings[name])


def make_setting(name: str, changes: Mapping[str, Any]) -> Setting:
    """Returns the setting that a mapping describes, as settings.yaml holds it.

    Raises:
        ValueError: Naming the field.
    """
    preset = changes.get("preset", "robust")
    if preset not in PRESETS:
        raise ValueError(f"{name}.preset is {preset!r}; it should be {' or '.join(PRESETS)}")
    base = PRESETS[preset]()
    setting = Setting(name=name, preset=preset, pretraining=base.pretraining, finetuning=base.finetuning)
    return changed(setting, {**changes, "preset": preset}, name)
