"""What runs are called, and that what they leave is whole."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distributed.cannot_run import CannotRun
from distributed.runs.folder import describe_differences, held, open_run, remove_unused_runs, write_json
from tests import REPOSITORY

CONFIG = {"seed": 0, "backbone": {"channels": 16, "rows": {"model": "linear"}}, "path": Path("x")}


def test_the_default_name_is_a_function_of_command_data_and_configuration(tmp_path: Path) -> None:
    def name(command: str = "pretrain", data: str = "/a/rel-f1", **changes: Any) -> str:
        return open_run(tmp_path, None, command, data, CONFIG | changes).name

    assert name() == name()
    assert name().startswith("pretrain-rel-f1-")
    different = [
        name(),
        name(command="sample"),
        name(data="/a/rel-b"),
        name(seed=1),
        name(backbone={"channels": 8}),
        name(new=0),
    ]
    assert len(set(different)) == len(different)


def test_the_default_name_carries_task_and_arm(tmp_path: Path) -> None:
    run = open_run(tmp_path, None, "finetune", "/a/shop", {"task": "customer-churn", "arm": "finetuned", "seed": 0})
    assert re.fullmatch("finetune-shop-customer-churn-finetuned-[0-9a-f]{8}", run.name)


def test_the_order_of_settings_does_not_change_the_name(tmp_path: Path) -> None:
    first = open_run(tmp_path, None, "sample", "d", {"a": 1, "b": 2})
    assert open_run(tmp_path, None, "sample", "d", {"b": 2, "a": 1}) == first


def test_the_same_name_continues_and_keeps_its_result(tmp_path: Path) -> None:
    first = open_run(tmp_path, "mine", "pretrain", "/a/rel-f1", CONFIG)
    assert first.folder == tmp_path / "mine"
    assert first.result() is None
    assert first.finish({"loss": 0.5}) == (written := {"run": str(first.folder), "loss": 0.5})
    assert open_run(tmp_path, "mine", "pretrain", "/a/rel-f1", CONFIG).result() == written
    assert json.loads((tmp_path / "mine" / "config.json").read_text()) == {
        "command": "pretrain",
        "data": "rel-f1",
        "seed": 0,
        "backbone": {"channels": 16, "rows": {"model": "linear"}},
        "path": "x",
    }


def test_a_name_taken_by_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    open_run(tmp_path, "mine", "pretrain", "/a/rel-f1", CONFIG)
    changed = CONFIG | {"backbone": {"channels": 32, "rows": {"model": "linear"}}, "added": True}
    with pytest.raises(FileExistsError) as error:
        open_run(tmp_path, "mine", "finetune", "/a/rel-f1", changed)
    shown = [line.strip() for line in str(error.value).splitlines() if "->" in line][1:]
    assert shown == ["command: pretrain -> finetune", "backbone.channels: 16 -> 32", "added: (not set) -> True"]
    assert json.loads((tmp_path / "mine" / "config.json").read_text())["command"] == "pretrain"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": {"c": [1, 2]}}, {"b": {"c": [1, 3]}}, ["a: 1 -> (not set)", "b.c: [1, 2] -> [1, 3]"]),
        ({"a": {"b": 1}}, {"a": None}, ["a: {'b': 1} -> None"]),
        ({"a": None}, {}, ["a: None -> (not set)"]),
    ],
)
def test_differences_name_the_leaf(old: Any, new: Any, expected: list[str]) -> None:
    assert describe_differences(old, new) == expected


def test_json_is_written_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "result.json", {"é": Path("p")})
    write_json(tmp_path / "new" / "result.json", {"é": 2})
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["result.json"]
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == {"é": 2}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"old": 1})
    circular: dict[str, Any] = {}
    circular["self"] = circular
    with pytest.raises(ValueError, match="Circular"):
        write_json(path, circular)
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_another_process_drives_is_refused_until_that_process_is_killed(tmp_path: Path) -> None:
    run = open_run(tmp_path, "shared", "pretrain", "rel-f1", CONFIG)
    program = "import sys, time; from pathlib import Path; from distributed.runs.folder import held\n"
    program += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, str(run.folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            with (
                pytest.raises(
                    CannotRun, match=rf"'shared' is being driven by process {other.pid} on .*(?s:.*)another name"
                ),
                held(run.folder),
            ):
                pass
            remove_unused_runs()  # as a refused command does: the folder it made is the other one's now
            assert (run.folder / "config.json").exists()
        finally:
            other.kill()
    with held(run.folder):
        pass
    with held(run.folder):
        pass


def test_a_refused_command_leaves_no_folder_of_runs_that_it_made_and_no_other_goes(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    open_run(runs, None, "import", "shop", CONFIG)
    remove_unused_runs()
    assert not runs.exists()
    runs.mkdir()
    open_run(runs, None, "import", "shop", CONFIG)
    remove_unused_runs()
    assert list(runs.iterdir()) == [], "the user's own folder stays"
