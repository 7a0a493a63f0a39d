"""State of a run, told from its folder alone: `rdl status RUN`.

In: runs/<run name> with what config.json, journal.jsonl, train/ and result.json say. Out: a dictionary for --json, and its text.

Promises: nothing is written, no session is needed, neither torch nor Ray is loaded, a folder that is being written to can be read. A process on
another machine cannot be seen from here: a run that shows no sign of life for SILENT_S is called silent, not dead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed.console import loss_text
from distributed.runs.commits import committed_checkpoint
from distributed.runs.finetuning_journal import TRAINING, curve
from distributed.runs.journal import Journal

SILENT_S = 300.0
"""Seconds without a step or an event. Longer than a long validation and the start of a worker group."""


def run_status(folder: Path, now_s: float | None = None) -> dict[str, Any]:
    """Returns the status of a run.

    Args:
        folder: The run's folder.
        now_s: UNIX time; None: now.

    Returns:
        {"run", "state", "why", "step", "max_steps", "losses": of the last validation in a checkpoint, "phase": of fine-tuning, {"name", "then"},
        "validated": of fine-tuning, {"step", "metric", "value", "best", "best_step"}, "checkpoint": its path, "restarts": [{"time_s", "why", "step",
        "wasted_steps"}], "workers", "silent_s"}; None where nothing is known. `state` is "finished", "failed", "interrupted", "starting", "running",
        "restarting" or "silent".

    Raises:
        FileNotFoundError: No run there; naming those beside it.
    """
    journal = Journal(folder)
    events, config = journal.events(), _read_json(folder / "config.json")
    if not events and config is None:
        runs = sorted(p.parent.name for p in folder.parent.glob("*/config.json"))
        raise FileNotFoundError(
            f"no run at {folder} (neither config.json nor journal.jsonl); runs beside it: {', '.join(runs) or 'none'}"
        )
    checkpoint = committed_checkpoint(folder / "train")
    progress: dict[str, Any] = (
        {"step": 0, "history": []} if checkpoint is None else _read_json(checkpoint / "state.json")
    )
    if checkpoint is not None and config is None:  # a run by `pretrain` itself
        config = {"pretraining": _read_json(checkpoint / "run.json")["config"]}
    signs_s = [p.stat().st_mtime for p in map(folder.joinpath, ("reached", "config.json", "result.json")) if p.exists()]
    signs_s += [event["time_s"] for event in events[-1:]]
    silent_s = (time.time() if now_s is None else now_s) - max(signs_s)
    state, why = _state(folder, events, silent_s)
    groups = [event["workers"] for event in events if event["event"] == "group"]
    phase, validated = next(reversed(journal.events("phase")), None), next(reversed(curve(journal)), None)
    return {
        "run": str(folder),
        "state": state,
        "why": why,
        "step": max(progress["step"], _reached(journal, phase), validated["step"] if validated else 0),
        "max_steps": _max_steps(journal, config or {}),
        "losses": progress["history"][-1] if progress["history"] else None,
        "phase": phase and {name: phase[name] for name in ("name", "then")},
        "validated": validated and {name: validated[name] for name in ("step", "metric", "value", "best", "best_step")},
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "restarts": restarts(events),
        "workers": groups[-1] if groups else None,
        "silent_s": silent_s,
    }


def restarts(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns when and why a run started again, from which step, and how many steps it did again, from the events of its journal."""
    found: list[dict[str, Any]] = []
    why, workers, has_begun = "", 0, False
    for event in events:
        if event["event"] == "failure":
            why = f"rank {event['rank']}: {' '.join(event['error'].split())}"
        elif event["event"] == "driver":
            why = why or "the command was run again"
        elif event["event"] == "group":
            why = why or (f"{workers} → {event['workers']} workers" if workers not in (0, event["workers"]) else "")
            workers = event["workers"]
        elif event["event"] == "resumed":
            if has_begun:
                why = why or "Ray Train started the workers again"
                found.append({**{k: event[k] for k in ("time_s", "step", "wasted_steps")}, "why": why})
            why, has_begun = "", True
    return found


def status_text(status: dict[str, Any]) -> str:
    """Returns the status for people: one line per fact."""
    silent = f"{status['silent_s']:.0f} s"
    state = {
        "finished": f"finished: {status['why']}",
        "failed": f"failed {silent} ago: {status['why']}",
        "interrupted": f"interrupted by Ctrl-C {silent} ago; the same command goes on from the last checkpoint",
        "running": f"running; last sign of life {silent} ago",
        "starting": f"starting workers; last sign of life {silent} ago",
        "restarting": f"starting again after a failure {silent} ago: {status['why']}",
        "silent": f"no sign of life for {silent}: dead, hung, or waiting for machines; the same command goes on from the last checkpoint",
    }[status["state"]]
    lines = [("run", status["run"]), ("state", state), ("step", f"{status['step']} of {status['max_steps']}")]
    if losses := status["losses"]:
        validation = {name: loss for name, loss in losses.items() if name.startswith("validation/")}
        lines.append(("validated", f"step {losses['step']}: {loss_text(validation)}"))
    if phase := status["phase"]:
        lines.append(("phase", f"{phase['name']}{'; then ' if phase['then'] else ''}{', '.join(phase['then'])}"))
    if found := status["validated"]:
        best = f"best {found['best']:.4f} at step {found['best_step']}"
        lines.append(("validated", f"step {found['step']}: {found['metric']} {found['value']:.4f}, {best}"))
    lines += [(name, str(status[name])) for name in ("checkpoint", "workers") if status[name] is not None]
    for restart in status["restarts"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(restart["time_s"]))
        again = f"from step {restart['step']}, {restart['wasted_steps']} steps done again"
        lines.append(("restarted", f"{when} {again}: {restart['why']}"))
    return "\n".join(f"{name:11s}{text}" for name, text in lines)


def _state(folder: Path, events: Sequence[dict[str, Any]], silent_s: float) -> tuple[str, str]:
    telling = ("failure", "gave_up", "interrupted", "group", "driver", "phase")
    last = next((event for event in reversed(events) if event["event"] in telling), {"event": "driver"})
    finished = [event["why"] for event in events if event["event"] == "finished"]
    if finished or (folder / "result.json").exists():
        return "finished", finished[-1] if finished else "result.json is there"
    if last["event"] == "gave_up":
        return "failed", last["error"]
    if last["event"] == "interrupted":
        return "interrupted", ""
    if silent_s > SILENT_S:
        return "silent", ""
    if last["event"] == "failure":
        return "restarting", f"rank {last['rank']}: {' '.join(last['error'].split())}"
    return ("starting" if last["event"] == "driver" else "running"), ""


def _reached(journal: Journal, phase: dict[str, Any] | None) -> int:
    """Returns the update of training that a run has reached; 0 in a phase of fine-tuning that is no training."""
    return journal.reached() if phase is None or phase["name"].startswith(TRAINING) else 0


def _max_steps(journal: Journal, config: dict[str, Any]) -> int | None:
    """Returns the most updates: of fine-tuning, whose phases follow each other, those of its last phase of training."""
    phases = [event["steps"] for event in journal.events("phase") if event["name"].startswith(TRAINING)]
    asked = [config[kind]["max_steps"] for kind in ("pretraining", "finetuning") if config.get(kind)]
    return next(iter([*phases[-1:], *asked]), None)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None
