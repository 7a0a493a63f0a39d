"""Preset files: what a pretraining run changes of a built-in preset, as YAML; a sweep writes them and `pretrain --preset FILE` reads them.

    preset: robust                        what is not named below; robust if left out
    pretraining:                          only what changes, nested as PretrainingConfig is
      learning_rate: 3e-4
      backbone: {channels: 64, rows: resnet}
    about: {...}                          where it comes from; for people, not read

Promises: what was written is read back equal; a field that is unknown or has another type is refused by its dotted name.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rdl_core.atomic_write import replace_file
from rdl_core.config import PRESETS, PretrainingConfig, changed


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3 for text; here it is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Returns what a YAML file holds.

    Raises:
        ValueError: The file is not YAML.
    """
    try:
        return yaml.load(path.read_text(), _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error


def pretraining_preset(name_or_file: str) -> PretrainingConfig:
    """Returns the pretraining half of a built-in preset, or of a preset file.

    Raises:
        ValueError: It is neither, or the file says what no configuration has.
    """
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]().pretraining
    if not Path(name_or_file).is_file():
        raise ValueError(
            f"--preset must be one of {', '.join(PRESETS)} or a preset file (`rdl report` writes one), got {name_or_file!r}"
        )
    return read_preset_file(Path(name_or_file))


def write_preset_file(path: Path, config: PretrainingConfig, about: Mapping[str, Any]) -> Path:
    """Writes the whole configuration."""
    with replace_file(path) as partial:
        content = {"pretraining": dataclasses.asdict(config), "about": dict(about)}
        partial.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def read_preset_file(path: Path) -> PretrainingConfig:
    """Returns the configuration that a preset file describes.

    Raises:
        ValueError: Naming the file and the field.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("pretraining"), dict):
        raise ValueError(f"preset file {path} has no mapping 'pretraining'; `rdl report` writes one that has")
    if unknown := set(content) - {"preset", "pretraining", "about"}:
        raise ValueError(f"preset file {path}: {sorted(unknown)[0]} is unknown; it has preset, pretraining, about")
    if (base := content.get("preset", "robust")) not in PRESETS:
        raise ValueError(f"preset file {path}: preset must be one of {', '.join(PRESETS)}, got {base!r}")
    try:
        return changed(PRESETS[base]().pretraining, content["pretraining"], "pretraining")
    except ValueError as error:
        raise ValueError(f"preset file {path}: {error}") from error
