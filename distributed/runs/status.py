"""What is known of a run from its folder alone, whether it runs, has ended or is dead: `python -m distributed status RUN`.

In: runs/<run name> with what config.json, journal.jsonl, train/ and result.json say. Out: a dictionary for --json, and its text.

Promises: nothing is written, no session is needed, a folder that is being written to can be read. A process on another machine cannot be seen from
here: a run that shows no sign of life for SILENT_S is called silent, not dead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distributed.console import loss_text
from distributed.runs.checkpoint import load_state
from distributed.runs.commits import committed_checkpoint
from distributed.runs.journal import Journal
from rdl_core.pretraining.state import TrainState

SILENT_S = 300.0
"""Without a step or an event for so long. Longer than a long validation and the start of a worker group."""
WHY_LENGTH = 160
"""Letters of a failure that are shown."""


def run_status(folder: Path, now_s: float | None = None) -> dict[str, Any]:
    """The status of a run.

    Args:
        folder: Of the run.
        now_s: UNIX time; None: now.

    Returns:
        {"run", "command", "state", "why", "step", "max_steps", "validated": {"step", losses and speeds}, "best": {"step", "loss"}, "left_s",
        "checkpoint": {"path", "step", "age_s"}, "restarts": [{"time_s", "why", "step", "wasted_steps", "lost_s"}], "wasted_steps", "workers",
        "nodes", "silent_s", "files"}; None where nothing is known. `state` is "finished", "failed", "interrupted", "running", "starting",
        "restarting" or "silent".

    Raises:
        FileNotFoundError: No run there; naming those beside it.
    """
    now_s = time.time() if now_s is None else now_s
    config = _config(folder)
    journal = Journal(folder)
    events = journal.events()
    checkpoint = committed_checkpoint(folder / "train")
    state = TrainState() if checkpoint is None else load_state(checkpoint)
    silent_s = now_s - _last_sign_s(folder, events)
    name, why = _state(folder, events, silent_s)
    if checkpoint is not None:  # a run by `trainer.pretrain` has no config.json
        config.setdefault("pretraining", json.loads((checkpoint / "run.json").read_text())["config"])
    max_steps = (config.get("pretraining") or {}).get("max_steps")
    step = max(state.step, journal.reached())
    validated = _validated(state, events)
    speed = validated.get("steps_per_s")
    left_s = None
    if name in ("running", "restarting", "starting") and max_steps is not None and speed is not None:
        left_s = (max_steps - step) / speed
    nodes = [event["nodes"] for event in events if event["event"] == "nodes"]
    groups = [event["workers"] for event in events if event["event"] == "group"]
    restarts = list(restarts_of(events))
    return {
        "run": str(folder), "command": config.get("command"), "state": name, "why": why, "step": step, "max_steps": max_steps,
        "validated": validated or None, "best": {"step": state.best_step, "loss": state.best_loss} if state.best else None,
        "left_s": left_s,
        "checkpoint": None if checkpoint is None else {
            "path": str(checkpoint), "step": state.step, "age_s": now_s - checkpoint.stat().st_mtime},
        "restarts": restarts, "wasted_steps": sum(restart["wasted_steps"] for restart in restarts),
        "workers": groups[-1] if groups else None, "nodes": nodes[-1] if nodes else None, "silent_s": silent_s,
        "files": {n: str(folder / n) for n in ("curves.png", "wandb", "result.json", "model") if (folder / n).exists()},
    }  # fmt: skip


def restarts_of(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Why and when a run started again, from which step, and what it cost: steps, and seconds from the failure to the next step."""
    cause: dict[str, Any] | None = None
    restart: dict[str, Any] | None = None
    has_begun = False
    workers: list[int] = []
    for event in events:
        if event["event"] == "group":
            workers.append(event["workers"])
        elif event["event"] == "failure" or (event["event"] == "driver" and has_begun and cause is None):
            cause = event
        elif event["event"] == "resumed":
            if has_begun:
                if restart is not None:
                    yield restart
                restart = {
                    "time_s": event["time_s"], "why": _why(cause, workers), "step": event["step"],
                    "wasted_steps": event["wasted_steps"], "lost_s": None,
                }  # fmt: skip
            has_begun = True
        elif event["event"] == "stepped" and restart is not None and restart["lost_s"] is None:
            restart["lost_s"] = event["time_s"] - (cause or restart)["time_s"]
            cause = None
    if restart is not None:
        yield restart


def status_text(status: dict[str, Any]) -> str:
    """For people: a line a fact."""
    lines = [("run", f"{status['run']} ({status['command'] or 'no config.json'})"), ("state", _state_line(status))]
    if status["step"] or status["max_steps"]:
        lines.append(("step", _step_line(status)))
    if validated := status["validated"]:
        lines.append(("validated", f"step {validated['step']}: {loss_text(validated)}"))
    if best := status["best"]:
        lines.append(("best", f"step {best['step']}: sum of levels {best['loss']:.3f}"))
    if validated and "steps_per_s" in validated:
        wait = f"{validated['data_wait_share']:.1%} of the time waiting for samples"
        lines.append(("rate", f"{validated['steps_per_s']:.2f} steps/s, {validated['rows_per_s']:,.0f} rows/s, {wait}"))
    if checkpoint := status["checkpoint"]:
        lines.append(
            ("checkpoint", f"step {checkpoint['step']}, {duration(checkpoint['age_s'])} old: {checkpoint['path']}")
        )
    if status["workers"]:
        on = f" on a cluster of {status['nodes']} nodes" if (status["nodes"] or 0) > 1 else ""
        lines.append(("workers", f"{status['workers']}{on}"))
    restarts = status["restarts"]
    lines += [("restarts", f"{len(restarts)}, {status['wasted_steps']} steps done again")] if restarts else []
    for restart in restarts:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(restart["time_s"]))
        lost = "" if restart["lost_s"] is None else f", {duration(restart['lost_s'])} lost"
        lines.append(("", f"{when} from step {restart['step']}{lost}: {restart['why']}"))
    lines += [(name.split(".")[0], path) for name, path in status["files"].items()]
    return "\n".join(f"{name:11s}{text}" for name, text in lines)


def duration(seconds: float) -> str:
    """42 s, 12 min, 3.5 h, 2.1 days."""
    for name, size, digits in (("days", 86_400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{digits}f} {name}"
    return f"{seconds:.0f} s"


def _state_line(status: dict[str, Any]) -> str:
    silent = duration(status["silent_s"])
    return {
        "finished": f"finished: {status['why']}",
        "failed": f"failed {silent} ago: {status['why']}",
        "interrupted": f"interrupted by Ctrl-C {silent} ago; the same command goes on from the last checkpoint",
        "running": f"running; last sign of life {silent} ago",
        "starting": f"starting workers; last sign of life {silent} ago",
        "restarting": f"starting again after a failure {silent} ago: {status['why']}",
        "silent": f"no sign of life for {silent}: dead, hung, or waiting for machines; the same command goes on from the last checkpoint",
    }[status["state"]]


def _step_line(status: dict[str, Any]) -> str:
    of = f" of {status['max_steps']}" if status["max_steps"] else ""
    left = f", about {duration(status['left_s'])} left" if status["left_s"] is not None else ""
    return f"{status['step']}{of}{left}"


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if path.exists():
        config: dict[str, Any] = json.loads(path.read_text())
        return config
    if Journal(folder).path.exists():
        return {}
    runs = sorted(p.parent.name for p in folder.parent.glob("*/config.json"))
    raise FileNotFoundError(
        f"no run at {folder} (neither config.json nor journal.jsonl); runs beside it: {', '.join(runs) or 'none'}"
    )


def _state(folder: Path, events: list[dict[str, Any]], silent_s: float) -> tuple[str, str]:
    """(state, why)."""
    names = [event["event"] for event in events]
    telling = ("failure", "gave_up", "interrupted", "group", "driver")
    last = next((event for event in reversed(events) if event["event"] in telling), None)
    if "finished" in names:
        return "finished", next(event["why"] for event in reversed(events) if event["event"] == "finished")
    if (folder / "result.json").exists():
        return "finished", "result.json is there"
    if last is not None and last["event"] == "gave_up":
        return "failed", last["error"]
    if last is not None and last["event"] == "interrupted":
        return "interrupted", ""
    if silent_s > SILENT_S:
        return "silent", ""
    if last is None or last["event"] == "driver":
        return "starting", ""
    return ("restarting", _why(last)) if last["event"] == "failure" else ("running", "")


def _last_sign_s(folder: Path, events: list[dict[str, Any]]) -> float:
    paths = [folder / name for name in ("reached", "config.json", "result.json")]
    return max([p.stat().st_mtime for p in paths if p.exists()] + [event["time_s"] for event in events[-1:]])


def _validated(state: TrainState, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The last validation in a checkpoint, and the newest speeds."""
    losses = dict(state.history[-1]) if state.history else {}
    found = {k.removeprefix("validation/"): v for k, v in losses.items() if not k.startswith("train/")}
    speeds = [event for event in events if event["event"] == "validated" and "steps_per_s" in event]
    names = ("steps_per_s", "rows_per_s", "data_wait_share")
    return found | ({name: speeds[-1][name] for name in names} if speeds and found else {})


def _why(cause: dict[str, Any] | None, workers: Sequence[int] = ()) -> str:
    """In a line; `workers` are the sizes of the groups so far."""
    if cause is None:
        is_resized = len(workers) > 1 and workers[-1] != workers[-2]
        return f"{workers[-2]} → {workers[-1]} workers" if is_resized else "Ray Train started the workers again"
    if cause["event"] == "driver":
        return "the command was run again"
    return f"rank {cause['rank']}: {' '.join(cause['error'].split())[:WHY_LENGTH]}"
