"""docs/tutorial.md: its commands, as they stand there, lead from a SQLite file to a prediction for every customer."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from string import Template

import pandas as pd
import pytest

from distributed.commands.entry import COMMAND_MODULES, run_words
from tests import REPOSITORY

PAGE = REPOSITORY / "docs" / "tutorial.md"
SMALLER = {"CUSTOMERS": "150", "PRETRAINING_STEPS": "2", "FINETUNING_STEPS": "2"}


def commands() -> list[list[str]]:
    """The words of each command of the page, its variables replaced by those of SMALLER."""
    lines = "".join(re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.M | re.S)).splitlines()
    assert lines[0].startswith("export ")
    assert {word.split("=")[0] for word in lines[0].split()[1:]} == SMALLER.keys()
    return [shlex.split(Template(line).substitute(SMALLER)) for line in lines[1:]]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session", "one_thread")
def test_every_command_of_the_tutorial_runs_and_the_last_predicts_for_every_customer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RDL_DATA", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for program, *words in commands():
        if program == "rdl":
            status = run_words("rdl", None, (*COMMAND_MODULES, "tune.commands"), words)
        else:
            assert program == "python"
            status = subprocess.run([sys.executable, *words], check=False).returncode
        assert status == 0, (program, words, capsys.readouterr().err[-3000:])
    predictions = pd.read_csv(tmp_path / "tomorrow.csv")
    customers = pd.read_parquet(tmp_path / "data" / "shop" / "keys" / "customers.parquet")
    assert len(predictions) == len(customers) == int(SMALLER["CUSTOMERS"])
    assert predictions["customer_id"].str.startswith("C-").all() and predictions["customer_id"].is_unique
    assert predictions["prediction"].between(0, 1).all()
    assert "customers:" in (tmp_path / "schema.yaml").read_text()
