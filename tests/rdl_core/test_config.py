"""Configurations: what they refuse and how they say it; what the presets are and where they differ."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from rdl_core.config import (
    PRESETS,
    BackboneConfig,
    CorruptionConfig,
    FinetuningConfig,
    HGSamplingConfig,
    LossConfig,
    Preset,
    PretrainingConfig,
    ResNetRows,
    TemporalSamplingConfig,
    contrast,
    decode,
    paper,
    robust,
)


def pretraining_config(**changes: Any) -> PretrainingConfig:
    return dataclasses.replace(contrast().pretraining, **changes)


def loss_config(**changes: Any) -> LossConfig:
    return dataclasses.replace(contrast().pretraining.loss, **changes)


REFUSED: list[tuple[Callable[..., Any], str, Any, str]] = [
    (BackboneConfig, "channels", 7, "multiple of 2"),
    (BackboneConfig, "channels", 0, "greater than or equal to 2"),
    (BackboneConfig, "num_layers", -1, "greater than or equal to 0"),
    (BackboneConfig, "aggregation", "max", "'sum' or 'mean' or 'time_attention'"),
    (BackboneConfig, "rows", "mlp", "'linear' or 'resnet'"),
    (ResNetRows, "dropout", 1.0, "less than 1"),
    (CorruptionConfig, "probability", 1.1, "less than or equal to 1"),
    (CorruptionConfig, "distribution", "normal", "'distinct' or 'frequency'"),
    (CorruptionConfig, "target_link_share", 1.0, "less than 1"),
    (HGSamplingConfig, "seeds_per_sample", 0, "greater than 0"),
    (HGSamplingConfig, "rows_per_hop", 0, "greater than 0"),
    (HGSamplingConfig, "num_hops", 0, "greater than 0"),
    (HGSamplingConfig, "max_children", 0, "greater than 0"),
    (lambda num_neighbors: TemporalSamplingConfig(num_neighbors=(4, num_neighbors)), "num_neighbors", 0, "greater than 0"),
    (TemporalSamplingConfig, "strategy", "first", "'uniform' or 'recent'"),
    (loss_config, "row_form", "paper", "equation"),
    (loss_config, "link_matrix", "none", "per_direction"),
    (loss_config, "context_form", "mean", "neighbours"),
    (loss_config, "context_bias", 1, "valid boolean"),
    (loss_config, "max_negatives", 0, "greater than 0"),
    (loss_config, "initial_scale", 0.0, "greater than 0"),
    (loss_config, "initial_scale", math.nan, "finite number"),
    *((pretraining_config, name, 0, "greater than 0") for name in (
        "samples_per_step", "max_steps", "validation_interval_steps", "validation_samples", "patience",
    )),
    (pretraining_config, "learning_rate", 0.0, "greater than 0"),
    (pretraining_config, "gradient_clip_norm", 0.0, "greater than 0"),
    (pretraining_config, "max_hours", -1.0, "greater than 0"),
    (pretraining_config, "precision", "float16", "'float32' or 'bfloat16'"),
    *((FinetuningConfig, name, 0, "greater than 0") for name in (
        "max_steps", "validation_interval_steps", "patience",
    )),
    (FinetuningConfig, "head_channels", -1, "greater than or equal to 0"),
    (FinetuningConfig, "batch_size", 1, "greater than or equal to 2"),
    (FinetuningConfig, "learning_rate", -1e-3, "greater than 0"),
    (FinetuningConfig, "regression_loss", "huber", "'l1' or 'mse'"),
    (FinetuningConfig, "ema_decay", 1.0, "less than 1"),
    (FinetuningConfig, "gradient_clip_norm", 0.0, "greater than 0"),
    (FinetuningConfig, "max_hours", 0.0, "greater than 0"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "name", "value", "remedy"), REFUSED)
def test_a_wrong_value_is_refused_naming_field_and_remedy(
    make: Callable[..., Any], name: str, value: object, remedy: str
) -> None:
    with pytest.raises(ValueError, match=rf"\w+\.{name}.*{remedy}") as error:
        make(**{name: value})
    assert repr(value) in str(error.value) or str(value) in str(error.value)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="lerning_rate is unknown; FinetuningConfig has the fields .*learning_rate"):
        FinetuningConfig(**{"lerning_rate": 1.0})  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_hashable_and_the_same_each_time(preset: Callable[[], Preset]) -> None:
    assert preset() == preset()
    assert hash(preset()) == hash(preset())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_frozen_at_every_level(preset: Callable[[], Preset]) -> None:
    def check(config: Any) -> None:
        for field in dataclasses.fields(config):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(config, field.name, None)
            if dataclasses.is_dataclass(getattr(config, field.name)):
                check(getattr(config, field.name))

    check(preset())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_survives_json(preset: Callable[[], Preset]) -> None:
    described = dataclasses.asdict(preset())
    read = json.loads(json.dumps(described, allow_nan=False))
    assert read["pretraining"] == json.loads(json.dumps(described["pretraining"]))
    assert decode(Preset, read, "preset") == preset()


def test_presets_are_named_by_their_functions() -> None:
    assert {"contrast": contrast, "paper": paper, "robust": robust} == PRESETS


def test_the_presets_differ_where_the_method_differs() -> None:
    ours, theirs = contrast(), paper()
    assert (ours.finetuning.regression_loss, theirs.finetuning.regression_loss) == ("l1", "mse")
    assert (ours.finetuning.sampling.strategy, theirs.finetuning.sampling.strategy) == ("recent", "uniform")
    corruptions = ours.pretraining.corruption, theirs.pretraining.corruption
    assert [c.distribution for c in corruptions] == ["frequency", "distinct"]
    assert corruptions[0].target_link_share > 0 == corruptions[1].target_link_share
    assert [c.relative_time for c in corruptions] == [True, False]
    losses = ours.pretraining.loss, theirs.pretraining.loss
    assert [loss.link_matrix for loss in losses] == ["per_direction", "shared"]
    assert [loss.row_form for loss in losses] == ["equation", "code"]
    assert [loss.context_form for loss in losses] == ["neighbours", "edge_types"]
    assert [loss.skip_edge_type_without_negative for loss in losses] == [False, True]


def test_paper_is_what_the_publication_and_its_script_say() -> None:
    pretraining, finetuning = paper().pretraining, paper().finetuning
    assert (pretraining.samples_per_step, pretraining.learning_rate, pretraining.max_steps) == (1, 1e-3, 2000)
    assert (pretraining.validation_interval_steps, pretraining.validation_samples) == (50, 50)
    assert (pretraining.patience, pretraining.validation_fresh, pretraining.stop_below) == (10, True, 0.05)
    assert (pretraining.max_hours, finetuning.max_hours) == (4.0, 2.0)
    assert pretraining.sampling == HGSamplingConfig(seeds_per_sample=64, rows_per_hop=64, num_hops=3)
    assert pretraining.backbone.rows == ResNetRows(num_layers=4, dropout=0.2)
    assert (pretraining.backbone.channels, pretraining.loss.max_negatives) == (128, 256)
    assert pretraining.corruption.probability in (0.2, 0.4, 0.6)
    assert (finetuning.batch_size, finetuning.learning_rate, finetuning.max_steps) == (512, 5e-3, 2000)
    assert (finetuning.validation_interval_steps, finetuning.patience) == (100, 5)
    assert finetuning.sampling.num_neighbors == (128, 64)
    assert finetuning.head_channels == 128
    assert finetuning.ema_decay is None
    assert (pretraining.gradient_clip_norm, finetuning.gradient_clip_norm) == (None, None)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_presets_trees_are_as_deep_as_its_backbone(preset: Callable[[], Preset]) -> None:
    assert len(preset().finetuning.sampling.num_neighbors) == preset().pretraining.backbone.num_layers
