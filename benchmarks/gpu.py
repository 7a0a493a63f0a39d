"""Pretraining and fine-tuning on one GPU: correctness first, then rates.

    python benchmarks/gpu.py --quick [--data FOLDER | --store FOLDER] [--json]    # at most five minutes on one device
    python benchmarks/gpu.py --quick --device cpu                                   # the same code path where there is no GPU

Correctness (gpu_checks.py) comes first, and a failed check ends the run with status 1: values and gradients of kernels, pretraining and fine-
tuning on the device against the CPU (float64 to 1e-9, float32 to 1e-4, relative in norm), two runs bit for bit, and a resumed run
bit for bit.

Then one table with card and driver: steps/s and samples/s at 1, 8 and 64 samples per step, in float32 and bfloat16, compiled or not, with the
share of time in which the GPU works and the peak of its memory, beside RelBench's modules (`HeteroEncoder`, `HeteroGraphSAGE`, two passes) with
the same losses on the same samples and device; fine-tuning likewise; and the samplers at 1 to 16 threads, which must feed the GPU. Rates are
medians of steps that are each waited for. Uses `rdl_core` alone: no Ray, DuckDB or SQL. Without CUDA and without `--device cpu` it says so and
exits with status 3.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, this folder is the first of the path

from benchmarks.gpu_checks import check_device  # noqa: E402
from benchmarks.gpu_rates import finetuning_rates, pretraining_rates, sampler_rates  # noqa: E402
from rdl_core.database.dataset import open_dataset  # noqa: E402
from rdl_core.graph.materialization import materialize  # noqa: E402
from rdl_core.graph.store import Store, open_store  # noqa: E402

DATA = Path(os.environ.get("RDL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "rel-f1"
NO_CUDA = 3
"""Exit status where there is no CUDA device."""


def main() -> int:
    """Runs checks and rates; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="a RelBench folder (default: rel-f1 below RDL_DATA)")
    parser.add_argument("--store", type=Path, help="a store that is materialized already, in place of --data")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to run (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: at most five minutes on a GPU")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 8, 64], help="samples per step (default: 1 8 64)")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out, which takes minutes to begin with"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the JSON line alone; the tables go to the error stream"
    )
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device is here; `--device cpu` runs the same code on the CPU", file=sys.stderr)
        return NO_CUDA
    device = torch.device(options.device)
    with (
        contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext(),
        tempfile.TemporaryDirectory() as folder,
    ):
        store = open_store(options.store) if options.store else materialize(open_dataset(options.data), Path(folder))
        result: dict[str, Any] = {"device": describe(device), "store": described(store)}
        print(json.dumps(result, indent=1), flush=True)
        result["checks"] = check_device(store, device)
        repetitions = 6 if options.quick else 50
        result["samplers"] = sampler_rates(store, repetitions)
        result["pretraining"] = pretraining_rates(store, device, options.samples, repetitions, not options.no_compile)
        result["finetuning"] = finetuning_rates(store, device, repetitions)
    print(json.dumps(result))
    return 0 if all(check["holds"] for check in result["checks"].values()) else 1


def describe(device: torch.device) -> dict[str, Any]:
    """Returns the card, its driver and the versions."""
    about: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version()}
    if device.type == "cpu":
        return about | {"card": "CPU", "threads": torch.get_num_threads()}
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return about | {"card": torch.cuda.get_device_name(device), "driver": driver, "cuda": torch.version.cuda}


def described(store: Store) -> dict[str, Any]:
    """Returns the size of the database."""
    tables = store.schema.tables.values()
    return {"tables": len(tables), "rows": sum(t.num_rows for t in tables), "keys": len(store.graph.edge_types)}


if __name__ == "__main__":
    sys.exit(main())
