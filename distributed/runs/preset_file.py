"""Preset files: a complete pretraining configuration as YAML, which a sweep writes and `pretrain --preset FILE` reads.

    pretraining: {...}   every field of PretrainingConfig, nested as it is
    about: {...}         where it comes from; for people, not read

Promises: what was written is read back equal; a field that is unknown, missing or of another type is refused by its dotted name.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from rdl_core.config import PRESETS, PretrainingConfig

Config = TypeVar("Config")


def pretraining_preset(name_or_file: str) -> PretrainingConfig:
    """The pretraining half of a built-in preset, or of a preset file.

    Raises:
        ValueError: It is neither, or the file is not a complete configuration.
    """
    if name_or_file in PRESETS:
        return PRESETS[name_or_file]().pretraining
    check_preset_name(name_or_file)
    return read_preset_file(Path(name_or_file))


def check_preset_name(name_or_file: str) -> None:
    """Raises ValueError for what is neither a built-in preset nor a file."""
    if name_or_file not in PRESETS and not Path(name_or_file).is_file():
        raise ValueError(
            f"--preset must be one of {', '.join(PRESETS)} or a preset file (tune report writes one), got {name_or_file!r}"
        )


def write_preset_file(path: Path, config: PretrainingConfig, about: Mapping[str, Any]) -> Path:
    """Writes beside and renames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(
        yaml.safe_dump({"pretraining": dataclasses.asdict(config), "about": dict(about)}, sort_keys=False)
    )
    partial.replace(path)
    return path


def read_preset_file(path: Path) -> PretrainingConfig:
    """The configuration in a preset file.

    Raises:
        ValueError: Naming the file and the field.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"preset file {path} is not YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("pretraining"), dict):
        raise ValueError(
            f"preset file {path} has no mapping 'pretraining'; `python -m tune report` writes one that has"
        )
    try:
        return config_of(PretrainingConfig, content["pretraining"], "pretraining")
    except ValueError as error:
        raise ValueError(f"preset file {path}: {error}") from error


def config_of(kind: type[Config], values: Mapping[str, Any], at: str) -> Config:
    """The configuration dataclass `kind` from nested mappings; `at` is its dotted name in messages.

    Raises:
        ValueError: Unknown or missing fields, values of another type, values that the configuration refuses.
    """
    hints = typing.get_type_hints(kind)
    unknown = [name for name in values if name not in hints]
    missing = [name for name in hints if name not in values]
    if unknown or missing:
        found = [f"{at}.{name} is unknown" for name in unknown] + [f"{at}.{name} is missing" for name in missing]
        raise ValueError(f"{'; '.join(found)}. It has the fields {', '.join(hints)}")
    return kind(**{name: typed(value, hints[name], f"{at}.{name}") for name, value in values.items()})


def typed(value: Any, hint: Any, at: str) -> Any:
    """The value as the type of a configuration's field: nested configurations, literals, bool, int, float, str or None.

    Raises:
        ValueError: Naming the field, what was found and what is expected.
    """
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{at} must be a mapping, got {value!r}")
        return config_of(hint, value, at)
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    for option in options:
        if typing.get_origin(option) is Literal and value in typing.get_args(option):
            return value
        if option is type(None) and value is None:
            return None
        if option in (int, str, bool) and type(value) is option:
            return value
        if option is float and (number := _number(value)) is not None:
            return number
    raise ValueError(f"{at} must be {_described(options)}, got {value!r}")


def _number(value: Any) -> float | None:
    """YAML 1.1 reads 1e-3 as text, so that is a number too."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _described(options: tuple[Any, ...]) -> str:
    words: list[str] = []
    for option in options:
        literal = typing.get_origin(option) is Literal
        words += [repr(v) for v in typing.get_args(option)] if literal else [getattr(option, "__name__", str(option))]
    return " or ".join(words)
