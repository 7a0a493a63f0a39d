"""The command line as people use it, in this process: help, refusals of one screen, runs on tiny data."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import re
import statistics
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from relbench.load import RelBenchDataset

from distributed.__main__ import main
from distributed.cannot_run import CannotRun
from distributed.commands.command_line import Command, parse, run
from distributed.commands.inputs import with_samples_for
from distributed.commands.options import COMMANDS, Evaluate, Finetune, Pretrain, Sample
from distributed.commands.tasks import backbone_to_start_from
from distributed.sampling.placement import PlacementName
from rdl_core.checkpoint_files import FORMAT_VERSION, write_checksums
from rdl_core.config import (
    PRESETS,
    Arm,
    BackboneConfig,
    LinearRows,
    MeanAggregation,
    Precision,
    PresetName,
    Regime,
    ResNetRows,
    TimeAttentionAggregation,
)
from tests import REPOSITORY
from tests.nasty_database import write_database, write_nasty_database
from tune.commands import Sweep
from tune.search_space import Search
from tune.sweep_plan import VALIDATION_SAMPLES, EarlyStopping
from tune.trials.resources import Execution

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = REPOSITORY

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


def parsed(*words: str) -> Any:
    """The options of a command line."""
    return parse(COMMANDS[words[0]], words[1:], "test")


def refused_line(capsys: Captured, *arguments: str) -> str:
    """Reads a command line that must be refused with status 2 and one screen of text, which is returned on one line."""
    capsys.readouterr()
    try:
        status = main(list(arguments))
    except SystemExit as end:
        status = end.code  # type: ignore[assignment]
    assert status == 2
    out, err = capsys.readouterr()
    assert len((out + err).splitlines()) < 30
    assert "Traceback" not in out + err
    return " ".join(re.sub(r"[│╭╮╰╯─]|-{3,}", " ", out + err).split())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pretrain --no-such-option 1", "Unrecognized options"),
        ("pretrain --preset best", "--preset must be one of robust, paper, contrast or a preset file"),
        ("finetune --task t --arm thawed", "Expected one of ('scratch', 'frozen', 'finetuned')"),
        ("nonsense", "there is no command 'nonsense'"),
        ("pretran", "did you mean pretrain?"),
        ("sample", "--out"),
        ("", "commands: import"),
        ("pretrain --config.loss.row-form eq", "Expected one of ('equation', 'code')"),
        ("pretrain --config.backbone.channels 63", "BackboneConfig.channels is 63; it should be a multiple of 2"),
        ("pretrain --aggregation time_attention --config.backbone.aggregation.heads 3", "heads is 3; it should divide channels=64"),
        ("pretrain --rows ft_transformer --config.backbone.channels 12", "with rows='ft_transformer' it should be a multiple of 8"),
        ("pretrain --config.backbone.channels 66 --config.backbone.rows.kind ft_transformer", "it should be a multiple of 8"),
        ("pretrain --config.learning-rate fast", "Error parsing --config.learning-rate"),
        ("pretrain --config.learning-rates 1e-3", "Perhaps you meant: --config.learning-rate FLOAT"),
        ("pretrain --config.backbone.rows.dropout 0.1", "Unrecognized options: --config.backbone.rows.dropout"),
        ("pretrain --config.backbone.rows.kind mlp", "it should be 'linear' or 'resnet' or 'ft_transformer'"),
        ("pretrain --max-steps 4 --config.max-steps 5", "--max-steps 4 and --config.max-steps 5 name one setting differently"),
        ("pretrain --workers 4:2", "--workers must be N or LEAST:MOST, at least 1, got '4:2'"),
        ("pretrain --shards 2", "--shards 2 goes with --placement sharded, not auto"),
        ("finetune --task t --arm scratch --config.batch-size 1", "FinetuningConfig.batch_size is 1; it should be greater than or equal to 2"),
        ("pretrain --config.learning-rate inf", "PretrainingConfig.learning_rate is inf; it should be a finite number"),
        ("pretrain --config.stop-below nan", "PretrainingConfig.stop_below is nan; it should be a finite number"),
        ("finetune --task t --arm scratch --workers 0", "--workers must be at least 1, got 0"),
        ("finetune --task t --arm scratch --max-steps -3", "--max-steps is -3; it should be greater than 0"),
        ("finetune --task t --arm scratch --label-stride 0.0001", "--label-stride is 0.0001; it should be greater than or equal to 0.01"),
        ("finetune --task t --arm scratch --label-stride 0.25 --label-share 0.5", "error: --label-stride is 0.25; it should be None"),
        ("finetune --task t --arm scratch --time-budget 10", "--time-budget must be a time with its unit, such as 90s, 10m, 1.5h or 1h30m"),
        ("finetune --task t --arm scratch --time-budget 0m", "got '0m'"),
        ("finetune --task t --arm scratch --time-budget 10m --config.max-hours 3", "name one setting differently"),
        ("pretrain --levels row row", "error: --levels names a level twice: row, row"),
        ("sample --out x --samples 0", "--samples must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_what_the_command_line_does_not_know_or_allow_is_refused_by_name(
    line: str, message: str, capsys: Captured
) -> None:
    assert message in refused_line(capsys, *line.split())


def leaves(config: Any, above: str) -> Iterator[tuple[str, Any]]:
    """(option, value) of every setting of a configuration."""
    kinds = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{above}.{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            yield from leaves(value, name)
        elif value is not None or not any(map(dataclasses.is_dataclass, typing.get_args(kinds[field.name]))):
            # A part that is left out (statistics, columns) has no settings; a preset brings it in.
            yield name, value


def other(name: str, value: Any) -> tuple[list[str], Any]:
    """Words of a command line that give a setting another value, and that value."""
    choices = {
        "seeds": "all_tables", "time-bound": "seeds", "age-scale": {"days": "log_days", "log_days": "days"},
        "row-form": {"code": "equation", "equation": "code"}, "link-matrix": {"shared": "per_direction", "per_direction": "shared"},
        "context-form": {"edge_types": "neighbours", "neighbours": "edge_types"}, "precision": "bfloat16", "seed-table": "match",
        "distribution": {"distinct": "frequency", "frequency": "distinct"}, "strategy": {"uniform": "recent", "recent": "uniform"},
        "regression-loss": {"l1": "mse", "mse": "l1"}, "validation-corruption": 0.5, "validation-seed": 3, "stop-below": 0.5,
        "gradient-clip-norm": 0.5, "ema-decay": 0.5, "num-neighbors": (3, 2), "label-stride": 0.5,
        "levels": ("row", "future"), "balance": {"none": "gradient_norm", "gradient_norm": "none"},
        "window-shares": (0.5, 0.25), "num-last": (3, 2), "exclude": ("a", "b.c"), "unfreeze": "after_head",
        "gnn": "sage", "row-encoder": "mlp",
    }  # fmt: skip
    option, last = f"--{name}", name.split(".")[-1]
    if isinstance(value, bool):
        *front, last = name.split(".")
        return [option if not value else f"--{'.'.join([*front, f'no-{last}'])}"], not value
    changed: Any = choices.get(
        last, value * 2 if isinstance(value, int) and value else 0.5 if isinstance(value, float) else 3
    )
    if last in choices:
        changed = changed[value] if isinstance(changed, dict) else changed
    return [option, *map(str, changed if isinstance(changed, tuple) else [changed])], changed


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize(("command", "required"), [("pretrain", ""), ("finetune", "--task t --arm scratch")])
def test_every_setting_of_every_preset_can_be_named_and_changes_nothing_else(
    command: str, required: str, preset: str
) -> None:
    words = [command, *required.split(), "--preset", preset]
    before = dict(leaves(parsed(*words).config, "config"))
    given = [other(name, value) for name, value in before.items() if not name.endswith(".kind")]
    names = [name for name in before if not name.endswith(".kind")]
    assert len(names) > 10
    for name, (option, value) in zip(names, given, strict=True):
        after = dict(leaves(parsed(*words, *option).config, "config"))
        assert after[name] == value != before[name]
        assert {k: v for k, v in after.items() if k != name} == {k: v for k, v in before.items() if k != name}


def test_short_options_name_settings_of_the_configuration() -> None:
    for command in (Pretrain, Finetune):
        options = command.defaults(lambda option: None)
        for short, path in command.SHORT.items():
            assert short in {field.name for field in dataclasses.fields(command)}
            functools.reduce(getattr, path.split("."), options)
    words = "--rows linear --num-layers 3 --aggregation mean --max-steps 7 --seed 3"
    options = parsed("pretrain", "--preset", "paper", *words.split())
    base = PRESETS["paper"]().pretraining
    backbone = dataclasses.replace(base.backbone, rows=LinearRows(), num_layers=3, aggregation=MeanAggregation())
    assert options.config == dataclasses.replace(base, backbone=backbone, max_steps=7, seed=3)
    assert parsed("pretrain", "--max-steps", "7", "--config.max-steps=7").config.max_steps == 7


@pytest.mark.parametrize(
    ("text", "hours"), [("90s", 0.025), ("10m", 1 / 6), ("1.5h", 1.5), ("1h30m", 1.5), ("1h 0m 36s", 1.01)]
)
def test_a_time_budget_is_the_setting_of_most_hours(text: str, hours: float) -> None:
    words = ["finetune", "--task", "t", "--arm", "scratch"]
    assert parsed(*words, "--time-budget", text).config.max_hours == pytest.approx(hours)
    assert parsed(*words).config.max_hours == 2.0, "as the help says"


def test_rows_and_aggregation_choose_which_settings_there_are() -> None:
    rows = parsed("pretrain", "--rows", "resnet", "--config.backbone.rows.dropout", "0.3").config.backbone.rows
    assert rows == ResNetRows(dropout=0.3)
    words = ["--config.backbone.aggregation.kind", "time_attention", "--config.backbone.aggregation.heads", "2"]
    assert parsed("pretrain", *words).config.backbone.aggregation == TimeAttentionAggregation(heads=2)
    scratch = parsed("finetune", "--task", "t", "--arm", "scratch", "--rows=resnet", "--backbone.rows.num-layers", "1")
    assert scratch.backbone.rows == ResNetRows(num_layers=1)


def test_a_list_given_twice_adds_up() -> None:
    words = [
        "materialize",
        "--exclude-columns",
        "a.b",
        "c.d",
        "--workers",
        "2",
        "--exclude_columns=e.f",
        "--exclude-columns",
        "g.h",
    ]
    options = parsed(*words)
    assert options.exclude_columns == ("a.b", "c.d", "e.f", "g.h")
    assert options.workers == 2
    words = [
        "--source",
        "s",
        "--out",
        "o",
        "--name",
        "n",
        "--val-timestamp",
        "2024-01-01",
        "--test-timestamp",
        "2024-02-01",
    ]
    times = parsed("import", "--time-cols", "a", "t", *words, "--time-cols", "b", "u").time_cols
    assert times == {"a": "t", "b": "u"}
    words = ["--config.sampling.num-neighbors", "8", "--config.sampling.num_neighbors=4", "2"]
    finetune = parsed("finetune", "--task", "t", "--arm", "scratch", *words)
    assert finetune.config.sampling.num_neighbors == (8, 4, 2)


def test_a_checkpoint_has_its_own_backbone_and_another_beside_it_is_refused(tmp_path: Path) -> None:
    backbone = BackboneConfig(channels=64, rows="resnet")
    description = {"format_version": FORMAT_VERSION, "kind": "pretrained", "backbone": dataclasses.asdict(backbone)}
    (tmp_path / "config.json").write_text(json.dumps(description | {"about": {}}))
    (tmp_path / "schema.json").write_text(json.dumps({"edge_types": []}))
    for name in ("model.safetensors", "README.md"):
        (tmp_path / name).write_bytes(b"")
    write_checksums(tmp_path)
    words = ["finetune", "--task", "t", "--arm", "frozen", "--checkpoint", str(tmp_path)]
    for same in ("", "--rows resnet", "--backbone.channels 64", "--preset paper"):
        assert backbone_to_start_from(parsed(*words, *same.split()))[0] == backbone
    preset = PRESETS["contrast"]().pretraining.backbone
    for other in (f"--rows {preset.rows.kind}", f"--backbone.channels {preset.channels}", "--num-layers 3"):
        with pytest.raises(ValueError, match="a checkpoint has its own"):
            backbone_to_start_from(parsed(*words, *other.split()))


def test_samples_per_step_are_raised_to_one_per_worker_and_that_is_said(capsys: Captured) -> None:
    config = parsed("pretrain", "--samples-per-step", "2").config
    assert with_samples_for(config, 2) == config
    assert capsys.readouterr().err == ""
    assert with_samples_for(config, 3) == dataclasses.replace(config, samples_per_step=3)
    assert capsys.readouterr().err == "samples per step raised from 2 to 3: one per worker\n"


def help_of(command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The options that a command's help shows, with their texts; "": what is before them."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_status:
        main([command, "--help"])
    assert exit_status.value.code == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]|-{3,}", " ", capsys.readouterr().out).split())
    before, *options = re.split(r" (?=--[a-z][a-z.-]+(?: |, )(?:[A-Z{\[]|--|[A-Z][a-z]))", shown)
    return {"": before} | {part.split(" ")[0].rstrip(","): part for part in options}


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_explains_every_option_of_a_command_with_its_default_and_none_that_does_nothing(
    command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = help_of(command, capsys, monkeypatch)
    options = COMMANDS[command].options
    assert (options.__doc__ or "").split("\n")[0][:40] in explained[""]
    made = options.defaults(lambda option: None) if hasattr(options, "defaults") else None
    names = set()
    for field in dataclasses.fields(options):
        value = field.default if made is None else getattr(made, field.name)
        if dataclasses.is_dataclass(value) and field.name != "workers":
            names |= {f"--{name}" for name, _ in leaves(value, field.name.replace("_", "-"))}
        elif field.name not in ("batch_rows", "run_folder"):
            names.add(f"--{field.name.replace('_', '-')}")
    positive = {name: text for name, text in explained.items() if not re.match(r"--([a-z.-]+\.)?no-", name)}
    assert names == set(positive) - {"", "--help"}
    for option in names:
        negative = re.sub(r"^--(.*\.)?", lambda m: f"{m[0]}no-", option)
        text = explained.get(negative, explained[option])
        words = re.sub(r"\([^)]*\)|\{[^}]*\}", " ", text.removeprefix(option))
        assert len(re.findall(r"[A-Za-z]?[a-z]{2,}", words)) >= 2, f"{option} has no help text: {text!r}"
        assert "(default: " in text or "(required)" in text


def test_options_without_a_meaning_for_a_command_are_taken_and_the_others_are_not(
    tmp_path: Path, capsys: Captured
) -> None:
    arguments = ["materialize", "--data", str(tmp_path / "none"), "--runs-dir", str(tmp_path)]
    assert "no RelBench dataset at" in refused(capsys, *arguments, "--seed", "1", "--max_steps=5")
    assert "Unrecognized options: --samplers" in refused_line(capsys, *arguments, "--samplers", "2")


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
        assert found == {"pretrain": 11, "finetune": 8}[command]


def preset_value(config: Any, preset: str, option: str) -> Any:
    """What a preset has where the option would change it."""
    backbone = PRESETS[preset]().pretraining.backbone
    elsewhere = {
        "rows": backbone.rows.kind, "num_layers": backbone.num_layers, "aggregation": backbone.aggregation.kind,
        "corruption": PRESETS[preset]().pretraining.corruption.probability,
        "levels": " ".join(PRESETS[preset]().pretraining.levels),
        "max_negatives": PRESETS[preset]().pretraining.loss.max_negatives,
    }  # fmt: skip
    name = option.removeprefix("--").replace("-", "_")
    return elsewhere[name] if name in elsewhere else getattr(config, name)


PROGRAM = """
import sys
from {package}.__main__ import main
try:
    status = main({arguments})
except SystemExit as end:
    status = end.code
print(status, [m for m in ("torch", "ray", "relbench", "wandb", "matplotlib") if m in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("package", "arguments", "status"),
    [("distributed", ["--help"], 0), ("distributed", ["pretrain", "--help"], 0), ("distributed", ["import", "--name"], 2),
     ("tune", ["--help"], 0), ("tune", ["sweep", "--help"], 0), ("distributed", ["pretrain", "--preset", "best"], 2),
     ("distributed", ["materialize", "--data", "nowhere"], 2), ("distributed", ["status", "nowhere"], 2),
     ("distributed", ["evaluate", "--data", "nowhere", "--checkpoint", "nowhere"], 2)],
)  # fmt: skip
def test_help_and_refusals_load_neither_torch_nor_ray(package: str, arguments: list[str], status: int) -> None:
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
    assert Sweep.defaults(lambda option: None).validation_samples == VALIDATION_SAMPLES


# ---------------------------------------------------------------------------------------------------------- refusals


def test_data_that_is_not_there_is_refused_with_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    write_nasty_database(tmp_path / "data" / "rel-nasty")
    monkeypatch.setenv("RDL_DATA", str(tmp_path / "data"))
    text = refused(capsys, "materialize", "--data", "rel-nice", "--runs-dir", str(tmp_path / "runs"))
    assert text.startswith("error: no RelBench dataset at")
    assert "'rel-nice'" in text
    assert "there are: rel-nasty" in text
    assert not (tmp_path / "runs").exists()


def test_broken_data_is_refused_by_table_and_column(tmp_path: Path, capsys: Captured) -> None:
    folder = write_nasty_database(tmp_path / "broken")
    (folder / "db" / "goal.parquet").write_bytes(b"not parquet")
    text = refused(capsys, "materialize", "--data", str(folder), "--runs-dir", str(tmp_path / "runs"))
    assert text.startswith("error: ") and "DatabaseError" not in text
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


def test_columns_and_embedders_that_are_not_there_are_refused(work: list[str], capsys: Captured) -> None:
    text = refused(capsys, "materialize", *work, "--exclude-columns", "goal.minutes")
    assert "expects 'table.column' of attributes that exist, got 'goal.minutes'; attributes of 'goal': minute" in text
    text = refused(capsys, "materialize", *work, "--text-embedder", "word2vec")
    assert "StoreConfig.text_embedder is 'word2vec'; it should match pattern '^(hashed-ngram:" in text


def test_the_command_line_says_that_it_raises_samples_per_step(
    work: list[str], capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text("{}")
    arguments = [*work, "--runs-dir", str(tmp_path), "--run-name", "taken", "--samples-per-step", "2"]
    assert "samples per step raised" not in refused(capsys, "pretrain", *arguments, "--workers", "2")
    text = refused(capsys, "pretrain", *arguments, "--workers", "2:3")
    assert "samples per step raised from 2 to 3: one per worker" in text


def test_a_learning_rate_that_diverges_is_an_error_not_a_traceback(work: list[str], capsys: Captured) -> None:
    arguments = ["finetune", *work, "--task", "team-points", "--arm", "scratch", *SHORT, "--learning-rate", "1e30"]
    assert "lower the learning rate" in refused(capsys, *arguments)


def test_a_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RDL_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        main(["materialize", "--data", str(tmp_path / "none"), "--runs-dir", str(tmp_path)])


@dataclasses.dataclass
class NoOptions:
    json: bool = False


def multiply_wrong_shapes(options: NoOptions) -> dict[str, Any]:
    torch.ones(2, 3) @ torch.ones(2, 3)
    return {}


def be_refused(options: NoOptions) -> dict[str, Any]:
    raise CannotRun("fewer --workers")


def test_only_errors_that_tell_what_to_give_instead_end_as_bad_input(capsys: Captured) -> None:
    """An error of torch is a bug: it keeps its traceback, and Python ends with status 1."""
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(Command(options=NoOptions, runner=f"{__name__}:multiply_wrong_shapes"), NoOptions())
    assert run(Command(options=NoOptions, runner=f"{__name__}:be_refused"), NoOptions()) == 2
    assert "fewer --workers" in capsys.readouterr().err


def fail_on_a_worker(options: NoOptions) -> dict[str, Any]:
    from ray.exceptions import RayTaskError

    raise RayTaskError("f", "frames", ValueError("expected 2 columns, got 3")).as_instanceof_cause()


def test_an_error_of_a_worker_is_no_bad_input_whatever_its_type(capsys: Captured) -> None:
    assert run(Command(options=NoOptions, runner=f"{__name__}:fail_on_a_worker"), NoOptions()) == 1
    assert "ValueError: expected 2 columns, got 3" in capsys.readouterr().err


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
    runs_dir(work).mkdir(exist_ok=True)
    before = set(runs_dir(work).iterdir()) | {runs_dir(work) / "stores"}
    assert "fewer than the 64 seeds" in refused(capsys, "sample", *work, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert set(runs_dir(work).iterdir()) | {runs_dir(work) / "stores"} == before, (
        "a refused command leaves no run folder"
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            "--config.future.exclude nothing",
            "future.exclude names 'nothing', which is neither a table nor an attribute",
        ),
        (
            "--config.future.exclude order order_line match lineup goal ticket categories teams équipe_catégorie",
            "name fewer tables in future.exclude",
        ),
    ],
)
def test_a_future_level_that_has_nothing_to_ask_is_refused_before_workers_start(
    work: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch, words: str, why: str
) -> None:
    monkeypatch.setattr("distributed.training.trainer.start_ray", lambda *a, **k: pytest.fail("Ray was started"))
    assert why in refused(capsys, "pretrain", *work, "--levels", "row", "future", *words.split())


def test_finetune_from_scratch_then_evaluate_gives_the_same_numbers(work: list[str], capsys: Captured) -> None:
    for task, metric in (("team-wins", "roc_auc"), ("team-points", "mae")):
        result = done(capsys, "finetune", *work, "--task", task, "--arm", "scratch", *SHORT)
        assert (result["task"], result["arm"], result["regime"], result["steps"]) == (task, "scratch", "rolling", 4)
        scored = done(capsys, "evaluate", *work, "--checkpoint", result["checkpoint"])
        assert result["metric"] == scored["metric"] == metric
        assert {split: scored[split] for split in ("val", "test")} == result["metrics"]
        assert result["val"] == scored["val"][result["metric"]]
        assert result["test"] == scored["test"][result["metric"]]


def test_a_refitted_model_is_what_is_saved_and_is_not_scored_on_validation_from_which_it_has_learned(
    work: list[str], capsys: Captured
) -> None:
    arguments = ["finetune", *work, "--task", "team-points", "--arm", "scratch", *SHORT, "--label-share", "0.5"]
    plain, refitted = done(capsys, *arguments), done(capsys, *arguments, "--refit")
    assert (plain["test_refit"], plain["refit_steps"]) == (None, None)
    assert (refitted["val"], refitted["test"]) == (plain["val"], plain["test"])
    scored = done(capsys, "evaluate", *work, "--checkpoint", refitted["checkpoint"])
    assert scored["test"] == refitted["metrics"]["test_refit"] != refitted["metrics"]["test"]
    assert scored["test"]["mae"] == refitted["test_refit"]
    assert "val" not in scored
    found = [pq.read_table(result["predictions"])["split"].to_pylist() for result in (plain, refitted)]
    assert [list(dict.fromkeys(splits)) for splits in found] == [["val", "test"], ["val", "test", "test_refit"]]


def test_a_flag_and_its_setting_are_one(capsys: Captured) -> None:
    words = ["finetune", "--task", "t", "--arm", "scratch"]
    assert not parsed(*words).config.refit
    assert parsed(*words, "--refit").config.refit
    assert parsed(*words, "--config.refit").config.refit
    assert parsed(*words, "--refit", "--config.refit").config.refit
    text = refused_line(capsys, *words, "--no-refit", "--config.refit")
    assert "--refit False and --config.refit True name one setting differently" in text


def test_a_model_is_evaluated_on_next_month_s_data_read_by_its_schema(
    work: list[str], tmp_path: Path, capsys: Captured
) -> None:
    model = done(capsys, "finetune", *work, "--task", "team-wins", "--arm", "scratch", *SHORT, "--run-name", "month")
    checkpoint = ["--checkpoint", model["checkpoint"]]
    folder = write_nasty_database(tmp_path / "nasty")
    manifest = folder / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("2020-06-01", "2020-07-01"))
    later = ["--data", str(folder), *work[2:]]
    text = refused(capsys, "evaluate", *later, *checkpoint)
    assert "columns differ" in text and "Remedy: `rdl materialize --data ... --schema-of THE_CHECKPOINT`" in text
    made = done(capsys, "materialize", *later, "--schema-of", model["checkpoint"])
    assert made["unknown_values"]["match"] == {"kind": 6}
    scored = done(capsys, "evaluate", *later, *checkpoint)  # finds the store by the checkpoint
    assert {split: scored[split] for split in ("val", "test")} == model["metrics"]
    same = done(capsys, "evaluate", *work, *checkpoint, "--schema-of", model["checkpoint"])
    assert {split: same[split] for split in ("val", "test")} == model["metrics"]


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


def test_several_seeds_are_run_and_summarised_and_go_on_where_they_were(work: list[str], capsys: Captured) -> None:
    arguments = ["finetune", *work, "--task", "team-points", "--arm", "scratch", *SHORT]
    one = done(capsys, *arguments, "--seed", "4")
    result = done(capsys, *arguments, "--seed", "3", "--seeds", "2")
    assert Path(result["run"]).name.startswith("finetune-nasty-team-points-scratch-")
    first, second = result["runs"]
    assert (first["seed"], second["seed"]) == (3, 4)
    own = ("seconds", "checkpoint", "predictions", "curve", "run")
    assert {k: v for k, v in second.items() if k not in own} == {k: v for k, v in one.items() if k not in own}
    values = [first["test"], second["test"]]
    error = statistics.stdev(values) / 2**0.5
    assert result["summary"]["test"] == pytest.approx({"mean": statistics.mean(values), "standard_error": error})
    (Path(result["run"]) / "result.json").unlink()
    assert done(capsys, *arguments, "--seed", "3", "--seeds", "2") == result  # seconds, too: no seed ran again
