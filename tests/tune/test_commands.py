"""`python -m tune` refuses bad input before Ray starts; a report prints the command that makes its store."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
from relbench.load import RelBenchDataset

import rdl_core
from distributed.commands import options
from distributed.commands.command_line import parse
from distributed.commands.entry import COMMAND_MODULES
from rdl_core.config import paper
from tune import rdl
from tune.__main__ import main
from tune.commands import COMMANDS
from tune.sweep_command import changed_store_options


def test_the_store_options_of_a_report_make_the_sweeps_store() -> None:
    sweep = parse(
        COMMANDS["sweep"], ["--timeless-rows", "always", "--exclude-columns", "goal.minute", "match.score"], "test"
    )
    words = ["--data", "x", *changed_store_options(sweep), "--workers", "2"]
    assert parse(options.COMMANDS["pretrain"], words, "test").store == sweep.store
    assert changed_store_options(parse(COMMANDS["sweep"], [], "test")) == []


def test_what_is_not_varied_can_be_set_but_for_what_the_sweep_sets(capsys: pytest.CaptureFixture[str]) -> None:
    config = parse(COMMANDS["sweep"], ["--grid", "paper", "--config.backbone.channels", "64"], "test").config
    assert config == dataclasses.replace(paper().pretraining, backbone=config.backbone)
    assert config.backbone.channels == 64
    assert main(["sweep", "--config.patience", "3"]) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert "--config.patience cannot be given here: trials that end by themselves" in text


def test_a_grid_with_fewer_samples_than_workers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "grid.yaml").write_text("space: {samples_per_step: [1, 4]}")
    assert main(["sweep", "--grid", str(tmp_path / "grid.yaml"), "--workers-per-trial", "2"]) == 2
    assert "samples_per_step has values below --workers-per-trial 2" in " ".join(capsys.readouterr().err.split())


def test_rdl_has_the_commands_of_both_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["rdl", *words])
        assert rdl.main() == 0
        return capsys.readouterr().out

    commands = re.findall(r"^  (\w+(?: \w+)?)  +\S", shown("--help"), re.M)
    below = [name for module in COMMAND_MODULES for name in import_module(module).COMMANDS]
    assert commands == [*below, *COMMANDS]
    assert shown("--version").strip() == rdl_core.__version__ == importlib.metadata.version("relational-pretraining")


def test_a_sweep_that_cannot_run_or_is_another_is_refused_in_a_screen(
    nasty_dataset: RelBenchDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "--data", str(nasty_dataset.dataset_dir), "--runs-dir", str(tmp_path), "--name", "small"]
    assert main(command) == 2
    assert "seed table 'order_line' has 40 rows up to the cutoff, fewer than the 64 seeds" in capsys.readouterr().err
    assert not (tmp_path / "small").exists(), "a refused command leaves no run folder"
    (tmp_path / "small").mkdir()  # which is not removed then
    assert main(command) == 2
    capsys.readouterr()
    assert main([*command, "--max-steps", "7"]) == 2
    text = capsys.readouterr().err
    assert "base.max_steps: 2000 -> 7" in text
    assert "Remedy: the options as they were, another name, or delete" in text
    assert not (tmp_path / "small" / "trials").exists()
