"""A whole pretraining whose database and store are in an object store, by the command, through Ray Train, in a session of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from relbench.load import RelBenchDataset

from distributed.runs.status import run_status
from distributed.storage.remote_files import upload_store
from rdl_core.graph.store import Store
from tests import REPOSITORY
from tests.distributed.small_runs import SMALL_SAMPLES
from tests.s3_server import SECRETS, s3_server

pytest.importorskip("moto", reason="moto's S3 server is in the dev extra")
pytestmark = pytest.mark.ray


def test_pretraining_from_s3_fetches_the_store_once_for_all_processes_and_tells_no_secret(
    nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    with s3_server(tmp_path) as s3:
        data = Path(nasty_dataset.dataset_dir)
        for path in data.rglob("*"):
            if path.is_file():
                s3.put(f"bucket/data/nasty/{path.relative_to(data)}", path.read_bytes())
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3.environment().items():
                patch.setenv(name, value)
            upload_store(nasty_store.path, f"s3://bucket/stores/{nasty_store.path.name}")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "distributed", "pretrain", "--data", "s3://bucket/data/nasty"),
                *("--stores-dir", "s3://bucket/stores", "--cache-dir", str(tmp_path / "cache")),
                *("--runs-dir", str(tmp_path / "runs"), "--run-name", "r", "--workers", "1", "--max-steps", "2"),
                *(*SMALL_SAMPLES, "--samples-per-step", "1", "--validation-samples", "2", "--wandb", "False", "--json"),
            ],
            env={**os.environ, **s3.environment(), "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=300,
            cwd=REPOSITORY,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        gets = {name: n for name, n in s3.gets().items() if name.startswith("bucket/stores/") and name.endswith(".npy")}
    assert len(gets) == len(nasty_store.manifest["files"])
    assert set(gets.values()) == {1}
    assert "a copy on 1 node" in done.stderr
    assert "workers: 1" in done.stderr
    status = run_status(tmp_path / "runs" / "r")
    assert (status["state"], status["step"], status["workers"]) == ("finished", 2, 1)
    result = json.loads(done.stdout.splitlines()[-1])
    run_json = next((tmp_path / "runs" / "r" / "train").glob("checkpoint_*")) / "run.json"
    assert json.loads(run_json.read_text())["store"] == nasty_store.content_hash
    assert Path(result["checkpoint"]).is_dir()
    said = done.stdout + done.stderr
    left = b"".join(p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file())
    for secret in SECRETS.values():
        assert secret not in said
        assert secret.encode() not in left
