"""Models go to a hub and come back whole: by name, by revision, and without a network; what fails is said with its remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rdl_core.checkpoint_files import OWN_FILES, files_of
from rdl_core.hub import model_folder, upload
from rdl_core.problems import InputError
from tests import REPOSITORY
from tests.hub_server import TOKEN, Hub, hub_server

Script = Callable[..., str]
MAKE = """
import sys
from pathlib import Path
from rdl_core.checkpoint_files import read_description, write_checksums, write_json
from rdl_core.hub import model_folder, upload
from rdl_core.problems import InputError

def made(folder, seed, extra):
    folder.mkdir()
    write_json(folder / "config.json", {"format_version": 4, "kind": "pretrained", "about": {"seed": seed}})
    write_json(folder / "schema.json", {"database": "shop", "edge_types": []})
    (folder / "README.md").write_text("---\\ntags: []\\n---\\n")
    (folder / "model.safetensors").write_bytes(bytes([seed]) * 1000)
    (folder / extra).write_text(extra)
    write_checksums(folder)
    return folder

def seed_of(place, **more):
    return read_description(place, **more)["about"]["seed"]

def refused(work):
    try:
        work()
    except InputError as error:
        return str(error)
    raise AssertionError("not refused")
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server() as running:
        yield running


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Script:
    """Runs lines of Python in a process of its own, since huggingface_hub reads its environment when it is imported; returns what they print."""

    def script(lines: str, **environment: str) -> str:
        own = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONPATH": str(REPOSITORY),
        }
        done = subprocess.run(
            [sys.executable, "-c", MAKE + lines],
            env={**os.environ, **own, **environment}, cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return script


def test_a_model_goes_up_and_comes_back_by_name_by_revision_and_without_a_network(hub: Hub, run: Script) -> None:
    told = json.loads(run("""
import json
first = upload(made(Path("first"), 1, "a.txt"), "acme/shop", private=True, message="one")
second = upload(made(Path("second"), 2, "b.txt"), "acme/shop", private=True, message="two")
sha = first.rsplit("/", 1)[1]
seeds = [seed_of("acme/shop"), seed_of("acme/shop@" + sha), seed_of("acme/shop", revision=sha), seed_of("acme/shop")]
print(json.dumps({"seeds": seeds, "torch": "torch" in sys.modules, "sha": sha}))
"""))  # fmt: skip
    assert told["seeds"] == [2, 1, 1, 2]
    assert not told["torch"]
    assert hub.repositories["acme/shop"].private
    assert set(hub.files("acme/shop")) == {".gitattributes", "b.txt", *OWN_FILES}, "what the first had besides is gone"
    asked = len(hub.asked)
    again = run("print(seed_of('acme/shop'), seed_of('acme/shop@" + told["sha"] + "'))", HF_HUB_OFFLINE="1")
    assert again.split() == ["2", "1"]
    assert len(hub.asked) == asked


def test_what_the_hub_refuses_is_said_with_its_remedy(hub: Hub, run: Script) -> None:
    told = run("""
import os
folder = made(Path("first"), 1, "a.txt")
upload(folder, "acme/open", private=False, message="one")
print(refused(lambda: upload(folder, "acme/open", private=True, message="two")))
print(refused(lambda: model_folder("acme/gone")))
print(refused(lambda: model_folder("acme/open@no-such-branch")))
os.environ["HF_TOKEN"] = "hf_of_somebody_else"
print(refused(lambda: upload(folder, "acme/new", private=True, message="three")))
""")  # fmt: skip
    assert "acme/open is public on the hub, expected a private model; nothing was sent" in told
    assert "cannot get the model acme/gone from the hub: " in told
    assert "cannot get the model acme/open at revision no-such-branch from the hub: " in told
    assert "cannot put the model acme/new on the hub: " in told
    assert told.count("Remedy: ") == 4
    assert len(hub.repositories["acme/open"].commits) == 2  # .gitattributes, and the first


def test_a_model_that_is_not_here_and_no_hub_answers_is_said(run: Script) -> None:
    assert "cannot get the model acme/shop from the hub" in run(
        "print(refused(lambda: model_folder('acme/shop')))", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0"
    )
    assert "cannot get the model acme/shop from the hub" in run(
        "print(refused(lambda: model_folder('acme/shop')))", HF_HUB_OFFLINE="1"
    )


def test_a_folder_goes_before_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "model").mkdir(parents=True)
    assert model_folder("runs/model") == Path("runs/model")
    assert model_folder("runs/mistyped") == Path("runs/mistyped"), "its first part is a folder: no name of the hub"
    assert model_folder("/nowhere/acme") == Path("/nowhere/acme")
    with pytest.raises(InputError, match="is a folder and has no revisions, got revision 'main'"):
        model_folder("runs/model", "main")


@pytest.mark.parametrize("name", ["shop", "acme/shop@main", "a/b/c", "../shop", "acme/"])
def test_what_is_no_name_on_the_hub_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name on the hub; expected org/name"):
        upload(tmp_path, name, private=True, message="")


def test_two_revisions_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="names revision 'v1', and revision='v2' another one"):
        model_folder("acme/shop@v1", "v2")


def test_the_files_of_a_hub_s_copy_are_those_of_the_model(tmp_path: Path) -> None:
    for name in (".gitattributes", "config.json", "checksums.json", "heads/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert list(files_of(tmp_path)) == ["config.json", "heads/a.txt"]
