"""The benchmark for a GPU, on the CPU: the same code path, and what it says where there is no GPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu_checks import check_device
from benchmarks.gpu_rates import finetuning_rates, pretraining_rates, sampler_rates
from rdl_core.graph.store import Store
from tests import REPOSITORY

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_exits_with_3() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--quick"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 3
    assert "no CUDA device is here" in done.stderr


def test_all_checks_hold_where_both_devices_are_the_same(f1_store: Store) -> None:
    checks = check_device(f1_store, CPU, ["contrast_linear"])
    assert len(checks) == 6
    assert all(check["holds"] and check["difference"] == 0.0 for check in checks.values())


@pytest.mark.slow
def test_rates_of_both_sides_are_measured_and_are_json(f1_store: Store) -> None:
    (pretraining, rounded) = pretraining_rates(f1_store, CPU, [1], repetitions=1, with_compiled=False)
    assert (pretraining["precision"], rounded["precision"]) == ("float32", "bfloat16")
    assert pretraining["times_relbench"] > 0 and pretraining["fed_steps_per_s"] > 0
    (finetuning,) = finetuning_rates(f1_store, CPU, repetitions=1)
    assert finetuning["seeds_per_s"] > 0
    samplers = sampler_rates(f1_store, repetitions=1)
    assert list(samplers) == ["1", "2", "4", "8", "16"]
    json.dumps([pretraining, rounded, finetuning, samplers])
