"""What is written is there whole or not at all, whatever ends the writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rdl_core.atomic_write import replace_file, replace_folder, whole_folder
from tests import REPOSITORY

KILLED = """
import os, signal, sys
from pathlib import Path
from rdl_core.atomic_write import replace_file, replace_folder

path = Path(sys.argv[1])
with (replace_folder if path.suffix == "" else replace_file)(path) as partial:
    (partial / "a" if partial.is_dir() else partial).write_text("half")
    if sys.argv[2] == "between the renames":
        rename = Path.rename
        Path.rename = lambda self, target: os.kill(os.getpid(), signal.SIGKILL) if self == partial else rename(self, target)
    else:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_while_it_writes(path: Path, when: str = "") -> None:
    command = [sys.executable, "-c", KILLED, str(path), when]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=60)
    assert done.returncode == -signal.SIGKILL


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_replaced_as_a_whole_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    for text in ("one", "two"):
        with replace_file(path) as partial:
            assert (partial.suffix, partial.parent) == (".json", path.parent)  # a picture's format follows from it
            partial.write_text(text)
        assert path.read_text() == text
    assert names(path.parent) == ["x.json"]


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), replace_file(path):
        pass
    assert (path.read_text(), names(tmp_path)) == ("old", ["x"])


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("a", "b"):
        with replace_folder(path) as partial:
            (partial / "deep").mkdir()
            (partial / "deep" / name).touch()
        assert (names(path / "deep"), names(tmp_path)) == ([name], ["folder"])
    with pytest.raises(ZeroDivisionError), replace_folder(path):
        raise ZeroDivisionError
    assert (names(path / "deep"), names(tmp_path)) == (["b"], ["folder"])


@pytest.mark.parametrize("name", ["file.txt", "folder"])
def test_what_a_killed_writer_left_is_not_there_and_goes_with_the_next(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    kill_while_it_writes(path)
    assert not path.exists()
    assert len(names(tmp_path)) == 1
    with (replace_file if path.suffix else replace_folder)(path) as partial:
        if path.suffix:
            partial.write_text("whole")
        else:
            assert names(partial) == []
    assert names(tmp_path) == [name]


def test_a_kill_between_the_two_renames_leaves_the_old_folder_to_be_found(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with replace_folder(path) as partial:
        (partial / "old").touch()
    assert whole_folder(path) == path
    kill_while_it_writes(path, "between the renames")
    assert not path.exists()
    assert names(whole_folder(path)) == ["old"]
    with replace_folder(path) as partial:
        (partial / "new").touch()
    assert (names(whole_folder(path)), names(tmp_path)) == (["new"], ["folder"])
