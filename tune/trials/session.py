"""The Ray session of a sweep: this machine's own, or the cluster's that RAY_ADDRESS names; with room for its trials, or refused (slots.py)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import psutil
import ray
import torch

from distributed.cluster.session import check_every_node, needed_cpus, start_ray
from rdl_core.place import Place
from tune.trials.slots import Execution, Node, trains_in_process, trials_at_a_time


def start_ray_for(
    trials: int,
    workers: int,
    execution: Execution,
    max_concurrent: int | None,
    folder: Path,
    store: Place,
    data: Place | None,
) -> tuple[int, bool]:
    """Connects to or starts Ray with room for the trials; returns (trials at a time, whether they train in their own processes).

    Args:
        trials: That are to run.
        workers: Of a trial.
        execution, max_concurrent: As asked for.
        folder, store, data: Of the sweep, for all nodes to see; what is remote is fetched by each. Data is for downstream tasks only.

    Raises:
        RuntimeError: Not even one trial fits, or not as many as asked for, or folders that not all nodes share.
    """
    _quiet_tune()
    is_local = not ray.is_initialized() and not os.environ.get("RAY_ADDRESS")
    if not is_local:
        start_ray(0, 0)
    nodes = [_this_machine()] if is_local else _alive_nodes()
    gpus = sum(node.gpus for node in nodes)
    in_process = trains_in_process(execution, workers, gpus)
    slots = trials_at_a_time(nodes, workers, in_process, trials=trials, asked=max_concurrent, is_local=is_local)
    if in_process:  # where there are GPUs, workers would be given them
        start_ray(0 if gpus else slots, slots if gpus else 0)
    else:
        start_ray(slots * workers, slots * needed_cpus(0, 1) - 1)
    check_every_node(folder, store, data)
    return slots, in_process


def _this_machine() -> Node:
    free = psutil.virtual_memory().available
    return Node(cpus=os.cpu_count() or 1, gpus=torch.cuda.device_count(), memory_bytes=free)


def _alive_nodes() -> list[Node]:
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(cpus=n.get("CPU", 0), gpus=n.get("GPU", 0), memory_bytes=n.get("memory", 0)) for n in found]


def _quiet_tune() -> None:
    """What Tune would write and print besides is left out."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box on stdout at any verbosity
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault(
        "TUNE_DISABLE_STRICT_METRIC_CHECKING", "1"
    )  # a downstream objective is measured at rungs only
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    # Tracebacks across the table; it says why itself, and so does the report.
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # at the end it lists failed trials by ids of its own
