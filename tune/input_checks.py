"""The start of sweep and report: what can be refused without torch and Ray Train, which take seconds to load, is refused here."""

from __future__ import annotations

from typing import Any

from distributed.commands.inputs import open_data, refuse_unlinked
from rdl_core.config import PRESETS, PretrainingConfig
from tune.commands import Report, Sweep
from tune.search_space import REFUSED, SET_BY_THE_SWEEP, SearchSpace, extremes, read_space, value_at, with_rows


def run_sweep_command(options: Sweep) -> dict[str, Any]:
    """Returns the line of the sweep's report."""
    space = with_rows(read_space(options.grid), options.rows)
    _refuse_what_the_sweep_sets(options.config, space.preset)
    _refuse_too_few_samples(options, space)
    data, dataset = open_data(options)
    refuse_unlinked(dataset)
    if options.tasks:
        from rdl_core.database import load_task

        for task in options.tasks:
            load_task(dataset, task)
    from tune.sweep_command import sweep

    return sweep(options, space, data, dataset)


def run_report_command(options: Report) -> dict[str, Any]:
    """Returns the line of the report.

    Raises:
        FileNotFoundError: There is no such sweep.
    """
    folder = options.runs_dir / options.name
    if not (folder / "sweep.json").is_file():
        names = sorted(path.parent.name for path in options.runs_dir.glob("*/sweep.json"))
        raise FileNotFoundError(
            f"no sweep {options.name!r}; in {options.runs_dir} there are: {', '.join(names) or 'none'}"
        )
    from tune.sweep_command import reported

    return reported(folder)


def _refuse_what_the_sweep_sets(config: PretrainingConfig, preset: str) -> None:
    for path in SET_BY_THE_SWEEP:
        if value_at(config, path) != value_at(PRESETS[preset]().pretraining, path):
            raise ValueError(f"--config.{path.replace('_', '-')} cannot be given here: {REFUSED[path]}")


def _refuse_too_few_samples(options: Sweep, space: SearchSpace) -> None:
    values = space.values.get("samples_per_step")
    if values is not None and min(extremes(values)) < options.workers_per_trial:
        raise ValueError(
            f"samples_per_step has values below --workers-per-trial {options.workers_per_trial}: at least one per worker"
        )
