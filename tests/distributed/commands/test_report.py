"""Pictures are drawn and tables name the winner."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib.image
import pytest

from distributed.commands.report import (
    best_arm,
    draw_curves,
    draw_schema,
    level_losses,
    pretraining_result,
    seeds_summary,
    show_results,
    show_store,
)
from distributed.finetuning.verdict import mean_and_error
from rdl_core.contrast import LEVELS
from rdl_core.graph.store import Store
from rdl_core.pretraining.state import TrainState
from rdl_core.tasks.finetuning_result import FinetuningResult


def result(arm: str, val: float, *, metric: str = "roc_auc", task: str = "wins", seed: int = 0) -> FinetuningResult:
    return FinetuningResult(
        task=task, arm=arm, regime="rolling", seed=seed, metric=metric, val=val, test=val / 2, metrics={}, steps=4,  # type: ignore[arg-type]
        best_step=2, seconds=3.2,
    )  # fmt: skip


def state(num_validations: int) -> TrainState:
    history = [
        {"step": 10 * i, "effective_rank": 4.0 + i, **{f"validation/{level}": 1.0 / (i + 1) for level in LEVELS}}
        for i in range(num_validations)
    ]
    return TrainState(
        step=10 * (num_validations - 1),
        history=history,
        first=history[0],
        last=history[-1],
        best=history[0],
        best_step=7,
    )


def inked(path: Path) -> float:
    """Share of pixels that are not white."""
    return float((matplotlib.image.imread(path)[..., :3].min(axis=2) < 0.9).mean())


@pytest.mark.parametrize("num_validations", [1, 12])
def test_curves_are_drawn_even_of_one_validation(tmp_path: Path, num_validations: int) -> None:
    path = draw_curves(state(num_validations), tmp_path / "curves.png")
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    assert matplotlib.image.imread(path).shape[:2] == (432, 1200)
    assert 0.01 < inked(path) < 0.5


def test_more_history_draws_more(tmp_path: Path) -> None:
    few, many = (inked(draw_curves(state(n), tmp_path / f"{n}.png")) for n in (1, 12))
    assert many > few * 1.05


def test_the_schema_is_drawn_with_its_self_reference(nasty_store: Store, tmp_path: Path) -> None:
    path = draw_schema(nasty_store, tmp_path / "schema.png")
    assert [p.name for p in tmp_path.iterdir()] == ["schema.png"]
    assert path.stat().st_size > 20_000
    assert 0.02 < inked(path) < 0.7


@pytest.mark.parametrize(("metric", "winner"), [("roc_auc", "finetuned"), ("mae", "scratch")])
def test_the_best_arm_is_that_of_the_best_mean_on_validation(metric: str, winner: str) -> None:
    runs = [result("scratch", v, metric=metric) for v in (0.1, 0.2)]
    runs += [result("frozen", v, metric=metric) for v in (0.9, 0.1)]
    runs += [result("finetuned", v, metric=metric) for v in (0.6, 0.55)]
    assert best_arm(runs) == winner


def test_the_table_marks_one_winner_per_task(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [result(arm, v) for arm, v in (("frozen", 0.7), ("scratch", 0.8), ("finetuned", 0.75))]
    runs += [result(arm, v, metric="mae", task="points") for arm, v in (("finetuned", 3.0), ("scratch", 4.0))]
    show_results(runs)
    shown = capsys.readouterr().err
    lines = [line for line in shown.splitlines() if "◀" in line]
    assert len(lines) == 2
    assert [line.split()[0] for line in lines] == ["wins", "points"]
    assert "scratch" in lines[0]
    assert "finetuned" in lines[1]
    assert "↑" in lines[0]
    assert "↓" in lines[1]
    assert "fine-tuning, rolling" in shown


@pytest.mark.parametrize(
    ("values", "shown"), [([0.5], "0.5000"), ([0.4, 0.6], "0.5000 ± 0.1000"), ([1, 2, 3, 4], "2.5000 ± 0.6455")]
)
def test_the_error_is_the_standard_error_of_the_mean(values: list[float], shown: str) -> None:
    assert mean_and_error(values) == shown


def test_the_summary_of_several_seeds_is_their_mean_and_its_error() -> None:
    found = seeds_summary([result("scratch", value, seed=seed) for seed, value in ((3, 0.4), (4, 0.6))])
    assert (found["metric"], found["seeds"]) == ("roc_auc", [3, 4])
    assert found["val"] == pytest.approx({"mean": 0.5, "standard_error": 0.1})
    assert found["test"] == pytest.approx({"mean": 0.25, "standard_error": 0.05})


def test_the_store_is_shown_table_by_table(nasty_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    show_store(nasty_store)
    shown = capsys.readouterr().err
    assert all(table[:5] in shown for table in nasty_store.schema.tables)


def test_the_result_of_a_run_holds_losses_at_the_start_and_at_the_end() -> None:
    run = dataclasses.replace(state(3), finished="patience", sampled={"rows": {"a": 1}})
    assert level_losses(run) == {level: [1.0, 1 / 3] for level in LEVELS}
    found = pretraining_result(Path("m"), run, Path("c.png"), Path("w"))
    assert found["losses"] == level_losses(run)
    assert (found["effective_rank_at_start"], found["effective_rank"]) == (4.0, 6.0)
    assert (found["steps"], found["best_step"], found["finished"]) == (20, 7, "patience")
    assert found["sampled"] == {"rows": {"a": 1}}
