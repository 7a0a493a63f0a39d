"""The pages with a story, docs/tutorial.md and docs/drift.md: their commands, as they stand there, lead to what the pages say."""

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

SMALLER = {"CUSTOMERS": "150", "PRETRAINING_STEPS": "2", "FINETUNING_STEPS": "2"}


def commands(page: str) -> list[list[str]]:
    """The words of each command of a page, its variables replaced by those of SMALLER."""
    text = (REPOSITORY / "docs" / page).read_text()
    lines = "".join(re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)).splitlines()
    assert lines[0].startswith("export ")
    assert {word.split("=")[0] for word in lines[0].split()[1:]} <= SMALLER.keys()
    return [shlex.split(Template(line).substitute(SMALLER)) for line in lines[1:]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which commands run, and find the repository's modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RDL_DATA", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path


def run_page(page: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a page's commands; returns what they said, all of them."""
    said = ""
    for program, *words in commands(page):
        if program == "rdl":
            status = run_words("rdl", None, (*COMMAND_MODULES, "tune.commands"), words)
        else:
            assert program == "python"
            status = subprocess.run([sys.executable, *words], check=False).returncode
        told = capsys.readouterr().err
        assert status == 0, (program, words, told[-3000:])
        said += told
    return said


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session", "one_thread")
def test_every_command_of_the_tutorial_runs_and_the_last_predicts_for_every_customer(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_page("tutorial.md", capsys)
    predictions = pd.read_csv(here / "tomorrow.csv")
    customers = pd.read_parquet(here / "data" / "shop" / "keys" / "customers.parquet")
    assert len(predictions) == len(customers) == int(SMALLER["CUSTOMERS"])
    assert predictions["customer_id"].str.startswith("C-").all() and predictions["customer_id"].is_unique
    assert predictions["prediction"].between(0, 1).all()
    assert "customers:" in (here / "schema.yaml").read_text()


@pytest.mark.usefixtures("one_thread")
def test_the_months_of_the_page_on_drift_run_and_only_the_column_that_changed_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = " ".join(run_page("drift.md", capsys).split())
    assert re.findall(r"warning: (\S+) has drifted", said) == ["orders.payment_method"]
    assert "have a value that the model does not know" in said
    assert pd.read_csv(here / "november.csv")["time"].max() < "2024-11-01"
    january = pd.read_csv(here / "january.csv")
    assert len(january) == int(SMALLER["CUSTOMERS"]) and january["time"].min() > "2024-12-01"
