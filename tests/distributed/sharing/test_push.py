"""`rdl push` on the command line: what is refused, and a model that arrives whole, its values hidden."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.sharing.push import Push, values_line
from rdl_core.checkpoint_files import read_description
from rdl_core.config import robust
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint, save_pretrained
from tests import REPOSITORY
from tests.hub_server import TOKEN, hub_server


@pytest.fixture
def folder(nasty_store: Store, tmp_path: Path) -> Path:
    checkpoint = Checkpoint(
        weights={},
        backbone=robust().pretraining.backbone,
        schema=nasty_store.schema,
        edge_types=nasty_store.graph.edge_types,
        kind="pretrained",
        about={},
    )
    return save_pretrained(tmp_path / "model", checkpoint)


def test_both_ways_with_values_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="--publish-vocabularies and --hash-vocabularies exclude each other"):
        Push(checkpoint=Path("m"), to="a/b", publish_vocabularies=True, hash_vocabularies=True)


def test_how_many_columns_have_values_is_said(folder: Path) -> None:
    assert (
        values_line(folder) == "the model holds values of 5 columns as they are in the data; its README.md lists them"
    )


def test_the_command_refuses_values_then_pushes_them_hashed(folder: Path, tmp_path: Path) -> None:
    with hub_server() as hub:
        own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        settings = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(REPOSITORY)}

        def rdl(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "distributed", *words]
            environment = {**os.environ, **own, **settings}
            return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)

        push = ("push", "--checkpoint", str(folder), "--to", "acme/nasty", "--json")
        refused = rdl(*push)
        assert refused.returncode == 2
        assert "match.tags: 4 values" in refused.stderr and "--hash-vocabularies" in refused.stderr
        assert hub.asked == []
        done = rdl(*push, "--hash-vocabularies")
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["hashed"] and result["columns_with_values"]["match.tags"] == 4
        assert b"derby" not in b"".join(hub.files("acme/nasty").values())
        (tmp_path / "read").mkdir()
        for name, content in hub.files("acme/nasty").items():
            (tmp_path / "read" / name).write_bytes(content)
        assert read_description(tmp_path / "read", kind="pretrained")["schema"]["database"] == "nasty"
