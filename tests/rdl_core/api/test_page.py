"""The page on Python: every line of its code runs on a small shop, and what it lists is there."""

from __future__ import annotations

import importlib
import re
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch

from distributed.importing.importer import ImportConfig, import_database
from examples.shop import TASKS, TEST_TIMESTAMP, VAL_TIMESTAMP, write_shop
from rdl_core.api import Finetuned, PretrainedModel
from rdl_core.config import registered
from tests import REPOSITORY

PAGE = (REPOSITORY / "docs" / "python.md").read_text()
MOST_LINES_OF_A_PART = 25


def test_the_code_of_the_page_runs_from_a_dataset_to_predictions_and_parts_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"sqlite:///{write_shop(tmp_path / 'shop.db', customers=200)}"
    config = ImportConfig(
        source=source,
        out=tmp_path / "data" / "shop",
        name="shop",
        val_timestamp=VAL_TIMESTAMP,
        test_timestamp=TEST_TIMESTAMP,
        tasks=TASKS,
    )
    import_database(config, None)
    monkeypatch.chdir(tmp_path)
    for registry in ("_GNNS", "_ROW_ENCODERS"):
        monkeypatch.setattr(registered, registry, {})
    code = "\n".join(re.findall("```python\n(.*?)```", PAGE, re.DOTALL)).replace("max_steps=400", "max_steps=2")
    code = code.replace('out="runs/churn"', 'max_steps=10, out="runs/churn"')
    code = code.replace("contrast().pretraining", "replace(contrast().pretraining, validation_samples=2)")
    found: dict[str, object] = {"__name__": "page"}
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="task customer-churn", category=UserWarning)  # few of a small shop
        exec(code, found)
    printed = capsys.readouterr().out
    assert "Store of database 'shop'" in printed and "roc_auc 0." in printed
    assert isinstance(found["result"], Finetuned) and isinstance(found["sage"], PretrainedModel)
    for name, time in (("tomorrow", None), ("in_march", "2024-03-01")):
        predictions = found[name]
        assert isinstance(predictions, pd.DataFrame)
        assert predictions["customer_id"].tolist() == ["C-00008", "C-00011"]
        assert predictions["prediction"].between(0, 1).all()
        assert time is None or (predictions["time"] == pd.Timestamp(time, tz="UTC")).all()
    vectors, churn = found["vectors"], found["churn"]
    assert isinstance(vectors, torch.Tensor) and vectors.shape == (3, 64)
    assert isinstance(churn, torch.Tensor) and churn.shape == (3,)


def test_parts_of_ones_own_take_few_lines() -> None:
    for title in ("A graph network of your own", "A row encoder of your own"):
        (code,) = re.findall("```python\n(.*?)```", PAGE.split(f"## {title}")[1].split("\n## ")[0], re.DOTALL)
        assert len([line for line in code.splitlines() if line.strip()]) <= MOST_LINES_OF_A_PART


def test_the_names_that_the_page_lists_can_be_imported() -> None:
    listed = {
        (package, name)
        for package, text in re.findall(r"^\| `(rdl_core\.\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)(?:\(\))?`", text)
    }
    assert len(listed) > 20
    assert [(p, name) for p, name in sorted(listed) if not hasattr(importlib.import_module(p), name)] == []
