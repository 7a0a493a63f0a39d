"""Measurements of tasks end to end on the nasty database: what is run, what a file holds, what is never done twice or overwritten."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tasks.database import Database
from benchmarks.tasks.outcome import with_shuffled_labels
from benchmarks.tasks.result_file import REFIT, Result, read_results, require_same_setting, write_result
from benchmarks.tasks.run import Measurement, recorded_command, run_missing
from benchmarks.tasks.settings import SETTINGS, Setting, make_setting, read_setting
from distributed.runs.preset_file import read_yaml
from tests import REPOSITORY
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, WINS, WatchedTask, labels

pytestmark = pytest.mark.usefixtures("one_thread")

FIELDS = [
    *("database", "task", "regime", "preset", "setting", "arm", "head", "label_share", "seed", "val", "test"),
    *("metric", "predictions", "steps", "seconds", "config", "commit", "command"),
]


def tiny(name: str = "tiny", **changes: Any) -> Setting:
    small = {
        "preset": "contrast",
        "pretraining": {
            "max_steps": 1,
            "validation_samples": 1,
            "sampling": {"seeds_per_sample": 8, "rows_per_hop": 8},
            "backbone": {"channels": 8},
        },
        "network_train_rows": 30,
        "columns": {"hops": 1},
        "heads": {
            "num_folds": 2,
            "linear": {"num_columns": [5], "inverse_regularizations": [0.01]},
            "boosting": {"max_rounds": 5},
        },
        "finetuning": {
            "refit": True,
            "sampling": {"num_neighbors": [3, 2]},
            "batch_size": 10,
            "max_steps": 2,
            "validation_interval_steps": 2,
            "head_channels": 8,
        },
    }
    return make_setting(name, small | changes)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    folder = tmp_path_factory.mktemp("runs")
    return Database(write_nasty_database(folder / "nasty"), folder / "work")


@pytest.fixture(scope="module")
def measurement(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    return Measurement(
        setting=tiny(),
        seeds=[3],
        label_shares=[0.5],
        arms=["scratch", "frozen", "finetuned", "untrained", "none"],
        heads=["network", "blend", "trivial", "lightgbm", "lightgbm_on_folds", "linear"],
        out=tmp_path_factory.mktemp("results"),
    )


@pytest.fixture(scope="module")
def results(database: Database, measurement: Measurement) -> list[Result]:
    """The whole measurement: two tasks, each with four networks, a blend with one and five heads without; all refitted, too."""
    assert run_missing([database], measurement, lambda line: None) == 2 * (4 + 1 + 5) * 2
    return read_results([measurement.out])


def test_every_file_holds_the_fields_of_a_result_and_its_metric_is_that_of_its_predictions(
    database: Database, measurement: Measurement, results: list[Result]
) -> None:
    for path in measurement.out.iterdir():
        assert list(json.loads(path.read_text())) == FIELDS
    assert {(r.key.arm, r.key.head) for r in results} == {
        *(("none", head) for head in ("trivial", "lightgbm", "lightgbm_on_folds", "linear", "blend")),
        ("finetuned", "blend"),
        *((arm, "network") for arm in ("scratch", "frozen", "finetuned", "untrained")),
    }
    for result in results:
        target = labels(database.tasks[result.key.task], "test")
        assert result.predictions is not None and len(result.predictions) == len(target)
        assert result.metric == {WINS: "roc_auc", POINTS: "mae"}[result.key.task]
        predictions = np.array(result.predictions)
        if result.metric == "mae":
            assert result.test == pytest.approx(np.abs(predictions - target).mean(), abs=1e-3)
        else:  # rounding may tie what was apart
            apart = predictions[target == 1][:, None] - predictions[target == 0]
            assert (apart > 0).mean() - 1e-9 <= result.test <= (apart >= 0).mean() + 1e-9
        assert all(p == float(f"{p:.5g}") for p in result.predictions)


def test_nothing_is_run_twice_and_one_missing_file_is_one_run(
    database: Database, measurement: Measurement, results: list[Result], tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in measurement.out.iterdir()}
    assert run_missing([database], measurement, lambda line: None) == 0
    out = tmp_path / "out"
    out.mkdir()
    for name, content in before.items():
        (out / name).write_bytes(content)
    gone = next(result for result in results if result.key.head == "blend" and result.key.arm == "finetuned")
    (out / gone.key.file_name).unlink()
    assert run_missing([database], dataclasses.replace(measurement, out=out), lambda line: None) == 1
    again = {result.key: result for result in read_results([out])}
    assert dataclasses.replace(again[gone.key], seconds=0) == dataclasses.replace(gone, seconds=0)
    assert {path.name for path in out.iterdir()} == set(before)


def test_the_arms_of_a_seed_share_one_pretraining(database: Database, results: list[Result]) -> None:
    assert len(list((database.work / "pretrained").iterdir())) == len({result.key.seed for result in results})


def test_a_finished_run_is_not_overwritten(measurement: Measurement, results: list[Result]) -> None:
    with pytest.raises(FileExistsError, match="never written again"):
        write_result(measurement.out, results[0])


def test_another_configuration_under_the_same_name_is_refused(
    database: Database, measurement: Measurement, results: list[Result]
) -> None:
    changed = dataclasses.replace(measurement, setting=tiny(network_train_rows=31))
    with pytest.raises(ValueError, match="another configuration than setting 'tiny'"):
        run_missing([database], changed, lambda line: None)


def test_choosing_never_reads_a_test_label_and_wants_a_folder_of_its_own(
    database: Database, measurement: Measurement, results: list[Result], tmp_path: Path
) -> None:
    val_only = dataclasses.replace(
        measurement, val_only=True, out=tmp_path, arms=["scratch", "none"], heads=["network", "lightgbm"]
    )
    closed = Database(database.dataset.dataset_dir, database.work)
    for name, task in closed.tasks.items():
        closed.tasks[name] = WatchedTask(task)  # type: ignore[assignment]  # raises when test is read
    assert run_missing([closed], val_only, lambda line: None) == 2 * 2
    chosen = {result.key: result for result in read_results([tmp_path])}
    assert all(result.test is None and result.predictions is None for result in chosen.values())
    assert all(chosen[result.key].val == result.val for result in results if result.key in chosen)
    with pytest.raises(ValueError, match="both must not lie in one folder"):
        run_missing([database], dataclasses.replace(val_only, out=measurement.out), lambda line: None)


def test_an_untrained_backbone_is_that_of_scratch_and_not_the_pretrained_one(results: list[Result]) -> None:
    test = {
        (r.key.arm, r.key.task, r.key.seed): r.predictions
        for r in results
        if (r.key.setting, r.key.head) == ("tiny", "network")
    }
    assert test["untrained", WINS, 3] != test["frozen", WINS, 3]
    assert test["untrained", WINS, 3] != test["scratch", WINS, 3]


def test_a_refit_is_another_result_of_the_same_validation_and_other_predictions(results: list[Result]) -> None:
    found = {result.key: result for result in results}
    for key, result in found.items():
        if not key.setting.endswith(REFIT):
            again = found[dataclasses.replace(key, setting=key.setting + REFIT)]
            assert again.val == result.val and again.config == result.config
            assert (again.predictions != result.predictions) or key.head == "trivial" or key.arm == "none"


def test_unknown_tasks_and_settings_are_named(database: Database, measurement: Measurement) -> None:
    with pytest.raises(ValueError, match="--tasks has 'loses'; the databases have team-points, team-wins"):
        run_missing([database], dataclasses.replace(measurement, tasks=["loses"]), lambda line: None)
    with pytest.raises(ValueError, match=r"settings.yaml has plain"):
        read_setting("no such")
    with pytest.raises(ValueError, match=r"tiny.finetuning.batches is unknown"):
        tiny(finetuning={"batches": 3})


def test_the_committed_settings_are_readable_and_differ() -> None:
    settings = [read_setting(name) for name in read_yaml(SETTINGS)]
    assert len({str(dataclasses.replace(setting, name="")) for setting in settings}) == len(settings)


def test_a_recorded_command_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    command = recorded_command(["--data", str(tmp_path / "shop"), "data/other", "--seeds", "0"])
    assert command == "python -m benchmarks.tasks.run --data shop data/other --seeds 0"


def test_committed_results_were_made_with_the_configurations_that_their_settings_have_now() -> None:
    results = read_results([REPOSITORY / "results"])
    assert results
    for name in {result.key.setting.removesuffix(REFIT) for result in results}:
        require_same_setting(results, read_setting(name))


def test_shuffled_labels_are_the_same_labels_of_other_rows_in_train_and_validation_alone(database: Database) -> None:
    task = database.tasks[POINTS]
    shuffled = with_shuffled_labels(task, seed=1)
    for split in ("train", "val", "test"):
        own, dealt = (t.get_table(split, mask_input_cols=False).df for t in (task, shuffled))
        assert own.drop(columns=task.target_col).equals(dealt.drop(columns=task.target_col))
        assert sorted(own[task.target_col]) == sorted(dealt[task.target_col])
        assert own[task.target_col].equals(dealt[task.target_col]) == (split == "test")


def test_a_setting_of_shuffled_labels_trains_on_them(database: Database, tmp_path: Path) -> None:
    predictions = {}
    for name, is_shuffled in (("own", False), ("dealt", True)):
        setting = dataclasses.replace(tiny(name), shuffled_labels=is_shuffled).without_refit()
        parts: dict[str, Any] = {"seeds": [0], "label_shares": [1.0], "arms": ["none"], "heads": ["lightgbm"]}
        run_missing([database], Measurement(setting=setting, out=tmp_path / name, tasks=[POINTS], **parts), print)
        (predictions[name],) = (result.predictions for result in read_results([tmp_path / name]))
    assert predictions["own"] != predictions["dealt"]
