"""materialize beside RelBench's make_pkey_fkey_graph, and import and materialize of a large generated database.

    python benchmarks/materialize.py [--data FOLDER] [--rounds 3] [--json]      # rel-retail below RDL_DATA or ../shared/data
    python benchmarks/materialize.py --rows 20000000 [--json]                   # the large database as well, on the disk of --work

Both sides run in processes of their own, in turns, from the same Parquet files, with the same semantic types (those that our rules give) and the same
text embedder; RelBench's gets its texts 256 at a time, as in its examples. Seconds are those of the work, without Python's imports: ours opens and
checks the dataset, writes the store and hashes it; RelBench's loads the tables into pandas and builds the graph in memory. Memory is the largest sum
of the resident bytes of the process and all its children, imports included, looked at every 10 ms, and at least the kernel's own peak.

The JSON line has the medians: `time_ratio` and `memory_ratio` (ours over RelBench's), `workers_2_over_1` (rows per second with two threads over those
with one), `rows_per_s` (ours, default threads), and `peak_bytes_20m` (the larger of import's and materialize's peaks at --rows; null without it), and
what they come from.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, this folder is the first of the path

from benchmarks.large_source import SCHEMA, write_source  # noqa: E402
from benchmarks.timing import conditions  # noqa: E402

DATA = Path(os.environ.get("RDL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "rel-retail"
SIDES = Path(__file__).with_name("materialize_sides.py")
ROOT = SIDES.parents[1]


def main() -> int:
    """Runs both sides, and the large database where it is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="a RelBench folder (default: rel-retail)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default: 3)")
    parser.add_argument("--rows", type=int, default=0, help="rows of the generated database (default: none)")
    parser.add_argument("--only-large", action="store_true", help="leave the comparison out")
    parser.add_argument("--work", type=Path, help="folder for what is written (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    options = parser.parse_args()
    say = (lambda line: print(line, file=sys.stderr, flush=True)) if options.json else print
    result: dict[str, Any] = {
        **dict.fromkeys(("time_ratio", "memory_ratio", "workers_2_over_1", "rows_per_s", "peak_bytes_20m")),
        "conditions": conditions(),
    }
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        if not options.only_large:
            result |= compare(options.data, work, options.rounds, say)
        if options.rows:
            result |= large(options.rows, work, say)
    print(json.dumps(result))
    return 0


def compare(data: Path, work: Path, rounds: int, say: Any) -> dict[str, Any]:
    """Returns the ratios of the two sides on one database, and the figures that they come from."""
    types, stores = work / "types.json", work / "stores"
    subprocess.run([sys.executable, str(SIDES), "types", str(types), str(data)], check=True, cwd=ROOT)
    sides = {"ours": ["ours", "0"], "peer": ["peer", str(types)], "one": ["ours", "1"], "two": ["ours", "2"]}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, arguments in sides.items():
            run = measured([sys.executable, str(SIDES), *arguments, str(data), str(stores)], quiet=True)
            shutil.rmtree(stores, ignore_errors=True)
            runs[name].append(run)
            say(f"round {number + 1}, {name}: {run['work_s']:.2f} s of work, peak {run['peak_bytes'] / 1e6:,.0f} MB")

    def median(side: str, figure: str) -> float:
        return statistics.median(run[figure] for run in runs[side])

    rows = runs["ours"][0]["rows"]
    return {
        "time_ratio": median("ours", "work_s") / median("peer", "work_s"),
        "memory_ratio": median("ours", "peak_bytes") / median("peer", "peak_bytes"),
        "workers_2_over_1": median("one", "work_s") / median("two", "work_s"),
        "rows_per_s": rows / median("ours", "work_s"),
        "whole_process_time_ratio": median("ours", "wall_s") / median("peer", "wall_s"),
        "cpu_time_ratio": median("ours", "cpu_s") / median("peer", "cpu_s"),
        "rows": rows,
        "runs": runs,
    }


def large(num_rows: int, work: Path, say: Any) -> dict[str, Any]:
    """Imports and materializes a generated database by the commands that a user types; returns peaks and seconds."""
    free = shutil.disk_usage(work).free
    if free < 600 * num_rows:
        raise SystemExit(f"{work}: {free:,} bytes are free, and {num_rows:,} rows need about {600 * num_rows:,}")
    begun = time.perf_counter()
    counts = write_source(work / "source", num_rows)
    say(f"source: {counts['rows']:,} rows, {counts['keys']:,} keys, {time.perf_counter() - begun:.0f} s")
    (work / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    command = [sys.executable, "-m", "distributed"]
    runs = ["--runs-dir", str(work / "runs")]
    imported = measured(
        [
            *command,
            "import",
            "--source",
            str(work / "source"),
            "--schema-file",
            str(work / "schema.yaml"),
            "--name",
            "large",
        ]
        + ["--out", str(work / "large"), "--val-timestamp", "2024-01-01", "--test-timestamp", "2024-07-01", *runs],
        quiet=False,
    )
    say(f"import: {imported['wall_s']:.0f} s, peak {imported['peak_bytes'] / 1e9:.2f} GB")
    shutil.rmtree(work / "source")
    made = measured([*command, "materialize", "--data", str(work / "large"), *runs], quiet=False)
    say(f"materialize: {made['wall_s']:.0f} s, peak {made['peak_bytes'] / 1e9:.2f} GB")
    again = measured([*command, "materialize", "--data", str(work / "large"), *runs], quiet=False)
    say(f"materialize again: {again['wall_s']:.0f} s")
    return {
        "peak_bytes_20m": max(imported["peak_bytes"], made["peak_bytes"]),
        "large": {"import": imported, "materialize": made, "materialize_again": again, **counts},
    }


def measured(command: Sequence[str], *, quiet: bool) -> dict[str, float]:
    """Runs a command; returns its wall and CPU seconds, the peak of its process tree, and the figures that its last line of stdout has."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True, cwd=ROOT
    )
    sampler = _PeakSampler(process.pid)
    with sampler:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: status {process.returncode}")
    lines = output.strip().splitlines()
    figures = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    peak = max(sampler.peak_bytes, figures.pop("own_peak_bytes", 0))
    return {"wall_s": time.perf_counter() - begun, "peak_bytes": peak, "cpu_s": sampler.cpu_s, **figures}


class _PeakSampler:
    """Looks at the resident bytes of a process and all its children every 10 ms; a context manager."""

    def __init__(self, pid: int) -> None:
        self.process, self.peak_bytes, self.cpu_s = psutil.Process(pid), 0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _PeakSampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            resident = 0
            with contextlib.suppress(psutil.Error):
                times = self.process.cpu_times()
                self.cpu_s = max(self.cpu_s, times.user + times.system)
                for process in (self.process, *self.process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        resident += process.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, resident)


if __name__ == "__main__":
    raise SystemExit(main())
