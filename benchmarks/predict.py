"""Predictions of one entity, one call after the other, and of many at once: latency and throughput of `Predictor` on one core.

    python benchmarks/predict.py --checkpoint MODEL --data DATA [--store STORE] [--calls 300] [--rows 2000] [--json]

A call is `predict([key])`, keys in turns, "tomorrow"; all of it counts, from the key to the data frame. Everything is loaded and compiled before, and
20 calls are not counted. Times are the clock's; beside them stands the processor's own time of the same calls, which other load of the machine
hardly touches. Throughput is that of one call with as many rows, entities repeated in turns. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import conditions  # noqa: E402
from rdl_core.prediction import Predictor  # noqa: E402

WARM_UP = 20
"""Calls that are not counted."""


def latencies_ms(predictor: Predictor, keys: list[Any], calls: int) -> dict[str, float]:
    """Returns {"p50_ms", "p99_ms", "p50_cpu_ms", "p99_cpu_ms"} of calls for one key each."""
    clocks: dict[str, Callable[[], float]] = {"ms": time.perf_counter, "cpu_ms": time.process_time}
    times = np.empty((len(clocks), calls))
    for call in range(-WARM_UP, calls):
        begun = [clock() for clock in clocks.values()]
        predictor.predict([keys[call % len(keys)]])
        if call >= 0:
            times[:, call] = [1e3 * (clock() - at) for clock, at in zip(clocks.values(), begun, strict=True)]
    percentiles = np.percentile(times, [50, 99], axis=1)
    return {
        f"p{percent}_{unit}": float(value)
        for percent, row in zip((50, 99), percentiles, strict=True)
        for unit, value in zip(clocks, row, strict=True)
    }


def rows_per_s(predictor: Predictor, keys: list[Any], rows: int) -> float:
    """Returns the rate of one call with so many keys."""
    asked = (keys * -(-rows // len(keys)))[:rows]
    begun = time.perf_counter()
    predictor.predict(asked)
    return rows / (time.perf_counter() - begun)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="folder of a fine-tuned model")
    parser.add_argument("--data", required=True, help="dataset folder")
    parser.add_argument("--store", help="the dataset's store; default: that in runs/stores")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print the line of JSON alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = Predictor.load(options.checkpoint, options.data, store=options.store)
    keys = predictor.keys.shown(predictor.existing_rows())
    result: dict[str, Any] = latencies_ms(predictor, keys, options.calls)
    result["rows_per_s"] = rows_per_s(predictor, keys, options.rows)
    if not options.json:
        print(f"{predictor.describe()}\n{conditions()}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
