"""Tables and the picture of a measurement, from made-up results on the nasty database's test labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.tasks.bootstrap import paired_difference
from benchmarks.tasks.comparison import Comparison, Side, read_truths, truth_of
from benchmarks.tasks.label_efficiency import curve, draw_label_efficiency
from benchmarks.tasks.result_file import Result, RunKey, read_results, write_result
from benchmarks.tasks.table import decimals, metrics_text, tables, with_others
from rdl_core.database import load_task, open_dataset
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, WINS

DATABASE = "nasty"
SIDES = {
    ("none", "trivial"): 9.0,
    ("none", "lightgbm"): 1.0,
    ("none", "linear"): 1.5,
    ("scratch", "network"): 2.0,
    ("untrained", "network"): 3.0,
    ("frozen", "network"): 2.5,
    ("finetuned", "network"): 0.5,
}
"""Noise of each side's made-up predictions."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nasty_database(tmp_path_factory.mktemp("tables") / DATABASE)


def made_up(task: str, arm: str, head: str, seed: int, predictions: np.ndarray, **changes: Any) -> Result:
    key = {"setting": "s", "regime": "rolling", "label_share": 1.0} | {
        name: changes.pop(name) for name in ("setting", "regime", "label_share") if name in changes
    }
    values: dict[str, Any] = {
        "preset": "contrast",
        "val": 0.7,
        "test": 0.6,
        "metric": {WINS: "roc_auc", POINTS: "mae"}[task],
    }
    values |= {"steps": 3, "seconds": 1.0, "config": {}, "commit": "abc", "command": "made up"} | changes
    run = RunKey(database=DATABASE, task=task, arm=arm, head=head, seed=seed, **key)
    return Result(key=run, predictions=tuple(predictions.tolist()), **values)


@pytest.fixture(scope="module")
def comparison(data: Path) -> Comparison:
    """Both tasks, two seeds, all labels and a tenth, all sides but the blend; frozen lacks seed 1 of one task."""
    draw, results = np.random.default_rng(0), []
    for task in (WINS, POINTS):
        target = truth_of(load_task(open_dataset(data), task)).target
        errors = draw.normal(size=(2, len(target)))  # of each seed; every side has them, larger or smaller
        for (arm, head), noise in SIDES.items():
            for seed in (0, 1):
                for share in (1.0, 0.1):
                    predictions = target + noise * errors[seed]
                    val = 1 / (1 + noise) if task == WINS else noise
                    if (task, arm, seed, share) != (WINS, "frozen", 1, 0.1):
                        results.append(made_up(task, arm, head, seed, predictions, val=val, label_share=share))
    return Comparison(results, read_truths([data], results), resamples=50)


def lines_of(text: str, title: str, share: str = "All train labels") -> list[str]:
    part = text.split(f"## {share}\n")[1].split("\n## ")[0]
    return part.split(f"### {title}\n\n")[1].split("\n\n###")[0].splitlines()


def test_the_chosen_head_is_that_of_validation_and_is_compared_with_lightgbm(comparison: Comparison) -> None:
    lines = lines_of(tables(comparison, "s"), "(b) chosen head − LightGBM")
    rows = [line for line in lines if line.startswith("| nasty")]
    assert len(rows) == 2 and all("| finetuned |" in row for row in rows)
    for row, task in zip(rows, sorted([WINS, POINTS]), strict=True):
        found = comparison.difference(
            (DATABASE, task), Side("s", "finetuned", "network"), Side("s", "none", "lightgbm"), 1.0
        )
        assert found is not None and f"{found.mean:+.4f}"[:6] in row and row.endswith("| 2 |")


def test_differences_are_those_of_the_bootstrap_on_common_seeds(comparison: Comparison) -> None:
    frozen, untrained = Side("s", "frozen", "network"), Side("s", "untrained", "network")
    task = (DATABASE, WINS)
    found = comparison.difference(task, frozen, untrained, 0.1)
    assert found is not None and found.num_seeds == 1  # frozen has no second
    truth = comparison.truths[task]
    sides = [np.array([comparison.runs(task, side, 0.1)[0].predictions]) for side in (frozen, untrained)]
    assert found == paired_difference(*sides, truth.target, truth.entities, "roc_auc", resamples=50)
    assert comparison.difference(task, frozen, Side("s", "finetuned", "blend"), 0.1) is None


def test_counts_say_on_how_many_tasks_what_holds(comparison: Comparison) -> None:
    text = tables(comparison, "s")
    assert lines_of(text, "(c) network alone, scratch − LightGBM")[-1].startswith("Of 2 tasks: mean above 0 on 0,")
    better = lines_of(text, "(d) fine-tuned − scratch", "0.1 of the train labels")[-1]
    assert better.startswith("Of 2 tasks: mean above 0 on 2,")


def test_the_table_says_n_and_what_is_missing(comparison: Comparison) -> None:
    text = tables(comparison, "s")
    missing = text.split("## Missing\n\n")[1]
    assert "- nasty team-wins, 0.1 of the labels, frozen: seeds 1\n" in missing
    assert "- nasty team-points, 1 of the labels, blend (finetuned): seeds 0, 1\n" in missing
    assert "scratch" not in missing
    row = next(line for line in lines_of(text, "(a) validation / test (seeds)") if "team-points" in line)
    assert row.count("(2)") == len(SIDES) and "(MAE ↓)" in row


def test_another_setting_is_compared_only_where_it_is_named(comparison: Comparison, data: Path) -> None:
    others = [
        dataclasses.replace(run, key=dataclasses.replace(run.key, setting="other"))
        for run in comparison.runs((DATABASE, WINS), Side("s", "scratch", "network"), 1.0)
    ]
    others = [dataclasses.replace(run, key=dataclasses.replace(run.key, arm="finetuned")) for run in others]
    mine = [
        run
        for arm in ("finetuned", "scratch")
        for run in comparison.runs((DATABASE, WINS), Side("s", arm, "network"), 1.0)
    ]
    both = Comparison([*mine, *others], comparison.truths, resamples=50)
    assert "(f)" not in tables(both, "s") and "(g)" not in tables(both, "s")
    text = tables(both, "s", against="other", without_source="other")
    assert lines_of(text, "(f) fine-tuned, s − other")[-1].startswith("Of 1 tasks: mean above 0 on 1,")
    same = lines_of(text, "(g) fine-tuned without the task's source (other) − scratch")
    assert "| +0.0000 | [+0.0000, +0.0000] | 2 |" in same[2]


def test_arms_without_pretraining_are_taken_from_a_setting_that_differs_in_nothing_else() -> None:
    config = {"finetuning": {"max_steps": 3, "seed": 0}, "heads": {"folds": 4}}
    values = np.zeros(2)
    pretrained = made_up(WINS, "finetuned", "network", 1, values, config=config, setting="four")
    others = [made_up(WINS, arm, "network", 0, values, config=config) for arm in ("scratch", "untrained", "finetuned")]
    found = with_others([pretrained, *others], "four", "s")
    assert [(r.key.setting, r.key.arm) for r in found[4:]] == [("four", "scratch"), ("four", "untrained")]
    assert found[:4] == [pretrained, *others]
    for part in ("finetuning", "heads"):
        changed = dataclasses.replace(others[0], config=config | {part: {"other": 1}})
        with pytest.raises(ValueError, match="differ in more than their pretraining"):
            with_others([pretrained, changed], "four", "s")


def test_metrics_are_means_with_the_standard_error_over_seeds() -> None:
    runs = [
        made_up(POINTS, "scratch", "network", seed, np.zeros(1), val=131.0, test=test)
        for seed, test in enumerate((130, 134))
    ]
    assert metrics_text(runs) == "131.0 / 132.0 ± 2.0 (2)"
    assert metrics_text(runs[:1]) == "131.0 / 130.0 (1)"
    assert metrics_text([]) == "–"
    assert metrics_text([dataclasses.replace(run, test=None, val=run.test) for run in runs]) == "132.0 ± 2.0 (2)"
    assert [decimals("mae", value) for value in (131.9, 2.56, 0.004, 12345.0)] == [1, 3, 4, 0]


def test_results_that_left_test_alone_have_a_table_of_validation_and_no_difference() -> None:
    results = [
        dataclasses.replace(made_up(WINS, arm, "network", 0, np.zeros(1), test=None), predictions=None)
        for arm in ("scratch", "finetuned")
    ]
    text = tables(Comparison(results, read_truths([], results)), "s")
    assert "0.7000 (1)" in text and "(d)" not in text


def test_results_of_other_data_or_another_database_are_refused(comparison: Comparison, data: Path) -> None:
    short = made_up(WINS, "scratch", "network", 0, np.zeros(3))
    with pytest.raises(ValueError, match=r"has 3 predictions, the test split \d+ rows"):
        Comparison([short], comparison.truths)
    foreign = dataclasses.replace(short, key=dataclasses.replace(short.key, database="shop"))
    with pytest.raises(ValueError, match="results of database 'shop', and --data has nasty"):
        read_truths([data], [foreign])


def test_a_file_is_read_back_as_it_was_written_and_a_renamed_one_is_refused(tmp_path: Path) -> None:
    result = made_up(WINS, "scratch", "network", 0, np.array([0.123456789, 1e-9, 0.5]))
    path = write_result(tmp_path, result)
    rounded = dataclasses.replace(result, predictions=(0.12346, 1e-9, 0.5))
    assert read_results([tmp_path]) == [rounded]
    path.rename(tmp_path / "other.json")
    with pytest.raises(ValueError, match="holds the run whose file is"):
        read_results([tmp_path])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="is no result of a run"):
        read_results([tmp_path])


def test_the_picture_has_a_line_of_means_with_standard_errors_for_each_arm(
    comparison: Comparison, tmp_path: Path
) -> None:
    results = [
        made_up(WINS, "scratch", "network", seed, np.zeros(1), label_share=share, test=share + seed / 10)
        for seed in (0, 1)
        for share in (1.0, 0.05)
    ]
    assert curve(results, "scratch", "network", "test") == [
        (0.05, pytest.approx(0.1), pytest.approx(0.05), 2),
        (1.0, pytest.approx(1.05), pytest.approx(0.05), 2),
    ]
    assert curve(results, "frozen", "network", "test") == []
    assert draw_label_efficiency(results, tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
