"""The number of trials that run at a time, their place (in their own processes or not), and the Ray session with room for them, or a refusal.

A trial by Ray Train holds its workers' CPUs, one for a sampler, one for tasks, and a share for the process that waits for it; a trial in its own
process holds one. A local session's CPUs are counters that follow from the number of trials; memory and GPUs are what the machine has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import psutil
import ray
import torch

from distributed.cannot_run import CannotRun
from distributed.cluster.preflight import BYTES_PER_WORKER, alive_nodes, check_every_node, needed_cpus, places_on
from distributed.cluster.session import start_ray
from rdl_core.place import Place

Execution = Literal["auto", "in_process", "ray_train"]
CPUS_OF_WAITING_TRIAL = 0.1
"""Logical CPUs of a trial's process while its Ray Train workers train."""


def start_ray_for_trials(
    trials: int,
    workers: int,
    execution: Execution,
    max_concurrent: int | None,
    folder: Path,
    store: Place,
    data: Place | None,
) -> tuple[int, bool]:
    """Connects to the cluster of RAY_ADDRESS, or starts Ray here, with room for the trials.

    Args:
        trials: How many trials are to run.
        workers: Workers per trial.
        execution: Where a trial trains, as asked for.
        max_concurrent: Upper bound of the trials at a time; None for as many as fit.
        folder: The sweep's folder, which every node must see.
        store: The sweep's store; every node fetches a remote one.
        data: The database where workers read it, for downstream tasks; else None.

    Returns:
        (trials at a time, whether they train in their own processes).

    Raises:
        RuntimeError: Not even one trial fits, or not as many as asked for, or not all nodes share the folders.
    """
    _quiet_tune()
    is_local = not ray.is_initialized() and not os.environ.get("RAY_ADDRESS")
    if not is_local:
        start_ray(0, 0)
    nodes = [_this_machine()] if is_local else [node["Resources"] for node in alive_nodes()]
    gpus = _total(nodes, "GPU")
    in_process = trains_in_process(execution, workers, gpus)
    at_a_time = trials_at_a_time(nodes, workers, in_process, trials=trials, asked=max_concurrent, is_local=is_local)
    if in_process:  # where there are GPUs, workers would be given them
        start_ray(0 if gpus else at_a_time, at_a_time if gpus else 0)
    else:
        start_ray(at_a_time * workers, at_a_time * needed_cpus(0, 1) - 1)
    check_every_node(folder, store, data)
    return at_a_time, in_process


def trains_in_process(execution: Execution, workers: int, gpus: float) -> bool:
    """Returns whether a trial trains in its own process, on the CPU: if told so, or by default with one worker where there is no GPU."""
    return execution == "in_process" or (execution == "auto" and workers == 1 and gpus == 0)


def cpus_of_trial(workers: int, in_process: bool) -> float:
    """Returns the number of logical CPUs that a trial holds."""
    return 1.0 if in_process else needed_cpus(workers, 1) + CPUS_OF_WAITING_TRIAL


def trials_at_a_time(
    nodes: Sequence[Mapping[str, float]],
    workers: int,
    in_process: bool,
    *,
    trials: int,
    asked: int | None,
    is_local: bool,
) -> int:
    """Returns how many trials run at a time: as many as asked for or, by default, as fit.

    Args:
        nodes: Resources of each node of the cluster, or of this machine, as Ray names them ("CPU", "GPU", "memory" in bytes).
        workers: Workers per trial.
        in_process: Whether trials train in their own processes.
        trials: How many trials are to run.
        asked: Upper bound; None for as many as fit.
        is_local: Whether Ray is started here for the sweep: then cores bound the default only, and one trial may always use them.

    Raises:
        RuntimeError: Not even one trial fits, or not as many as asked for, with the arithmetic.
    """
    each, cpus = cpus_of_trial(workers, in_process), _total(nodes, "CPU")
    cpus_of_driver = 1 if in_process and not is_local else 0  # for the driver's own tasks, in a cluster
    by_cpus = int((cpus - cpus_of_driver) / each)
    places = [int(places_on(node, whole_cpus=not is_local)) for node in nodes]
    by_memory = sum(places) // workers
    gpus = _total(nodes, "GPU")
    by_gpus = trials if in_process or not gpus else int(gpus) // workers
    most = min(by_memory, by_gpus) if is_local else min(by_cpus, by_memory, by_gpus)
    if most < (wanted := min(asked or 1, trials)):
        held_gpus = "" if in_process or not gpus else f" and {workers} GPUs"
        memory_bytes = _total(nodes, "memory")
        remedies = [f"--max-concurrent {most}"] if most else ["fewer --workers-per-trial"] if workers > 1 else []
        raise CannotRun(
            f"{wanted} trials at a time hold {each:g} CPUs, {workers * BYTES_PER_WORKER / 1e9:.1f} GB{held_gpus} each; "
            f"there are {cpus:g} CPUs, {memory_bytes / 1e9:.1f} GB and {gpus:g} GPUs on {len(nodes)} nodes: "
            f"place for {most}; the sweep would wait for ever.\n"
            f"Remedy: {', or '.join([*remedies, 'more or larger machines'])}"
        )
    return min(trials, asked or max(1, min(most, by_cpus)))


def _total(nodes: Sequence[Mapping[str, float]], resource: str) -> float:
    return sum(node.get(resource, 0.0) for node in nodes)


def _this_machine() -> dict[str, float]:
    free_bytes = psutil.virtual_memory().available
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count(), "memory": free_bytes}


def _quiet_tune() -> None:
    """Turns off what Tune would write and print besides the sweep's own files and lines."""
    settings = {
        "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a box on stdout at any verbosity
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a downstream objective is measured at rungs only
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the sweep says why a trial failed, and so does the report
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # at the end it lists failed trials by ids of its own
