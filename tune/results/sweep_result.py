"""A sweep as it stands, from sweep.json and the ledger: its trials, their settings, which is best.

Promises: the best setting is the one with the lowest mean objective over its seeds among those whose trials all went to the end (a trial that was
stopped early has another number of steps, so that its preset would not give its objective again).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune.results.ledger import Ledger, TrialRecord


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """The state of a sweep.

    Args:
        folder: The sweep's folder.
        plan: Content of sweep.json.
        ledger: The sweep's ledger.
    """

    folder: Path
    plan: Mapping[str, Any]
    ledger: Ledger

    @property
    def objective(self) -> str:
        """ "loss" or "objective": the word for what trials are compared by."""
        return "loss" if self.tasks == [] else "objective"

    @property
    def tasks(self) -> list[str]:
        """Downstream tasks of the objective, if it is not the validation loss."""
        return list((self.plan.get("downstream") or {"tasks": []})["tasks"])

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """{trial: its setting}."""
        return {t["id"]: t["config"] for t in self.plan["trials"]}

    @property
    def seeds(self) -> dict[str, int]:
        """{trial: its seed}."""
        return {t["id"]: t["seed"] for t in self.plan["trials"]}

    @property
    def counted(self) -> list[TrialRecord]:
        """Trials that count in the share of steps: not those that failed or hung, whose other steps nobody saved."""
        return [r for r in self.ledger.records.values() if r.status not in ("failed", "hung")]

    @property
    def steps_used_share(self) -> float:
        """Steps of the counted trials over what they would have made without early stopping; 0 without any."""
        return sum(r.steps for r in self.counted) / max(1, len(self.counted) * self.plan["max_steps"])

    def groups(self) -> list[list[TrialRecord]]:
        """Returns groups of trials that differ in their seed only, the best setting first."""
        groups: dict[str, list[TrialRecord]] = {}
        for record in self.ledger.records.values():
            groups.setdefault(json.dumps(self.settings[record.id]), []).append(record)
        return sorted(groups.values(), key=lambda g: (not _whole(g), _mean(g)))

    def best(self) -> TrialRecord | None:
        """Returns the best trial of the best setting; None before any has finished."""
        for group in self.groups():
            if _whole(group):
                return min(group, key=lambda r: r.metric if r.metric is not None else float("inf"))
        return None


def read_sweep(folder: Path) -> SweepResult:
    """Returns the sweep in a folder.

    Raises:
        FileNotFoundError: There is none; the message names the sweeps beside it.
    """
    if not (folder / "sweep.json").exists():
        there = sorted(p.parent.name for p in folder.parent.glob("*/sweep.json"))
        raise FileNotFoundError(f"no sweep {folder.name!r} in {folder.parent}; there are: {', '.join(there) or 'none'}")
    plan = json.loads((folder / "sweep.json").read_text())
    ledger = Ledger(folder / "events.jsonl", [t["id"] for t in plan["trials"]], plan.get("metric", "best_loss"))
    return SweepResult(folder=folder, plan=plan, ledger=ledger)


def _whole(group: list[TrialRecord]) -> bool:
    return all(r.status == "finished" for r in group)


def _mean(group: list[TrialRecord]) -> float:
    found = [r.metric for r in group]
    return statistics.mean([float("inf") if m is None else m for m in found])
