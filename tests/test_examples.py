"""`make run` and the script without Ray, shortened: that they end well and leave what they promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from examples.run import TASK_NAMES
from rdl_core.model.checkpoint import from_pretrained
from tests import REPOSITORY

ROOT = REPOSITORY


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.ray
def test_make_run_ends_with_the_table_and_the_promised_result(tmp_path: Path) -> None:
    out = tmp_path / "example"
    done = python("-m", "examples.run", "--out", str(out), "--steps", "40", "--fine-tuning-steps", "20")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("◀") == 6  # per task: the best arm with all labels and with few, the best head
    result = json.loads((out / "result.json").read_text())
    assert set(result) >= {
        "seconds", "tasks", "few_labels", "heads", "losses", "effective_rank", "checkpoint", "curves", "labels",
        "tomorrow", "predictions", "wandb_dir",
    }  # fmt: skip
    assert tuple(result["tasks"]) == tuple(result["few_labels"]["tasks"]) == tuple(result["heads"]) == TASK_NAMES
    for beside in result["heads"].values():
        assert set(beside["baselines"]) == {"trivial", "lightgbm"}
        assert set(beside["heads"]) == {"network", "linear", "lightgbm", "blend"}
    for task in (*result["tasks"].values(), *result["few_labels"]["tasks"].values()):
        assert all(set(task[arm]) >= {"val", "test"} for arm in ("scratch", "frozen", "finetuned"))
    for before, final in result["losses"].values():
        assert before == pytest.approx(1.0, abs=0.05)
        assert final < before
    assert set(result["losses"]) == {"row", "link", "context", "future"}
    assert result["effective_rank"] > 2
    assert from_pretrained(result["checkpoint"]).schema.database == "shop"
    for name in ("curves", "labels", "tomorrow"):
        with Image.open(result[name]) as picture:
            assert picture.width > 500
    for task, number in result["predictions"].items():
        frame = pd.read_parquet(out / f"predictions-{task}.parquet")
        assert len(frame) == number > 100
        assert np.isfinite(frame["prediction"]).all()
        assert frame["customer_id"].is_unique
    assert list(Path(result["wandb_dir"]).glob("offline-run-*/*.wandb"))


def test_pretraining_without_ray_writes_a_checkpoint(data_root: Path, tmp_path: Path) -> None:
    done = python("-m", "examples.pretrain_without_ray", str(data_root / "rel-f1"), "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert from_pretrained(tmp_path / "runs" / "without_ray", kind="pretrained").about["step"] == 2
