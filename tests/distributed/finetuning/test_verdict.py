"""What figures are worth is said in words: few labels, trivial predictions and LightGBM that are not beaten."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.finetuning import figure_text, verdict_lines


def run(**changes: Any) -> dict[str, Any]:
    """A result of `finetune` that has nothing to be said of."""
    figures = {"val": 0.8, "test": 0.75, "interval": {"val": [0.7, 0.9], "test": [0.65, 0.85]}, "labels": {}}
    beside = {"baselines": {"trivial": {"val": 0.5, "test": 0.5}}, "about": {"baseline trivial": "0.2 always"}}
    return {"task": "churn", "arm": "scratch", "metric": "roc_auc", **figures, **beside, **changes}


def test_a_network_that_beats_all_on_many_labels_has_digits_and_no_words() -> None:
    assert verdict_lines([run()]) == []
    assert figure_text([run()], "test") == "0.7500"


def test_a_figure_of_few_labels_is_shown_with_its_interval_and_a_sentence() -> None:
    few = run(labels={"test": "3 positives, of 2 entities, among 300 labels"})
    assert (figure_text([few], "test"), figure_text([few], "val")) == ("0.75 [0.65, 0.85]", "0.8000")
    assert verdict_lines([few]) == [
        "churn: the test figures rest on 3 positives, of 2 entities, among 300 labels; read the interval, not the digits"
    ]


def test_a_figure_of_one_positive_has_no_interval_and_says_nothing() -> None:
    one = run(labels={"test": "1 positive, of 1 entity, among 300 labels"}, interval={"val": [0.7, 0.9], "test": None})
    assert figure_text([one], "test") == "0.75 [no interval]"
    assert "no interval can be given, and they say nothing" in verdict_lines([one])[0]


@pytest.mark.parametrize(("metric", "worse"), [("roc_auc", 0.9), ("mae", 0.6)])
def test_a_trivial_prediction_that_is_better_is_said_by_split(metric: str, worse: float) -> None:
    (line,) = verdict_lines([run(metric=metric, baselines={"trivial": {"val": worse, "test": worse}})])
    start = "churn, scratch: the network is worse than the trivial prediction (0.2 always) on validation"
    assert line == (
        f"{start} ({metric} 0.8000, {worse:.4f} without it) and on test ({metric} 0.7500, {worse:.4f} without it)"
    )
    (line,) = verdict_lines([run(metric=metric, baselines={"trivial": {"val": 1.5 - worse, "test": worse}})])
    assert "on validation" not in line and "on test" in line


def test_a_trivial_prediction_within_the_interval_is_said() -> None:
    (line,) = verdict_lines([run(baselines={"trivial": {"val": 0.5, "test": 0.7}})])
    assert line.endswith(
        "is not told from the trivial prediction (0.2 always) on test: its interval [0.6500, 0.8500] holds 0.7000"
    )


def test_lightgbm_that_wins_is_said_by_the_mean_over_seeds() -> None:
    def seed(network: float, lightgbm: float) -> dict[str, Any]:
        figures = {"val": network, "test": network}
        beside = {"trivial": {"val": 0.5, "test": 0.5}, "lightgbm": {"val": lightgbm, "test": lightgbm}}
        return run(**figures, baselines=beside)

    (line,) = verdict_lines([seed(0.7, 0.6), seed(0.6, 0.8)])
    assert "the network is beaten by LightGBM on generated columns on validation (roc_auc 0.6500, 0.7000" in line
    assert verdict_lines([seed(0.7, 0.6), seed(0.6, 0.6)]) == []


def test_several_seeds_have_a_mean_and_its_error() -> None:
    assert figure_text([run(val=0.4), run(val=0.6)], "val") == "0.5000 ± 0.1000"


def test_a_refitted_model_scored_again_has_words_on_test_alone() -> None:
    refitted = {k: v for k, v in run(labels={"val": "1 label", "test": "2 labels"}).items() if k != "val"}
    refitted |= {"baselines": {"trivial": {"val": 0.5, "test": 0.99}}}
    assert [("validation" in line, "test" in line) for line in verdict_lines([refitted])] == [(False, True)] * 2
