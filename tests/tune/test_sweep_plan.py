"""The plan of a sweep."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distributed.runs.preset_file import read_preset_file
from rdl_core.config import contrast, paper
from tune.search_space import read_space
from tune.sweep_plan import SweepPlan, base_config, rung_steps, with_known_trials
from tune.trials.ray_tune import ResumableASHA


@pytest.mark.parametrize(("max_steps", "interval", "factor"), [(400, 50, 2.0), (400, 50, 3.0), (90, 7, 2.5), (5, 5, 2)])
def test_objectives_are_measured_exactly_where_asha_compares_and_at_the_end(
    max_steps: int, interval: int, factor: float
) -> None:
    base = base_config(contrast().pretraining, max_steps=max_steps, validation_interval_steps=interval)
    asha = ResumableASHA([], first_rung=interval, max_steps=max_steps, reduction_factor=factor)
    rungs, trial = asha._brackets[0]._rungs, SimpleNamespace(trial_id="0")
    compared: set[int] = {max_steps}
    for step in [*range(interval, max_steps, interval), max_steps]:
        before = sum(len(recorded) for _, recorded in rungs)
        known: Any = trial
        asha._brackets[0].on_result(known, step, -1.0)
        compared |= {step} if sum(len(recorded) for _, recorded in rungs) > before else set()
    assert rung_steps(base, "asha", factor) == tuple(sorted(compared))
    assert rung_steps(base, "none", factor) == (max_steps,)


def test_a_search_by_suggestions_goes_on_with_the_trials_it_had(tmp_path: Path) -> None:
    base = base_config(paper().pretraining, max_steps=8, seed=4)
    plan = SweepPlan(folder=tmp_path, store_path="", base=base, trials=[], space=read_space("paper"), samples=12)
    assert with_known_trials(plan) is plan
    plan.trials.extend(plan.trial(n, {"backbone.num_layers": layers}, 4) for n, layers in enumerate((3, 2)))
    plan.write()
    again = SweepPlan(folder=tmp_path, store_path="", base=base, trials=[], space=read_space("paper"), samples=12)
    assert with_known_trials(again).trials == plan.trials
    assert [t.id for t in plan.trials] == ["00", "01"]
    assert len(json.loads((tmp_path / "sweep.json").read_text())["trials"]) == 2
    assert [read_preset_file(tmp_path / "trials" / t.id / "preset.yaml") for t in plan.trials] == [
        t.config for t in plan.trials
    ]


def test_a_driver_killed_while_it_writes_a_trial_down_leaves_no_preset_that_the_sweep_does_not_know(
    tmp_path: Path,
) -> None:
    base = base_config(paper().pretraining, max_steps=8)
    plan = SweepPlan(folder=tmp_path, store_path="", base=base, trials=[], space=read_space("paper"), samples=12)
    plan.trials.append(plan.trial(0, {"backbone.num_layers": 3}, 0))
    (tmp_path / "trials").write_text("the disk's end")  # where presets would go
    with pytest.raises(OSError, match="trials"):
        plan.write()
    (tmp_path / "trials").unlink()
    again = with_known_trials(dataclasses.replace(plan, trials=[]))
    again.write()
    assert read_preset_file(tmp_path / "trials" / "00" / "preset.yaml") == plan.trials[0].config
