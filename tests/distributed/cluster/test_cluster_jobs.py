"""`ray job submit` and what `ray submit` runs, on a cluster of its own that a user would start with `ray start --head`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from relbench.load import RelBenchDataset
from safetensors.torch import load_file

from rdl_core.graph.store import open_store
from rdl_core.pretraining import pretrain_here
from tests import REPOSITORY
from tests.distributed.small_runs import SMALL_OPTIONS, SMALL_SAMPLES, small_config

RAY = [sys.executable, "-c", "import sys; from ray.scripts.scripts import main; sys.exit(main())"]
STEPS = 4
SEEDS = {"anna": 1, "ben": 2}
PLACEMENTS = {"anna": ("sharded", "--shards", "2"), "ben": ("local",)}
TOKEN = secrets.token_hex(32)
pytestmark = pytest.mark.ray


@dataclass(frozen=True)
class Cluster:
    address: str
    dashboard: str


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with five logical CPUs; all its processes are ended by pid, since `ray stop` would end those of others."""
    port, dashboard = free_port(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short, as sockets have names of 107 bytes at most
    start = [
        *RAY,
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        "--num-cpus=5",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=true",
        f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={free_port()}",
        f"--ray-client-server-port={free_port()}",
        f"--temp-dir={folder}",
    ]
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(start, cwd=REPOSITORY, stdout=log, stderr=log, env=environment())
    try:
        wait_for(dashboard, head, folder / "log")
        yield Cluster(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}")
    finally:
        for process in psutil.process_iter():
            if process.pid == head.pid or str(folder) in " ".join(_command(process)):
                process.kill()
        head.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int, head: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(120):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if head.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError(log.read_text())


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **more}


def submitted(cluster: Cluster, options: list[str]) -> subprocess.Popen[str]:
    submit = [*RAY, "job", "submit", "--address", cluster.dashboard, "--working-dir", str(REPOSITORY), "--"]
    return subprocess.Popen(
        [*submit, sys.executable, "-m", "distributed", "pretrain", *options],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(job: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for a job's end; returns (status, the text that it showed)."""
    try:
        shown, _ = job.communicate(timeout=300)
    finally:
        job.kill()
    return job.returncode, shown


@dataclass(frozen=True)
class UserRun:
    """A finished job: its options, what its log showed, its run folder."""

    options: list[str]
    shown: str
    folder: Path


@pytest.fixture(scope="module")
def runs(
    cluster: Cluster, nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, UserRun]:
    """Two users' jobs, submitted at once: other seeds and placements, one folder for runs and stores."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        user: [
            *("--data", str(nasty_dataset.dataset_dir), "--runs-dir", str(folder), "--run-name", user),
            *("--seed", str(seed), "--max-steps", str(STEPS), *SMALL_OPTIONS, "--placement", *PLACEMENTS[user]),
        ]
        for user, seed in SEEDS.items()
    }
    jobs = {user: submitted(cluster, o) for user, o in options.items()}
    ends = {user: ended(job) for user, job in jobs.items()}
    for user, (status, shown) in ends.items():
        assert status == 0, f"{user}: {shown[-4000:]}"
    return {user: UserRun(options[user], shown, folder / user) for user, (_, shown) in ends.items()}


def test_a_submitted_job_pretrains_on_the_cluster_as_it_was_told(runs: dict[str, UserRun]) -> None:
    shown = runs["anna"].shown
    assert "graph placement: sharded over 2" in shown
    assert "Ray: local session" not in shown
    result = json.loads((runs["anna"].folder / "result.json").read_text())
    assert Path(result["checkpoint"]).is_dir()


def test_the_same_command_on_the_head_finds_the_job_finished(cluster: Cluster, runs: dict[str, UserRun]) -> None:
    script = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "pretrain.py"), *runs["anna"].options],
        env=environment(RAY_ADDRESS=cluster.address),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert script.returncode == 0, script.stderr[-2000:]
    assert "is finished; nothing to do" in script.stderr


def test_a_sweep_by_its_script_runs_its_trials_on_the_cluster(
    cluster: Cluster, nasty_dataset: RelBenchDataset, runs: dict[str, UserRun]
) -> None:
    folder = runs["anna"].folder.parent
    script = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "examples" / "sweep.py"), "--data", str(nasty_dataset.dataset_dir)),
            *("--runs-dir", str(folder), "--name", "sweep", "--grid", "paper", "--rows", "linear"),
            *("--search", "random", "--samples", "2", "--max-steps", "2", *SMALL_SAMPLES),
            *("--validation-samples", "2", "--wandb", "False", "--json"),
        ],
        env=environment(RAY_ADDRESS=cluster.address),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert script.returncode == 0, script.stderr[-3000:]
    assert "Ray: local session" not in script.stderr
    result = json.loads(script.stdout.splitlines()[-1])
    assert len(result["trials"]) == 2
    assert {trial["status"] for trial in result["trials"]} <= {"finished", "stopped"}
    assert Path(result["preset"]).exists()


@pytest.mark.parametrize("user", ["anna", "ben"])
def test_jobs_of_two_users_at_once_end_with_the_weights_that_each_gets_alone(
    user: str, runs: dict[str, UserRun], one_thread: None
) -> None:
    stores = list((runs[user].folder.parent / "stores").iterdir())
    assert len(stores) == 1, "both made the same store at the same time; one is left"
    model, _ = pretrain_here(open_store(stores[0]), small_config(seed=SEEDS[user], max_steps=STEPS))
    found, alone = load_file(runs[user].folder / "model" / "model.safetensors"), model.state_dict()
    assert found.keys() == alone.keys()
    assert [name for name, weight in found.items() if not torch.equal(weight, alone[name])] == []
