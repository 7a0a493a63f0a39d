"""What a sweep found, as one folder: report.md, trials.csv, three pictures and the best setting as a preset file.

Promises: everything follows from sweep.json and the ledger (sweep_result.py), so a report can be made while the sweep runs and again later.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tune.results.figures import draw_curves, draw_marginals, draw_timeline
from tune.results.report_text import csv_text, markdown
from tune.results.sweep_result import SweepResult


def make_report(sweep: SweepResult) -> dict[str, Any]:
    """Writes <sweep>/report/ and returns its machine-readable line."""
    folder = sweep.folder / "report"
    folder.mkdir(exist_ok=True)
    best, preset = sweep.best(), None
    if best is not None:
        preset = folder / "preset.yaml"
        partial = folder / "preset.yaml.partial"
        shutil.copyfile(sweep.folder / "trials" / best.id / "preset.yaml", partial)
        partial.replace(preset)
    records, settings = list(sweep.ledger.records.values()), sweep.settings
    draw_curves(records, settings, folder / "curves.png", best, sweep.objective)
    draw_marginals(records, settings, folder / "marginals.png", sweep.objective)
    draw_timeline(records, settings, folder / "timeline.png")
    _write(folder / "trials.csv", csv_text(sweep))
    _write(folder / "report.md", markdown(sweep, best))
    return {
        "trials": [
            {
                "id": r.id, "config": {**settings[r.id], "seed": sweep.seeds[r.id]}, "status": r.status, "steps": r.steps,
                "metric": r.metric,
            }
            for group in sweep.groups() for r in group
        ],
        "best": None if best is None else best.id,
        "steps_used_share": sweep.steps_used_share,
        "preset": None if preset is None else str(preset),
    }  # fmt: skip


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
