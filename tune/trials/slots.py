"""How many trials run at a time, and whether in their own processes: arithmetic over what the machines have, before any trial starts.

A trial by Ray Train holds its workers' CPUs, a sampler's, one for tasks, and a share for the process that waits for it; a trial in its own
process holds one. A local session's CPUs are counters that follow from the number of trials; memory and GPUs are what there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distributed.cluster.session import BYTES_PER_WORKER, needed_cpus

Execution = Literal["auto", "in_process", "ray_train"]
CPUS_OF_WAITING_TRIAL = 0.1
"""Of a trial's process while its Ray Train workers train."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a machine has."""

    cpus: float
    gpus: float
    memory_bytes: float


def trains_in_process(execution: Execution, workers: int, gpus: float) -> bool:
    """Whether a trial trains in its own process, on the CPU: if told so, or by default with one worker where there is no GPU."""
    return execution == "in_process" or (execution == "auto" and workers == 1 and gpus == 0)


def cpus_of_trial(workers: int, in_process: bool) -> float:
    """Logical CPUs that a trial holds."""
    return 1.0 if in_process else needed_cpus(workers, 1) + CPUS_OF_WAITING_TRIAL


def trials_at_a_time(
    nodes: Sequence[Node], workers: int, in_process: bool, *, trials: int, asked: int | None, is_local: bool
) -> int:
    """As many as asked for or, by default, as fit.

    Args:
        nodes: Those of the cluster, or this machine.
        workers: Of a trial.
        in_process: Whether trials train in their own processes.
        trials: That are to run.
        asked: None: as many as fit.
        is_local: Whether Ray is started here for the sweep: then cores bound the default only, and one trial may always use them.

    Raises:
        RuntimeError: Not even one fits, or not as many as asked for, with the arithmetic.
    """
    each, cpus = cpus_of_trial(workers, in_process), sum(node.cpus for node in nodes)
    by_cpus = int(
        (cpus - (0 if is_local or not in_process else 1)) / each
    )  # in a cluster, one is for the driver's own tasks
    by_memory = _places(nodes, is_local) // workers
    gpus = sum(node.gpus for node in nodes)
    by_gpus = trials if in_process or not gpus else int(gpus) // workers
    most = min(by_memory, by_gpus) if is_local else min(by_cpus, by_memory, by_gpus)
    if most < (wanted := min(asked or 1, trials)):
        held = f"{each:g} CPUs, {workers * BYTES_PER_WORKER / 1e9:.1f} GB" + (
            "" if in_process or not gpus else f" and {workers} GPUs"
        )
        memory = sum(node.memory_bytes for node in nodes)
        remedies = [f"--max-concurrent {most}"] if most else ["fewer --workers-per-trial"] if workers > 1 else []
        raise RuntimeError(
            f"{wanted} trials at a time hold {held} each; there are {cpus:g} CPUs, {memory / 1e9:.1f} GB and {gpus:g} GPUs on {len(nodes)} nodes: "
            f"place for {most}; the sweep would wait for ever.\nRemedy: {', or '.join([*remedies, 'more or larger machines'])}"
        )
    return min(trials, asked or max(1, min(most, by_cpus)))


def _places(nodes: Sequence[Node], is_local: bool) -> int:
    """For workers: a worker has a whole CPU, and memory, of one node."""
    by_memory = [int(node.memory_bytes / BYTES_PER_WORKER) for node in nodes]
    return sum(by_memory) if is_local else sum(min(int(n.cpus), m) for n, m in zip(nodes, by_memory, strict=True))
