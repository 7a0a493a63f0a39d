"""The command line as people use it, in this process: help, refusals of one screen, runs on tiny data."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from distributed.commands.options import IGNORED, Evaluate, Finetune, Import, Materialize, Pretrain, Sample
from distributed.commands.pretrain import pretraining_config
from distributed.commands.shared_options import Common
from distributed.sampling.placement import PlacementName
from rdl_core.config import PRESETS, Arm, Precision, PresetName, Regime
from tests import REPOSITORY
from tests.nasty_database import write_database, write_nasty_database
from tune.commands import Sweep
from tune.search_space import Search
from tune.sweep_plan import VALIDATION_SAMPLES, EarlyStopping
from tune.trials.resources import Execution

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = REPOSITORY

COMMANDS: dict[str, type[Common]] = {
    "import": Import,
    "materialize": Materialize,
    "sample": Sample,
    "pretrain": Pretrain,
    "finetune": Finetune,
    "evaluate": Evaluate,
}
SHORT = ["--max-steps", "4", "--validation-interval-steps", "2", "--rows", "linear"]


@pytest.fixture(scope="module")
def work(nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of all commands here: the data, and one folder of runs whose store is made once."""
    return [
        "--data",
        str(nasty_dataset.dataset_dir),
        "--runs-dir",
        str(tmp_path_factory.mktemp("work") / "runs"),
        "--json",
    ]


def runs_dir(work: list[str]) -> Path:
    return Path(work[work.index("--runs-dir") + 1])


Captured = pytest.CaptureFixture[str]


def done(capsys: Captured, *arguments: str) -> dict[str, Any]:
    """Runs a command that must succeed; its result from the last line of stdout, which result.json must hold too."""
    capsys.readouterr()
    status = main(list(arguments))
    out, err = capsys.readouterr()
    assert status == 0, err
    (line,) = out.splitlines()
    result: dict[str, Any] = json.loads(line)
    assert json.loads((Path(result["run"]) / "result.json").read_text()) == result
    return result


def refused(capsys: Captured, *arguments: str) -> str:
    """Runs a command that must be refused with status 2 and one screen of text, which is returned on one line."""
    capsys.readouterr()
    status = main(list(arguments))
    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    assert "error: " in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 40
    return " ".join(err.split())


# -------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    "arguments",
    [
        ["pretrain", "--no-such-option", "1"],
        ["pretrain", "--preset", "best"],
        ["finetune", "--task", "t", "--arm", "thawed"],
        ["nonsense"],
        ["materialize", "--exclude-columns", "a.b", "--exclude_columns=c.d"],
        ["sample"],
        [],
    ],
)
def test_what_the_command_line_does_not_know_is_refused(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    out, err = capsys.readouterr()
    assert len((out + err).splitlines()) < 30
    assert "Traceback" not in out + err


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--max-steps", "0"], ["--max-steps", "-3"]])
def test_numbers_that_mean_nothing_are_refused_by_their_option(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["finetune", "--task", "t", "--arm", "scratch", *arguments])
    out, err = capsys.readouterr()
    assert exit_status.value.code == 2
    assert f"{arguments[0]} must be at least 1, got {arguments[1]}" in " ".join((out + err).split())


def test_negatives_of_a_pretraining_are_the_presets_unless_asked() -> None:
    for preset in ("robust", "paper"):
        assert pretraining_config(Pretrain(preset=preset)).loss.max_negatives == 256
        assert pretraining_config(Pretrain(preset=preset, max_negatives=1024)).loss.max_negatives == 1024


def help_of(command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The options that a command's help shows, with their texts; "": what is before them."""
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as exit_status:
        main([command, "--help"])
    assert exit_status.value.code == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    before, *options = re.split(r" (?=--[a-z][a-z-]+[ ,])", shown)
    return {"": before} | {part.split(" ")[0].rstrip(","): part for part in options}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_explains_every_option_of_a_command_with_its_default_and_none_that_does_nothing(
    command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = help_of(command, capsys, monkeypatch)
    assert (COMMANDS[command].__doc__ or "").split("\n")[0][:40] in explained[""]
    fields = {f.name for f in dataclasses.fields(COMMANDS[command])} - {"batch_rows"}
    names = {"--" + name.replace("_", "-") for name in fields} - {f"--{name}" for name in IGNORED.get(command, ())}
    assert names == set(explained) - {"", "--help", "--no-json"}
    for option in names:
        text = explained["--no-json" if option == "--json" else option]
        words = re.sub(r"\([^)]*\)|\{[^}]*\}", " ", text.removeprefix(option))
        assert len(re.findall(r"[A-Za-z]?[a-z]{2,}", words)) >= 2, f"{option} has no help text: {text!r}"
        assert "(default: " in text or "(required)" in text


def test_options_without_a_meaning_for_a_command_are_taken_and_the_others_are_not(
    tmp_path: Path, capsys: Captured
) -> None:
    arguments = ["materialize", "--data", str(tmp_path / "none"), "--runs-dir", str(tmp_path)]
    assert "FileNotFoundError" in refused(capsys, *arguments, "--seed", "1", "--max_steps=5")
    with pytest.raises(SystemExit):
        main([*arguments, "--samplers", "2"])


def test_the_presets_values_in_the_help_are_the_presets(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, part in (("pretrain", "pretraining"), ("finetune", "finetuning")):
        found = 0
        for option, text in help_of(command, capsys, monkeypatch).items():
            if said := re.search(r"Default: the preset's \(([^;)]+)(?:; paper: ([^)]+))?\)", text):
                found += 1
                for preset, value in (("robust", said[1]), ("paper", said[2] or said[1])):
                    assert value == str(preset_value(getattr(PRESETS[preset](), part), preset, option)), (
                        command,
                        option,
                    )
            else:
                assert "the preset's" not in text
        assert found == {"pretrain": 10, "finetune": 6}[command]


def preset_value(config: Any, preset: str, option: str) -> Any:
    """What a preset has where the option would change it."""
    backbone = PRESETS[preset]().pretraining.backbone
    elsewhere = {
        "rows": backbone.rows.model, "num_layers": backbone.num_layers, "aggregation": backbone.aggregation,
        "corruption": PRESETS[preset]().pretraining.corruption.probability,
        "max_negatives": PRESETS[preset]().pretraining.loss.max_negatives,
    }  # fmt: skip
    name = option.removeprefix("--").replace("-", "_")
    return elsewhere[name] if name in elsewhere else getattr(config, name)


PROGRAM = """
import sys
from {package}.__main__ import main
try:
    main({arguments})
except SystemExit as end:
    print(end.code, [m for m in ("torch", "ray", "relbench", "wandb", "matplotlib") if m in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("package", "arguments", "status"),
    [("distributed", ["--help"], 0), ("distributed", ["pretrain", "--help"], 0), ("distributed", ["import", "--name"], 2),
     ("tune", ["--help"], 0), ("tune", ["sweep", "--help"], 0)],
)  # fmt: skip
def test_the_help_loads_neither_torch_nor_ray(package: str, arguments: list[str], status: int) -> None:
    program = PROGRAM.format(package=package, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stderr.splitlines()[-1] == f"{status} []"


def test_choices_of_the_command_line_are_those_of_the_code() -> None:
    for command, option, choices in (
        (Pretrain, "placement", PlacementName), (Pretrain, "precision", Precision), (Sample, "preset", PresetName),
        (Finetune, "preset", PresetName), (Finetune, "arm", Arm), (Finetune, "regime", Regime), (Evaluate, "regime", Regime),
        (Sweep, "regime", Regime), (Sweep, "early_stopping", EarlyStopping), (Sweep, "execution", Execution), (Sweep, "search", Search),
    ):  # fmt: skip
        hint = typing.get_type_hints(command)[option]
        offered = {
            choice
            for part in (hint, *typing.get_args(hint))
            for choice in typing.get_args(part)
            if isinstance(choice, str)
        }
        assert offered == set(typing.get_args(choices)), (command, option)
    assert Sweep().validation_samples == VALIDATION_SAMPLES


# ---------------------------------------------------------------------------------------------------------- refusals


def test_data_that_is_not_there_is_refused_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    write_nasty_database(tmp_path / "data" / "rel-nasty")
    monkeypatch.setenv("RDL_DATA", str(tmp_path / "data"))
    text = refused(capsys, "materialize", "--data", "rel-nice", "--runs-dir", str(tmp_path / "runs"))
    assert "FileNotFoundError" in text
    assert "'rel-nice'" in text
    assert "there are: rel-nasty" in text
    assert not (tmp_path / "runs").exists()


def test_broken_data_is_refused_by_table_and_column(tmp_path: Path, capsys: Captured) -> None:
    folder = write_nasty_database(tmp_path / "broken")
    (folder / "db" / "goal.parquet").write_bytes(b"not parquet")
    text = refused(capsys, "materialize", "--data", str(folder), "--runs-dir", str(tmp_path / "runs"))
    assert "DatabaseError" in text
    assert "db/goal.parquet" in text
    assert not list((tmp_path / "runs").glob("stores/*"))


def test_an_unknown_task_is_refused_with_the_tasks_there_are(work: list[str], capsys: Captured) -> None:
    text = refused(capsys, "finetune", *work, "--task", "team-losses", "--arm", "scratch")
    assert "'team-losses'" in text
    assert "team-points, team-wins" in text


@pytest.mark.parametrize("arm", ["frozen", "finetuned"])
def test_an_arm_that_is_pretrained_needs_a_checkpoint(work: list[str], capsys: Captured, arm: str) -> None:
    assert f"arm '{arm}' needs --checkpoint" in refused(capsys, "finetune", *work, "--task", "team-wins", "--arm", arm)


def test_scratch_takes_no_checkpoint(work: list[str], capsys: Captured) -> None:
    text = refused(capsys, "finetune", *work, "--task", "team-wins", "--arm", "scratch", "--checkpoint", "x")
    assert "arm 'scratch' starts fresh and takes no --checkpoint" in text


def test_a_checkpoint_that_is_not_there_is_refused(work: list[str], capsys: Captured, tmp_path: Path) -> None:
    missing = str(tmp_path / "model")
    assert f"no checkpoint at {missing}" in refused(
        capsys, "finetune", *work, "--task", "team-wins", "--arm", "frozen", "--checkpoint", missing
    )
    assert f"no checkpoint at {missing}" in refused(capsys, "evaluate", *work, "--checkpoint", missing)


def test_a_learning_rate_that_diverges_is_an_error_not_a_traceback(work: list[str], capsys: Captured) -> None:
    arguments = ["finetune", *work, "--task", "team-points", "--arm", "scratch", *SHORT, "--learning-rate", "1e30"]
    assert "lower the learning rate" in refused(capsys, *arguments)


def test_a_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RDL_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["materialize", "--data", str(tmp_path / "none"), "--runs-dir", str(tmp_path)])


# -------------------------------------------------------------------------------------------------------- whole runs


def test_materialize_reports_the_store_and_draws_the_schema(
    work: list[str], capsys: Captured, nasty_store: Any
) -> None:
    result = done(capsys, "materialize", *work)
    assert result["content_hash"] == nasty_store.content_hash
    assert result["rows"]["order_line"] == 48
    assert Path(result["schema_picture"]).stat().st_size > 10_000
    assert (Path(result["store"]) / "store.json").exists()
    assert done(capsys, "materialize", *work) == result


def test_materialize_shows_the_cutoff_each_columns_type_and_where_the_schema_lies(
    work: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch, nasty_store: Any
) -> None:
    monkeypatch.setattr("distributed.console.console.width", 200, raising=False)
    capsys.readouterr()
    assert main(["materialize", *work[:-1]]) == 0
    err = capsys.readouterr().err
    picture = next(runs_dir(work).glob("materialize-*/schema.png"))
    assert f"schema     {picture}" in err.splitlines()
    cutoff = datetime.datetime.fromtimestamp(nasty_store.schema.cutoff_s, datetime.UTC)
    assert f"cutoff     {cutoff:%Y-%m-%d %H:%M:%S} UTC" in err
    words = " ".join(err.split())
    for table in nasty_store.schema.tables.values():
        for stype in {column.stype for column in table.columns}:
            assert f"{stype}: {', '.join(c.name for c in table.columns if c.stype == stype)}" in words


def test_without_json_stdout_is_empty(work: list[str], capsys: Captured) -> None:
    assert main(["materialize", *work[:-1]]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "order_line" in err


def test_sample_writes_both_files_and_their_counts(tmp_path: Path, capsys: Captured) -> None:
    parents, children = 90, 200
    times = pa.array(
        [datetime.datetime(2020, 1, 1) + datetime.timedelta(days=i) for i in range(children)], pa.timestamp("us")
    )
    data = write_database(
        tmp_path / "rel-plain",
        {
            "parent": pa.table({"id": range(parents), "x": [i / 7 for i in range(parents)]}),
            "child": pa.table(
                {"id": range(children), "parent_id": [i % parents for i in range(children)], "time": times}
            ),
        },
        {"parent": {"pkey": "id"}, "child": {"pkey": "id", "time_col": "time", "fkeys": {"parent_id": "parent"}}},
        val_timestamp="2020-06-01",
        test_timestamp="2020-07-01",
    )
    arguments = [
        "sample",
        "--data",
        str(data),
        "--runs-dir",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    result = done(capsys, *arguments, "--samples", "3")
    assert (result["samples"], result["out"]) == (3, str(tmp_path / "out"))
    assert pq.read_metadata(tmp_path / "out" / "rows.parquet").num_rows == sum(result["rows"].values())
    assert pq.read_metadata(tmp_path / "out" / "edges.parquet").num_rows == result["edges"]["child.parent_id"] > 0
    (tmp_path / "out" / "mine").touch()
    assert "choose another --out" in refused(capsys, *arguments, "--samples", "3")


def test_a_database_too_small_for_a_sample_is_refused(work: list[str], capsys: Captured, tmp_path: Path) -> None:
    before = set(runs_dir(work).iterdir()) | {runs_dir(work) / "stores"}
    assert "fewer than the 64 seeds" in refused(capsys, "sample", *work, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert set(runs_dir(work).iterdir()) | {runs_dir(work) / "stores"} == before, (
        "a refused command leaves no run folder"
    )


def test_finetune_from_scratch_then_evaluate_gives_the_same_numbers(work: list[str], capsys: Captured) -> None:
    for task, metric in (("team-wins", "roc_auc"), ("team-points", "mae")):
        result = done(capsys, "finetune", *work, "--task", task, "--arm", "scratch", *SHORT)
        assert (result["task"], result["arm"], result["regime"], result["steps"]) == (task, "scratch", "rolling", 4)
        scored = done(capsys, "evaluate", *work, "--checkpoint", result["checkpoint"])
        assert result["metric"] == scored["metric"] == metric
        assert {split: scored[split] for split in ("val", "test")} == result["metrics"]
        assert result["val"] == scored["val"][result["metric"]]
        assert result["test"] == scored["test"][result["metric"]]


def test_evaluate_can_switch_the_regime(work: list[str], capsys: Captured) -> None:
    result = done(
        capsys, "finetune", *work, "--task", "team-points", "--arm", "scratch", *SHORT, "--regime", "snapshot"
    )
    assert result["regime"] == "snapshot"
    same = done(capsys, "evaluate", *work, "--checkpoint", result["checkpoint"])
    assert (same["regime"], same["test"]) == ("snapshot", result["metrics"]["test"])
    other = done(capsys, "evaluate", *work, "--checkpoint", result["checkpoint"], "--regime", "rolling")
    assert other["regime"] == "rolling"
    assert other["val"] == same["val"], "all of val lies before the test timestamp"
    assert other["test"] != same["test"]


def test_a_finished_run_is_not_repeated(work: list[str], capsys: Captured) -> None:
    arguments = ["finetune", *work, "--task", "team-wins", "--arm", "scratch", *SHORT, "--run-name", "once"]
    result = done(capsys, *arguments)
    before = (runs_dir(work) / "once" / "model" / "model.safetensors").stat().st_mtime_ns
    assert done(capsys, *arguments) == result
    assert (runs_dir(work) / "once" / "model" / "model.safetensors").stat().st_mtime_ns == before
    text = refused(capsys, *arguments, "--seed", "1")
    assert "run 'once' exists with another configuration" in text
    assert "finetuning.seed: 0 -> 1" in text


def test_the_same_seed_gives_the_same_result(work: list[str], capsys: Captured) -> None:
    arguments = ["finetune", *work, "--task", "team-points", "--arm", "scratch", *SHORT]
    first, second, third = (
        done(capsys, *arguments, "--run-name", f"seed-{i}", "--seed", str(seed)) for i, seed in enumerate((3, 3, 4))
    )
    assert first["metrics"] == second["metrics"]
    assert first["metrics"] != third["metrics"]


def test_a_fine_tuned_checkpoint_is_no_start_for_another(work: list[str], capsys: Captured) -> None:
    result = done(capsys, "finetune", *work, "--task", "team-wins", "--arm", "scratch", *SHORT, "--seed", "9")
    arguments = ["finetune", *work, "--task", "team-wins", "--arm", "frozen", "--checkpoint", result["checkpoint"]]
    assert "is finetuned, expected one that is pretrained" in refused(capsys, *arguments)
