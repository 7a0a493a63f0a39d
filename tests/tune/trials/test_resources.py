"""How many trials run at a time, for a table of machines."""

from __future__ import annotations

import pytest

from distributed.cluster.preflight import BYTES_PER_WORKER, needed_cpus
from tune.trials.resources import Execution, cpus_of_trial, trains_in_process, trials_at_a_time

MUCH = 1000 * BYTES_PER_WORKER


def node(cpus: float, gpus: float = 0, memory_bytes: float = MUCH) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus, "memory": memory_bytes}


@pytest.mark.parametrize(
    ("execution", "workers", "gpus", "expected"),
    [
        ("auto", 1, 0, True),
        ("auto", 1, 1, False),
        ("auto", 2, 0, False),
        ("in_process", 1, 8, True),
        ("ray_train", 1, 0, False),
    ],
)
def test_trials_train_in_their_processes_on_one_cpu_worker(
    execution: Execution, workers: int, gpus: float, expected: bool
) -> None:
    assert trains_in_process(execution, workers, gpus) is expected


@pytest.mark.parametrize(
    ("nodes", "workers", "in_process", "is_local", "expected"),
    [
        ([node(2)], 1, True, True, 2),
        ([node(2)], 2, False, True, 1),  # one trial's CPUs may be more than cores: they are counters
        ([node(16, gpus=1)], 1, False, True, 1),  # a worker has a GPU
        ([node(16, gpus=1)], 1, True, True, 16),
        ([node(16, gpus=8)], 2, False, True, 3),
        ([node(16, memory_bytes=3.5 * BYTES_PER_WORKER)], 1, True, True, 3),
        ([node(16)], 1, True, False, 15),  # one is for the driver's tasks
        ([node(16)], 1, False, False, 5),  # 3.1 each
        ([node(16)] * 2, 2, False, False, 7),  # 4.1 each
        ([node(16, gpus=16)], 1, False, False, 5),
        ([node(16, gpus=2)], 1, False, False, 2),
        ([node(8, memory_bytes=BYTES_PER_WORKER), node(8, memory_bytes=2 * BYTES_PER_WORKER)], 1, True, False, 3),
        ([node(64)], 1, True, False, 24),  # no more than there are trials
    ],
)
def test_as_many_trials_as_the_machines_have_place_for(
    nodes: list[dict[str, float]], workers: int, in_process: bool, is_local: bool, expected: int
) -> None:
    found = trials_at_a_time(nodes, workers, in_process, trials=24, asked=None, is_local=is_local)
    assert found == expected
    if not is_local:
        assert found * cpus_of_trial(workers, in_process) <= sum(n["CPU"] for n in nodes)
        needed = needed_cpus(found, 0) if in_process else needed_cpus(found * workers, 2 * found - 1)
        assert needed <= sum(n["CPU"] for n in nodes), "what is asked of Ray fits, too"


@pytest.mark.parametrize(
    ("nodes", "workers", "in_process", "is_local", "asked", "message"),
    [
        (
            [node(16)],
            1,
            False,
            False,
            6,
            r"^6 trials at a time hold 3.1 CPUs, 1.5 GB each; there are 16 CPUs, .* place for 5.*--max-concurrent 5",
        ),
        (
            [node(16, gpus=1)],
            1,
            False,
            True,
            2,
            r"1.5 GB and 1 GPUs each; .* 1 GPUs on 1 nodes: place for 1.*--max-concurrent 1,",
        ),
        ([node(3)], 1, False, False, None, r"^1 trials .* place for 0.*Remedy: more or larger machines"),
        (
            [node(16, gpus=1)],
            2,
            False,
            True,
            None,
            r"^1 trials .* place for 0.*Remedy: fewer --workers-per-trial, or more",
        ),
        ([node(2, memory_bytes=2.5 * BYTES_PER_WORKER)], 1, True, True, 3, r"place for 2;.*--max-concurrent 2"),
    ],
)
def test_more_than_there_is_place_for_is_refused_with_the_options_that_a_sweep_has(
    nodes: list[dict[str, float]], workers: int, in_process: bool, is_local: bool, asked: int | None, message: str
) -> None:
    with pytest.raises(RuntimeError, match="(?s)" + message):
        trials_at_a_time(nodes, workers, in_process, trials=24, asked=asked, is_local=is_local)


def test_no_more_trials_at_a_time_than_are_left() -> None:
    assert trials_at_a_time([node(2)], 1, True, trials=1, asked=4, is_local=True) == 1
