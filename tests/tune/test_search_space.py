"""Search spaces: the paths that a sweep may vary, and the settings that follow."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import ray.tune
import yaml

from rdl_core.config import LinearRows, contrast, paper
from tune.search_space import SearchSpace, read_space, settings, with_rows, with_setting
from tune.sweep_plan import SweepPlan, base_config, with_trials


def grid_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "grid.yaml").write_text(text)
    return str(tmp_path / "grid.yaml")


def test_the_papers_grid_has_24_settings_and_12_with_one_way_to_make_rows() -> None:
    found = settings(read_space("paper"), "grid", 0, 0)
    assert len({str(s) for s in found}) == len(found) == 24
    linear = settings(with_rows(read_space("paper"), "linear"), "grid", 0, 0)
    assert linear == [s for s in found if s["backbone.rows"] == "linear"]
    assert len(linear) == 12


def test_a_setting_changes_its_paths_and_nothing_else() -> None:
    changed = with_setting(paper().pretraining, {"backbone.rows": "linear", "corruption.probability": 0.2})
    assert changed.backbone.rows == LinearRows()
    kept = with_setting(paper().pretraining, {"backbone.rows": "resnet", "backbone.rows.num_layers": 2}).backbone.rows
    assert kept == dataclasses.replace(paper().pretraining.backbone.rows, num_layers=2)
    assert changed.corruption.probability == 0.2
    assert (
        with_setting(changed, {"backbone.rows": {"kind": "resnet", "dropout": 0.2}, "corruption.probability": 0.4})
        == paper().pretraining
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("backbone.layers", "no 'backbone.layers'; near it: backbone.num_layers"),
        ("backbone", "no 'backbone'; "),
        ("sampling.rows_per_hop", "sampling.rows_per_hop cannot be swept: validation would see other samples"),
        ("corruption.target_link_share", "cannot be swept: validation would measure another loss"),
        ("loss.row_form", "cannot be swept: validation would measure another loss"),
        ("max_steps", "cannot be swept: the sweep sets it"),
        ("patience", "cannot be swept: trials that end by themselves"),
        ("validation_corruption", "cannot be swept: the sweep sets it"),
    ],
)
def test_a_path_that_is_not_there_or_would_spoil_the_comparison_is_refused_by_name(path: str, message: str) -> None:
    with pytest.raises(ValueError, match="cannot be swept|has no") as error:
        SearchSpace(preset="contrast", values={path: [1]})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("backbone.num_layers: [2, three]", "backbone.num_layers is 'three'; it should be a valid integer"),
        ("backbone.num_layers: [2, 2.5]", "backbone.num_layers is 2.5"),
        (
            "backbone.aggregation: [sum, max]",
            "backbone.aggregation is 'max'; it should be 'sum' or 'mean' or 'time_attention'",
        ),
        ("corruption.probability: [2.0]", "corruption.probability is 2.0; it should be less than or equal to 1"),
        ("learning_rate: 1e-3", "learning_rate must be a list of values or one of"),
        ("learning_rate: []", "learning_rate has no value to try"),
        ("learning_rate: {uniform: [1e-4]}", "learning_rate: {uniform: [0.0001]} cannot be drawn from: "),
        ("learning_rate: {loguniform: 3}", "learning_rate: {loguniform: 3} cannot be drawn from: "),
        ("backbone.num_layers: {uniform: [2, 3]}", "backbone.num_layers is 2."),
        ("samples_per_step: {randint: [5, 1]}", "samples_per_step: {randint: [5, 1]} cannot be drawn from: "),
        ("learning_rate: [1e-3", "grid.yaml is not YAML: "),
        ("3: [1]", "a path is text, got 3"),
    ],
)
def test_a_value_that_the_configuration_refuses_is_refused_with_the_file(
    line: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="grid.yaml") as error:
        read_space(grid_file(tmp_path, f"space:\n  {line}\n"))
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="--grid must be one of paper, robust, contrast or a YAML file, got 'papr'"):
        read_space("papr")


def test_a_number_written_as_1e_3_is_a_number(tmp_path: Path) -> None:
    space = read_space(grid_file(tmp_path, "preset: paper\nspace:\n  learning_rate: [1e-3, 2]\n"))
    assert space.preset == "paper"
    assert space.values == {"learning_rate": [1e-3, 2.0]}


def test_random_search_draws_the_same_settings_from_the_same_seed_within_their_bounds(tmp_path: Path) -> None:
    text = "space:\n  learning_rate: {loguniform: [1e-4, 1e-2]}\n  backbone.num_layers: [2, 3]\n  samples_per_step: {randint: [1, 5]}\n"
    space = read_space(grid_file(tmp_path, text))
    found = settings(space, "random", 40, 7)
    assert found == settings(space, "random", 40, 7) != settings(space, "random", 40, 8)
    assert all(1e-4 <= s["learning_rate"] <= 1e-2 and s["samples_per_step"] in range(1, 5) for s in found)
    assert {s["backbone.num_layers"] for s in found} == {2, 3}
    assert all(with_setting(contrast().pretraining, s).learning_rate == s["learning_rate"] for s in found)


def test_random_search_over_lists_draws_no_setting_twice_and_at_most_all() -> None:
    grid = settings(read_space("paper"), "grid", 0, 0)
    for samples in (1, 16, 24, 30):
        found = settings(read_space("paper"), "random", samples, 0)
        assert len(found) == len({str(s) for s in found}) == min(samples, 24)
        assert all(s in grid for s in found)


def test_a_grid_over_a_distribution_is_refused() -> None:
    space = SearchSpace(preset="contrast", values={"learning_rate": ray.tune.loguniform(1e-4, 1e-2)})
    with pytest.raises(ValueError, match="learning_rate has a distribution: --search random"):
        settings(space, "grid", 0, 0)


@pytest.mark.parametrize(
    ("path", "distribution", "message"),
    [
        ("corruption.probability", {"uniform": [0, 2]}, "probability is 2.0; it should be less"),
        ("backbone.num_layers", {"choice": [2, "three", 3]}, "backbone.num_layers"),
        ("backbone.num_layers", {"randint": [-1, 4]}, "num_layers is -1; it should be greater than or equal to 0"),
    ],
)
def test_a_distribution_is_refused_if_any_of_its_draws_would_be(
    tmp_path: Path, path: str, distribution: dict[str, list[Any]], message: str
) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({"space": {path: distribution}}))
    with pytest.raises(ValueError, match=message):
        read_space(str(file))


def test_all_trials_of_a_sweep_are_validated_alike() -> None:
    base = base_config(paper().pretraining, max_steps=400, seed=3)
    plan = SweepPlan(folder=Path(), store_path="", base=base, trials=[])
    trials = with_trials(plan, settings(read_space("paper"), "grid", 0, 0), seeds=2).trials
    assert [t.id for t in trials] == [f"{k:02d}" for k in range(48)]
    assert {t.seed for t in trials} == {3, 4}
    assert {t.config.corruption.probability for t in trials} == {0.2, 0.4, 0.6}
    names = [f.name for f in dataclasses.fields(base) if f.name.startswith("validation")]
    assert {tuple(getattr(t.config, n) for n in names) for t in trials} == {(50, 50, False, 0.4, 3)}
    assert all(t.config.sampling == base.sampling for t in trials)
    ends = {(t.config.max_steps, t.config.max_hours, t.config.patience, t.config.stop_below) for t in trials}
    assert ends == {(400, None, None, None)}, "only steps end a trial"
