"""Preset files: written, read back, refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from distributed.commands.command_line import parse
from distributed.commands.options import COMMANDS
from distributed.runs.preset_file import pretraining_preset, read_preset_file, write_preset_file
from rdl_core.config import PRESETS, LinearRows, PretrainingConfig, contrast
from tune.search_space import with_setting


@pytest.mark.parametrize("preset", list(PRESETS))
def test_what_was_written_is_read_back_equal(preset: str, tmp_path: Path) -> None:
    config = with_setting(PRESETS[preset]().pretraining, {"learning_rate": 1 / 3, "seed": 5, "max_hours": None})
    path = write_preset_file(tmp_path / "preset.yaml", config, {"sweep": "équipe"})
    assert read_preset_file(path) == pretraining_preset(str(path)) == config


def edited(tmp_path: Path, edit: Any) -> Path:
    path = write_preset_file(tmp_path / "preset.yaml", contrast().pretraining, {})
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["pretraining"]["backbone"].update(layers=2), "pretraining.backbone.layers is unknown"),
        (lambda c: c.update(finetuning={}), "finetuning is unknown"),
        (lambda c: c.update(preset="best"), "preset must be one of robust, paper, contrast, got 'best'"),
        (
            lambda c: c["pretraining"]["backbone"].update(num_layers="2"),
            "pretraining.backbone.num_layers is '2'; it should be a valid integer",
        ),
        (
            lambda c: c["pretraining"].update(max_steps=True),
            "pretraining.max_steps is True; it should be a valid integer",
        ),
        (lambda c: c["pretraining"].update(corruption=0.4), "pretraining.corruption is 0.4; it should be an object"),
        (lambda c: c["pretraining"].update(patience=0), "pretraining.patience is 0; it should be greater than 0"),
        (lambda c: c.pop("pretraining"), "has no mapping 'pretraining'"),
    ],
)
def test_a_field_that_is_wrong_is_refused_by_its_dotted_name(edit: Any, message: str, tmp_path: Path) -> None:
    path = edited(tmp_path, edit)
    with pytest.raises(ValueError, match=str(path)) as error:
        read_preset_file(path)
    assert message in str(error.value)


def test_a_preset_file_names_only_what_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "preset.yaml"
    path.write_text(
        "preset: paper\npretraining:\n  seed: 3\n  learning_rate: 3e-4\n  backbone: {channels: 64, rows: linear}\n"
    )
    base = PRESETS["paper"]().pretraining
    backbone = replace(base.backbone, channels=64, rows=LinearRows())
    assert read_preset_file(path) == replace(base, seed=3, learning_rate=3e-4, backbone=backbone)
    path.write_text("preset: paper\npretraining:\n  backbone:\n    rows: {dropout: 0.1}\n")
    rows = replace(base.backbone.rows, dropout=0.1)
    assert read_preset_file(path) == replace(base, backbone=replace(base.backbone, rows=rows))


def test_pretrain_takes_a_preset_file_with_its_seed_and_options_over_it(tmp_path: Path) -> None:
    config = with_setting(
        PRESETS["paper"]().pretraining, {"seed": 3, "backbone.num_layers": 3, "validation_corruption": 0.1}
    )
    path = str(write_preset_file(tmp_path / "preset.yaml", config, {}))
    assert parse(COMMANDS["pretrain"], ["--preset", path], "test").config == config
    expected: PretrainingConfig = with_setting(config, {"seed": 4, "backbone.num_layers": 2})
    words = ["--preset", path, "--seed", "4", "--config.backbone.num-layers", "2"]
    assert parse(COMMANDS["pretrain"], words, "test").config == expected
