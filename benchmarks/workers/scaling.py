"""Weak scaling from one to two workers: 4 samples per rank and step on rel-retail, one thread per worker, the whole run through Ray.

Two workers do twice the samples per step: efficiency is steps/s of two over steps/s of one. Samplers and workers share
the machine's cores. Each run's first window, and the group's first step, are not counted, nor are windows in which other processes took more than
5 % of the machine (unless all are such): two workers lose more by them than one, which has a core to spare. Of the others the median is taken, the
runs come in turns. Target on two otherwise idle cores: efficiency of at least 0.85, less than 5 % of the time spent waiting for samples.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path

import ray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, this folder is the first of the path

from benchmarks.timing import conditions  # noqa: E402
from benchmarks.workers.other_load import OtherLoad  # noqa: E402
from distributed.commands.inputs import find_data  # noqa: E402
from distributed.console import say  # noqa: E402
from distributed.runs.journal import Journal  # noqa: E402
from distributed.runs.tracking import TrackingConfig  # noqa: E402
from distributed.training.trainer import pretrain  # noqa: E402
from rdl_core.config import PRESETS, PretrainingConfig  # noqa: E402
from rdl_core.database.dataset import open_dataset  # noqa: E402
from rdl_core.graph.materialization import materialize  # noqa: E402
from rdl_core.graph.store import Store  # noqa: E402
from rdl_core.pretraining.model import PretrainingModel  # noqa: E402

SAMPLES_PER_RANK = 4
WINDOW_STEPS = 20
OTHERS_SHARE = 0.05


def run_config(preset: str, workers: int, windows: int) -> PretrainingConfig:
    """Returns the configuration of one run that nothing ends early."""
    return dataclasses.replace(
        PRESETS[preset]().pretraining,
        samples_per_step=SAMPLES_PER_RANK * workers,
        max_steps=WINDOW_STEPS * (windows + 1),
        validation_interval_steps=WINDOW_STEPS,
        validation_samples=2,
        patience=None,
        stop_below=None,
    )


def speeds(store: Store, folder: Path, config: PretrainingConfig, workers: int) -> list[dict[str, float]]:
    """Returns {"steps_per_s", "data_wait_share", "rows_per_s", "others_share"} for each window of one run but the first."""
    tracking = TrackingConfig(directory=str(folder), run_id="scaling", name="scaling", enabled=False)
    with OtherLoad() as others:
        pretrain(store, config, folder, workers=workers, samplers=1, placement="local", tracking=tracking)
    events = [event for event in Journal(folder).events("validated") if event["step"] >= WINDOW_STEPS]
    return [
        {**event, "others_share": others.share(before["time_s"], event["time_s"])}
        for before, event in itertools.pairwise(events)
    ]


def quiet(windows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Returns the windows in which others took at most OTHERS_SHARE of the machine, or all if there is none."""
    return [w for w in windows if w["others_share"] <= OTHERS_SHARE] or windows


def scaling(store: Store, folder: Path, preset: str, *, windows: int, rounds: int) -> dict[str, object]:
    """Returns what is printed."""
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    at_start = conditions()
    for number in range(rounds):
        for workers in found:
            config = run_config(preset, workers, windows)
            found[workers] += speeds(store, folder / f"{workers}-{number}", config, workers)
            ray.shutdown()
    counted = {workers: quiet(all_) for workers, all_ in found.items()}
    others = {workers: statistics.median(w["others_share"] for w in some) for workers, some in counted.items()}
    if max(others.values()) > OTHERS_SHARE:
        say(f"other processes took {max(others.values()):.0%} of the machine in every window: these figures say little")
    rate = {workers: statistics.median(w["steps_per_s"] for w in some) for workers, some in counted.items()}
    wait = {workers: statistics.median(w["data_wait_share"] for w in some) for workers, some in counted.items()}
    model = PretrainingModel(store, run_config(preset, 1, windows))
    return {
        "efficiency_2": round(rate[2] / rate[1], 3),
        "data_wait_share": round(wait[2], 4),
        "steps_per_s": {str(workers): round(r, 3) for workers, r in rate.items()},
        "data_wait_share_1": round(wait[1], 4),
        "preset": preset,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "samples_per_rank": SAMPLES_PER_RANK,
        "others_share": {str(workers): round(share, 3) for workers, share in others.items()},
        "windows": {str(workers): len(some) for workers, some in counted.items()},
        "windows_run": windows * rounds,
        "window_steps": WINDOW_STEPS,
        "database": store.schema.database,
        "conditions": at_start,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="rel-retail")
    parser.add_argument("--preset", choices=list(PRESETS), default="contrast")
    parser.add_argument("--windows", type=int, default=4, help=f"counted windows of {WINDOW_STEPS} steps a run")
    parser.add_argument("--rounds", type=int, default=2, help="runs with each number of workers, in turns")
    parser.add_argument("--json", action="store_true", help="print the figures as the last line of stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        store = materialize(open_dataset(find_data(options.data)), Path(folder) / "stores")
        result = scaling(store, Path(folder), options.preset, windows=options.windows, rounds=options.rounds)
    for name, value in result.items():
        say(f"{name:18s} {value}")
    if options.json:
        print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
