"""`make chaos`: a run of 300 steps that is killed ten times at random, against the same run left alone (`python -m tests.faults.chaos`).

A cluster of three nodes on this machine (ray.cluster_utils.Cluster), two workers. At random steps one of these gets a kill -9: the driver, one
worker, or the raylet of a node with workers on it. A killed driver is started again by the same command; a killed node is replaced by a new one.

The last line of stdout is JSON: {"kills", "final_step", "weights_equal", "wasted_steps", "recovery_s": {"detect", "restart", "reload"}, "leaks"}.
`recovery_s` has medians over the kills: from the kill until the failure is seen (for a driver: until it is started again), from there until the new
group's training function begins, and from there until its first update is done. `leaks` counts processes, placement groups and files
in /dev/shm of this session that are left at the end. Exit status 1 when a promise is broken: other weights, a leak, more waste than the interval
and the steps done while a checkpoint is on its way to storage.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.timing import conditions
from distributed.runs.checkpoint import load_state
from distributed.runs.commits import committed_checkpoint
from distributed.runs.journal import Journal
from rdl_core.pretraining import num_samples
from tests import REPOSITORY, own_environment
from tests.faults.chaos_nodes import Nodes
from tests.faults.left_behind import left_in_memory, left_processes, open_placement_groups

KINDS = ("driver", "worker", "raylet")
WORKERS, SAMPLES_PER_STEP = 2, 2


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def command(options: argparse.Namespace, runs_dir: Path, name: str) -> list[str]:
    """Returns the command line of the run; the same command goes on after a kill."""
    values = {
        "data": options.data,
        "runs-dir": runs_dir,
        "run-name": name,
        "max-steps": options.steps,
        "workers": WORKERS,
        "preset": "contrast",
        "samples-per-step": SAMPLES_PER_STEP,
        "checkpoint-interval-steps": options.interval,
        "validation-samples": 4,
        "validation-interval-steps": options.steps,
        "wandb": False,
        "seed": 3,
    }
    words = [str(word) for name, value in values.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "distributed", "pretrain", *words]


def start(options: argparse.Namespace, runs_dir: Path, name: str, address: str | None) -> subprocess.Popen:
    """Starts the driver, in a Ray session of its own or in the cluster."""
    environment = own_environment(**({} if address is None else {"RAY_ADDRESS": address}))
    with (runs_dir / f"{name}.log").open("ab") as log:
        words = command(options, runs_dir, name)
        return subprocess.Popen(words, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)


def undisturbed(options: argparse.Namespace, runs_dir: Path) -> Path:
    """Returns the checkpoint with which a run left alone ends."""
    driver = start(options, runs_dir, "whole", None)
    if driver.wait(timeout=options.limit_s) != 0:
        raise RuntimeError(f"the undisturbed run failed:\n{(runs_dir / 'whole.log').read_text()[-3000:]}")
    checkpoint = committed_checkpoint(runs_dir / "whole" / "train")
    assert checkpoint is not None
    return checkpoint


def disturbed(options: argparse.Namespace, runs_dir: Path, nodes: Nodes) -> list[dict[str, Any]]:
    """Kills and restarts until the run ends; returns [{"kind", "step", "time_s"}].

    Raises:
        TimeoutError: The run did not end within `limit_s`.
        RuntimeError: The driver ended with an error of its own.
    """
    chance = random.Random(options.seed)
    at_steps = sorted(chance.sample(range(options.interval, options.steps - 5), options.kills))
    journal, kills = Journal(runs_dir / "killed"), list[dict[str, Any]]()
    driver, end_s = start(options, runs_dir, "killed", nodes.cluster.address), time.monotonic() + options.limit_s
    try:
        while driver.poll() is None:
            if time.monotonic() > end_s:
                raise TimeoutError(f"at step {journal.reached()} of {options.steps} after {options.limit_s:.0f} s")
            if (
                len(kills) < len(at_steps)
                and _is_training_at(journal, at_steps[len(kills)], kills)
                and nodes.train_workers()
            ):
                kills.append({"kind": chance.choice(KINDS), "step": journal.reached(), "time_s": time.time()})
                say(f"kill {len(kills)}: {kills[-1]['kind']} after step {kills[-1]['step']}")
                if kills[-1]["kind"] == "driver":
                    driver.kill()
                    driver.wait()
                    driver = start(options, runs_dir, "killed", nodes.cluster.address)
                else:
                    nodes.kill_one(chance, kills[-1]["kind"])
            time.sleep(0.05)
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.wait()
    if driver.returncode != 0:
        raise RuntimeError(
            f"the run ended with status {driver.returncode}:\n{(runs_dir / 'killed.log').read_text()[-3000:]}"
        )
    return kills


def _is_training_at(journal: Journal, step: int, kills: list[dict[str, Any]]) -> bool:
    """Returns whether the run has come so far, and has done a step since the last kill."""
    if not journal.path.parent.exists() or journal.reached() < step:
        return False
    return any(e["time_s"] > (kills[-1]["time_s"] if kills else 0.0) for e in journal.events("stepped"))


def recoveries(journal: Journal, kills: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Returns {"detect", "restart", "reload": seconds} for each kill."""
    found = []
    for kill in kills:
        seen = "driver" if kill["kind"] == "driver" else "failure"
        times, at_s = [kill["time_s"]], kill["time_s"]
        for event in (seen, "group", "stepped"):
            at_s = next(e["time_s"] for e in journal.events(event) if e["time_s"] > at_s)
            times.append(at_s)
        parts = [after - before for before, after in zip(times, times[1:], strict=False)]
        found.append(dict(zip(("detect", "restart", "reload"), parts, strict=True)))
    return found


def equal_weights(left: Path, right: Path) -> bool:
    """Returns whether two checkpoints have the same weights, bit for bit."""
    first, second = (load_file(path / "model.safetensors") for path in (left, right))
    return first.keys() == second.keys() and all(torch.equal(w, second[n]) for n, w in first.items())


def chaos(options: argparse.Namespace, runs_dir: Path) -> dict[str, Any]:
    """Returns what is printed: the comparison of both runs."""
    before, at_start = {p.name for p in Path("/dev/shm").iterdir()}, conditions()
    whole = undisturbed(options, runs_dir)
    say("the undisturbed run is done")
    nodes = Nodes()
    head = nodes.cluster.head_node
    assert head is not None
    session = head.get_session_dir_path().rsplit("/", 1)[-1]
    try:
        kills = disturbed(options, runs_dir, nodes)
        leaks = open_placement_groups(nodes.cluster.address)
    finally:
        nodes.cluster.shutdown()
    leaks += left_processes(session) + left_in_memory(before)
    journal, killed = Journal(runs_dir / "killed"), committed_checkpoint(runs_dir / "killed" / "train")
    assert killed is not None
    state, parts = load_state(killed), recoveries(journal, kills)
    for kill, part in zip(kills, parts, strict=True):
        say(f"{kill['kind']:7s} at {kill['step']:4d}: " + ", ".join(f"{k} {v:.1f} s" for k, v in part.items()))
    for leak in leaks:
        say(f"left: {leak}")
    wasted = [event["wasted_steps"] for event in journal.events("resumed")]
    underway = max(event["reached"] - event["step"] for event in journal.events("committed"))
    return {
        "kills": len(kills),
        "final_step": state.step,
        "weights_equal": equal_weights(whole, killed),
        "wasted_steps": sum(wasted),
        "recovery_s": {k: round(statistics.median(p[k] for p in parts), 2) for k in parts[0]} if parts else {},
        "leaks": len(leaks),
        "wasted_steps_max": max(wasted),
        "checkpoint_interval_steps": options.interval,
        "underway_steps_max": underway,
        "recovery_max_s": round(max((sum(p.values()) for p in parts), default=0.0), 2),
        "each_sample_once": num_samples(state.consumed) == SAMPLES_PER_STEP * options.steps,
        "kinds": {kind: sum(k["kind"] == kind for k in kills) for kind in KINDS},
        "conditions": at_start,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="rel-f1")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--interval", type=int, default=10, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--limit-s", type=float, default=1500.0, help="for each of the two runs")
    options = parser.parse_args()
    runs_dir = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        result = chaos(options, runs_dir)
    except BaseException:
        say(f"runs and logs stay in {runs_dir}")
        raise
    print(json.dumps(result), flush=True)
    kept = result["weights_equal"] and result["final_step"] == options.steps and not result["leaks"]
    kept = (
        kept
        and result["wasted_steps_max"] <= options.interval + result["underway_steps_max"]
        and result["each_sample_once"]
    )
    if kept:
        shutil.rmtree(runs_dir)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
