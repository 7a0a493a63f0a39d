"""An elastic run on a cluster that loses a node and gets another: the workers follow, the samples stay the plan's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from distributed.commands.shared_options import WorkerRange
from distributed.runs.checkpoint import load_state
from distributed.runs.commits import committed_checkpoint, committed_step
from distributed.runs.journal import Journal
from rdl_core.graph.store import Store, open_store
from tests import own_environment
from tests.distributed.small_runs import run

SAMPLES_PER_STEP, STEPS, LIMIT_S = 33, 2000, 200.0
"""More steps than are done until the run has grown back, however fast the machine; then it is ended."""


@pytest.mark.parametrize(("text", "least", "most"), [("1", 1, 1), ("3", 3, 3), ("1:4", 1, 4), ("2:2", 2, 2)])
def test_workers_are_a_number_or_a_range(text: str, least: int, most: int) -> None:
    assert WorkerRange.parse(text) == WorkerRange(least, most)


@pytest.mark.parametrize("text", ["0", "-1", "4:2", "0:2", "a", "1:", ":", "", "1:2:3", "1.5"])
def test_any_other_text_is_no_number_of_workers(text: str) -> None:
    with pytest.raises(ValueError, match="--workers must be N or LEAST:MOST, at least 1"):
        WorkerRange.parse(text)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and a node with place for one worker each."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()


def run_elastic(store_path: str, folder: str) -> None:
    """What the driver's process does."""
    run(
        open_store(store_path),
        Path(folder),
        workers=1,
        max_workers=2,
        resize_interval_s=3.0,
        interval_steps=5,
        samples_per_step=SAMPLES_PER_STEP,
        max_steps=STEPS,
        validation_interval_steps=STEPS,
    )


def start_driver(cluster: Cluster, store: Store, folder: Path) -> subprocess.Popen[bytes]:
    code = f"from tests.distributed.training import test_elastic; test_elastic.run_elastic({str(store.path)!r}, {str(folder)!r})"
    environment = own_environment(RAY_ADDRESS=cluster.address, RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="5")
    with (folder.parent / "driver.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=log, stderr=log, cwd=folder.parent
        )


def wait_until(condition: Callable[[], bool], driver: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert driver.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end_s, log.read_text()[-3000:]
        time.sleep(0.1)


@pytest.mark.slow
def test_a_run_goes_on_with_what_is_left_and_grows_back_and_uses_each_sample_once(
    cluster: Cluster, nasty_store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    log, journal = tmp_path / "driver.log", Journal(folder)

    def group_steps(workers: list[int]) -> bool:
        """Whether groups of these sizes were started, and the last one has done steps."""
        groups = journal.events("group")
        stepped = [e["time_s"] for e in journal.events("stepped")]
        return [g["workers"] for g in groups] == workers and bool(stepped) and stepped[-1] > groups[-1]["time_s"]

    driver = start_driver(cluster, nasty_store, folder)
    try:
        wait_until(lambda: group_steps([2]) and journal.reached() >= 10, driver, log)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        wait_until(lambda: group_steps([2, 1]), driver, log)
        cluster.add_node(num_cpus=1)
        wait_until(lambda: group_steps([2, 1, 2]), driver, log)
        grown_at = journal.reached()
        wait_until(lambda: committed_step(folder / "train") > grown_at, driver, log)
    finally:
        driver.kill()
        driver.wait()
    checkpoint = committed_checkpoint(folder / "train")
    assert checkpoint is not None
    state = load_state(checkpoint)
    assert grown_at < state.step < STEPS
    used = [(epoch, sample) for epoch, first, end in state.consumed for sample in range(first, end)]
    per_epoch = max(end for _, _, end in state.consumed)
    assert used == [divmod(k, per_epoch) for k in range(SAMPLES_PER_STEP * state.step)]
