"""Where data is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.commands.inputs import find_data


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """RDL_DATA with two datasets and a folder that is none."""
    for name in ("rel-a", "rel-b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "manifest.yaml").touch()
    (tmp_path / "data" / "not-a-dataset").mkdir()
    monkeypatch.setenv("RDL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_data_is_found_by_path_and_by_name(root: Path) -> None:
    assert find_data(str(root / "rel-a")) == str(root / "rel-a")
    assert find_data("rel-b") == str(root / "rel-b")
    assert find_data("data/rel-b") == "data/rel-b"


def test_data_below_home_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))
    assert find_data("~/rel-a") == str(root / "rel-a")


def test_a_folder_here_goes_before_a_name_below_the_root(root: Path, tmp_path: Path) -> None:
    (tmp_path / "rel-a").mkdir()
    (tmp_path / "rel-a" / "manifest.yaml").touch()
    assert find_data("rel-a") == "rel-a"


def test_without_data_the_root_itself_or_its_only_dataset_is_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"which database\? pass --data .*: rel-a, rel-b$"):
        find_data(None)
    (root / "rel-a" / "manifest.yaml").unlink()
    assert find_data(None) == str(root / "rel-b")
    monkeypatch.setenv("RDL_DATA", str(root / "rel-b"))
    assert find_data(None) == str(root / "rel-b")


def test_without_rdl_data_the_shared_folder_is_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDL_DATA")
    (root.parent / "shared").mkdir()
    root.rename(root.parent / "shared" / "data")
    (root.parent / "here").mkdir()
    monkeypatch.chdir(root.parent / "here")
    assert find_data("rel-a") == "../shared/data/rel-a"


@pytest.mark.parametrize("name", ["stanford-star/relbench-v1/rel-f1", "org/name"])
def test_a_hub_name_is_left_to_relbench(root: Path, name: str) -> None:
    assert find_data(name) == name


@pytest.mark.parametrize("data", ["rel-c", "./rel-c/x", "/no/such", "~/no-such", "data/not-a-dataset"])
def test_an_unknown_dataset_is_refused_with_those_there_are(root: Path, data: str) -> None:
    with pytest.raises(FileNotFoundError) as error:
        find_data(data)
    assert repr(data) in str(error.value)
    assert "there are: rel-a, rel-b." in str(error.value)
    assert "Remedy" in str(error.value)


def test_a_name_is_found_below_the_folder_data_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RDL_DATA")
    assert find_data("rel-a") == "data/rel-a"
    (root.parent / "shared" / "rel-c").mkdir(parents=True)
    (root.parent / "shared" / "rel-c" / "manifest.yaml").touch()
    monkeypatch.setenv("RDL_DATA", str(root.parent / "shared"))
    assert find_data("rel-a") == "data/rel-a"
    assert find_data("rel-c") == str(root.parent / "shared" / "rel-c")
