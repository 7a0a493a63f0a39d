"""The search space of a sweep: dotted paths of the pretraining configuration, each with its values or a Ray Tune distribution.

    preset: robust                                  everything that does not vary
    space:
      backbone.num_layers: [2, 3]                   each of them (grid), or one at random (random search)
      backbone.rows: [linear, resnet]               kinds, or {kind: resnet, num_layers: 2}, where there are several kinds
      learning_rate: {loguniform: [1e-4, 1e-2]}     random and optuna only: uniform, loguniform, quniform, randint, choice

Promises: a path that does not exist, a value of another type and a path that would make the trials' validation losses incomparable are
refused by name before anything runs; the same space, search and seed give the same settings in the same order.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray.tune
from ray.tune.search.sample import Categorical, Domain, Float, Integer

from distributed.runs.preset_file import read_yaml
from rdl_core.config import PRESETS, PretrainingConfig, changed

Search = Literal["grid", "random", "optuna"]
Setting = dict[str, Any]
"""{dotted path: value}."""

DRAWS_PER_SAMPLE = 20
"""Draws per wanted setting after which a random search has found all settings, or nearly."""
DISTRIBUTIONS: dict[str, Callable[..., Any]] = {
    "uniform": ray.tune.uniform,
    "loguniform": ray.tune.loguniform,
    "quniform": ray.tune.quniform,
    "randint": ray.tune.randint,
    "choice": lambda *values: ray.tune.choice(list(values)),
}

_OTHER_SAMPLES = "validation would see other samples in each trial"
_OTHER_LOSS = "validation would measure another loss in each trial"
_EARLY_END = "trials that end by themselves before their last step cannot be compared"
_OWN_OPTION = "the sweep sets it, the same for all trials"
REFUSED = {
    "sampling": _OTHER_SAMPLES,
    "corruption.distribution": _OTHER_SAMPLES,
    "corruption.target_link_share": _OTHER_LOSS,
    "levels": _OTHER_LOSS,
    "future": _OTHER_LOSS,
    "loss.row_form": _OTHER_LOSS,
    "loss.link_matrix": _OTHER_LOSS,
    "loss.skip_edge_type_without_negative": _OTHER_LOSS,
    "loss.context_form": _OTHER_LOSS,
    "loss.max_negatives": _OTHER_LOSS,
    "seed": _OWN_OPTION,
    "max_steps": _OWN_OPTION,
    "max_hours": _EARLY_END,
    "patience": _EARLY_END,
    "stop_below": _EARLY_END,
    "validation_interval_steps": _OWN_OPTION,
    "validation_samples": _OWN_OPTION,
    "validation_fresh": _OWN_OPTION,
    "validation_corruption": _OWN_OPTION,
    "validation_seed": _OWN_OPTION,
}
"""Paths (with all below them) that exist but cannot be varied, and why."""
SET_BY_THE_SWEEP = [path for path, why in REFUSED.items() if why in (_OWN_OPTION, _EARLY_END)]
"""Paths that a sweep sets for all trials, whatever the preset says."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The paths that vary, and the preset around which they do.

    Args:
        preset: 'robust', 'paper' or 'contrast'.
        values: {dotted path: list of values, or a Ray Tune distribution}.

    Raises:
        ValueError: A path or value that the configuration does not have, or that cannot be varied.
    """

    preset: str
    values: Mapping[str, list[Any] | Domain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_preset(self.preset)
        for path, values in self.values.items():
            check_path(path, self.preset)
            for value in extremes(values):
                with_setting(PRESETS[self.preset]().pretraining, {path: value})
            if isinstance(values, list) and not values:
                raise ValueError(f"{path} has no value to try")


def check_preset(preset: Any) -> None:
    """Raises ValueError unless this is a built-in preset."""
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(f"the search space's preset must be one of {', '.join(PRESETS)}, got {preset!r}")


GRIDS: dict[str, dict[str, list[Any] | Domain]] = {
    "paper": {
        "backbone.num_layers": [2, 3],
        "backbone.aggregation": ["sum", "mean"],
        "corruption.probability": [0.2, 0.4, 0.6],
        "backbone.rows": ["linear", "resnet"],
    },
    "robust": {
        "backbone.channels": [64, 128],
        "backbone.columns_input_dropout": [0.0, 0.1],
        "learning_rate": [5e-4, 1e-3, 2e-3],
    },
    "contrast": {
        "backbone.num_layers": [2, 3],
        "backbone.rows": ["linear", "resnet"],
        "learning_rate": [5e-4, 1e-3, 2e-3],
    },
}
"""{preset: its grid}: the publication's 24 settings, and 12 each of the choices that `robust` and `contrast` leave to the database."""


def read_space(name_or_file: str) -> SearchSpace:
    """Returns a built-in grid, or the search space of a YAML file like the one at the top of this file.

    Raises:
        ValueError: There is neither, or the file says something that cannot be swept.
    """
    if name_or_file in GRIDS:
        return SearchSpace(preset=name_or_file, values=GRIDS[name_or_file])
    path = Path(name_or_file)
    if not path.is_file():
        raise ValueError(f"--grid must be one of {', '.join(GRIDS)} or a YAML file, got {name_or_file!r}")
    content = read_yaml(path)
    is_space = isinstance(content, dict) and isinstance(content.get("space"), dict)
    if not is_space or set(content) - {"preset", "space"}:
        raise ValueError(f"{path} must hold the keys 'space' (path: values) and, if not robust, 'preset'")
    try:
        preset = content.get("preset", "robust")
        values = {name: _values(name, given, preset) for name, given in content["space"].items()}
        return SearchSpace(preset=preset, values=values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _values(path: str, given: Any, preset: str) -> list[Any] | Domain:
    if not isinstance(path, str):
        raise ValueError(f"a path is text, got {path!r}")
    check_preset(preset)
    check_path(path, preset)
    if isinstance(given, list):
        return [_typed(path, value, preset) for value in given]
    if isinstance(given, dict) and len(given) == 1 and (name := next(iter(given))) in DISTRIBUTIONS:
        return _distribution(path, name, given[name])
    raise ValueError(f"{path} must be a list of values or one of {{{', '.join(DISTRIBUTIONS)}: [...]}}, got {given!r}")


def _distribution(path: str, name: str, arguments: Any) -> Domain:
    """Returns a Ray Tune distribution; its arguments are right, for it can be drawn from."""
    try:
        domain: Domain = DISTRIBUTIONS[name](*arguments)
        _draw(domain, np.random.default_rng(0))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {{{name}: {arguments}}} cannot be drawn from: {error}") from error
    return domain


def _typed(path: str, value: Any, preset: str) -> Any:
    """Returns the value as the configuration holds it (1 becomes 1.0 where a float stands); a part of several kinds stays as it was given."""
    found = value_at(with_setting(PRESETS[preset]().pretraining, {path: value}), path)
    return value if dataclasses.is_dataclass(found) else found


def with_rows(space: SearchSpace, model: str | None) -> SearchSpace:
    """Returns the space with one row model only."""
    return space if model is None else dataclasses.replace(space, values={**space.values, "backbone.rows": [model]})


def short(setting: Mapping[str, Any]) -> str:
    """Returns a setting in short, "num_layers 2, aggregation sum": the last name of each path."""
    return ", ".join(f"{path.split('.')[-1]} {value}" for path, value in setting.items())


def settings(space: SearchSpace, search: Search, samples: int, seed: int) -> list[Setting]:
    """Returns the settings to try, in order: the whole grid, or `samples` different draws (fewer where there are no more).

    Raises:
        ValueError: A grid over a distribution.
    """
    if search == "grid":
        continuous = [path for path, values in space.values.items() if not isinstance(values, list)]
        if continuous:
            raise ValueError(
                f"a grid needs lists of values; {', '.join(continuous)} has a distribution: --search random or optuna"
            )
        combinations = itertools.product(*(v for v in space.values.values() if isinstance(v, list)))
        return [dict(zip(space.values, values, strict=True)) for values in combinations]
    generator = np.random.default_rng(seed)
    found: list[Setting] = []
    for _ in range(DRAWS_PER_SAMPLE * samples):
        drawn = {path: _draw(values, generator) for path, values in space.values.items()}
        if drawn not in found:
            found.append(drawn)
        if len(found) == samples:
            break
    return found


def extremes(domain: list[Any] | Domain) -> list[Any]:
    """Returns values between which all draws lie; of a list or choice, all."""
    if isinstance(domain, list):
        return domain
    if isinstance(domain, Categorical):
        return list(domain.categories)
    if isinstance(domain, Integer):
        return [domain.lower, domain.upper - 1]
    assert isinstance(domain, Float)
    return [float(domain.lower), float(domain.upper)]


def _draw(values: list[Any] | Domain, generator: np.random.Generator) -> Any:
    if isinstance(values, list):
        return values[int(generator.integers(len(values)))]
    value = values.sample(random_state=generator)
    return value.item() if isinstance(value, np.generic) else value


def with_setting(config: PretrainingConfig, setting: Setting) -> PretrainingConfig:
    """Returns the configuration with other values at dotted paths.

    Raises:
        ValueError: A path or value that the configuration does not have.
    """
    for path, value in setting.items():
        if path not in (paths := dict(_leaves(config, ""))):
            raise ValueError(_no_such_path(path, paths))
        change = value
        for name in reversed(path.split(".")):
            change = {name: change}
        config = changed(config, change, "")
    return config


def value_at(config: PretrainingConfig, path: str) -> Any:
    """Returns the value at a dotted path."""
    return functools.reduce(getattr, path.split("."), config)


def check_path(path: str, preset: str) -> None:
    """Raises ValueError for a path that does not exist or cannot be varied, saying why."""
    for refused, why in REFUSED.items():
        if path == refused or path.startswith(f"{refused}."):
            raise ValueError(f"{path} cannot be swept: {why}")
    if path not in (paths := dict(_leaves(PRESETS[preset]().pretraining, ""))):
        raise ValueError(_no_such_path(path, paths))


def _no_such_path(path: str, paths: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(path, paths, n=3, cutoff=0.4)
    return f"the configuration has no {path!r}; {'near it: ' if near else 'there are: '}{', '.join(near or paths)}"


def _leaves(config: Any, above: str) -> Iterator[tuple[str, Any]]:
    """Yields (dotted path, value) for everything that can be set; where there are several kinds, for the whole and for its settings."""
    for field_ in dataclasses.fields(config):
        value, path = getattr(config, field_.name), f"{above}{field_.name}"
        if not dataclasses.is_dataclass(value):
            if field_.name != "kind":
                yield path, value
            continue
        if hasattr(value, "kind"):
            yield path, value
        yield from _leaves(value, f"{path}.")
