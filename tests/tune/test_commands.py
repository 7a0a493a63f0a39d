"""`python -m tune` refuses bad input before Ray starts; a report prints the command that makes its store."""

from __future__ import annotations

from pathlib import Path

import pytest
import tyro
from relbench.load import RelBenchDataset

from distributed.commands.inputs import store_config
from distributed.commands.options import Pretrain
from tune.__main__ import main
from tune.commands import Sweep
from tune.sweep_command import changed_store_options


def test_the_store_options_of_a_report_make_the_sweeps_store() -> None:
    sweep = Sweep(timeless_rows="always", exclude_columns=("goal.minute", "match.score"))
    again = tyro.cli(Pretrain, args=["--data", "x", *changed_store_options(sweep), "--workers", "2"])
    assert store_config(again) == store_config(sweep)
    assert changed_store_options(Sweep()) == []


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
