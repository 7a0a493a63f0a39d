"""A Ray cluster on the hosts of hosts.py, started as people start one: `ray start --head`, `ray start --address`, `ray job submit`.

Promises: token authentication, and the health checks of cluster.yaml. Each host has one logical CPU: Ray Train packs the workers of a run on as few
hosts as it can, and so each is on a host of its own.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from distributed.runs.journal import Journal
from tests import REPOSITORY, own_environment
from tests.faults.hosts import Namespace, Network

RAY = (sys.executable, "-c", "import sys; from ray.scripts.scripts import main; sys.exit(main())")
HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
HOST_BYTES = {"memory": 4 * 10**9, "object-store-memory": 3 * 10**8}
"""The memory that Ray takes each host to have; all of them are one machine."""
NODES = """
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
print(json.dumps([n["NodeManagerHostname"] for n in ray.nodes() if n["Alive"]]))
"""


@dataclass(frozen=True)
class Job:
    """A submitted run.

    Args:
        folder: The run's folder.
        log: The file with what `ray job submit` shows.
        process: The process of `ray job submit`.
    """

    folder: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def journal(self) -> Journal:
        return Journal(self.folder)

    def until(self, is_so: Callable[[], Any], what: str, limit_s: float, pause_s: float = 0.05) -> None:
        """Waits until a condition holds.

        Raises:
            RuntimeError: The condition does not hold in time, or the job has ended before; with the end of its log.
        """
        end_s = time.monotonic() + limit_s
        while not is_so():
            status = self.process.poll()
            if status is not None or time.monotonic() > end_s:
                ended = "in time" if status is None else f"before the job ended with status {status}"
                raise RuntimeError(f"{self.folder.name}: not {what} {ended}\n{self.log.read_text()[-4000:]}")
            time.sleep(pause_s)

    def until_step(self, step: int, limit_s: float) -> None:
        """Waits until rank 0 has done this step."""
        self.until(lambda: self.folder.exists() and self.journal.reached() >= step, f"at step {step}", limit_s)

    def finish(self, limit_s: float) -> None:
        """Waits until the job has ended well.

        Raises:
            RuntimeError: The job fails or takes longer.
        """
        try:
            status = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            ended = "took too long" if status is None else f"failed with status {status}"
            raise RuntimeError(f"{self.folder.name} {ended}\n{self.log.read_text()[-4000:]}")


class RayHosts:
    """The cluster; the network's first host is its head.

    Args:
        network: The hosts.
        runs_dir: The folder of all runs.
    """

    def __init__(self, network: Network, runs_dir: Path) -> None:
        self.network, self.runs_dir = network, runs_dir
        self.head, *self.workers = network.hosts.values()
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.environment = own_environment() | HEALTH_CHECKS | token
        self.head.run(*self._start(self.head), "--head", "--port=6379", environment=self.environment)
        self.join(*self.workers)

    def join(self, *hosts: Namespace) -> None:
        """Runs `ray start` on worker hosts, side by side."""
        started = [
            subprocess.Popen(
                h.inside([*self._start(h), f"--address={self.head.address}:6379"]),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            for h in hosts
        ]
        failed = [h.name for h, process in zip(hosts, started, strict=True) if process.wait(120) != 0]
        if failed:
            raise RuntimeError(f"ray start failed on {', '.join(failed)} (its error is above)")

    def alive(self) -> list[str]:
        """Returns the names of the hosts that Ray sees."""
        shown = self.head.run(sys.executable, "-c", NODES, environment=self.environment)
        return sorted(json.loads(shown.splitlines()[-1]))

    def submit(self, name: str, options: Mapping[str, Any]) -> Job:
        """Submits a pretraining by `ray job submit` on the head."""
        log = self.runs_dir / f"{name}.log"
        submit = [*RAY, "job", "submit", "--address=http://127.0.0.1:8265", f"--working-dir={REPOSITORY}", "--"]
        with log.open("w") as opened:
            command = [*submit, *pretrain_command(self.runs_dir, name, options)]
            process = self.head.start(*command, log=opened, environment=self.environment)
        return Job(self.runs_dir / name, log, process)

    def training(self) -> list[Namespace]:
        """Returns the hosts with a training worker."""
        return [host for host in self.network.hosts.values() if _runs(host, "RayTrainWorker")]

    def has_raylet(self, host: Namespace) -> bool:
        return _runs(host, "/raylet/raylet")

    def _start(self, host: Namespace) -> list[str]:
        sizes = [f"--{name}={size}" for name, size in HOST_BYTES.items()]
        return [*RAY, "start", f"--node-ip-address={host.address}", "--num-cpus=1", "--disable-usage-stats", *sizes]


def pretrain_command(runs_dir: Path, name: str, options: Mapping[str, Any]) -> list[str]:
    """Returns the words of `python -m distributed pretrain --data ... --run-name ...`."""
    values = {**options, "runs-dir": runs_dir, "run-name": name}
    words = [str(w) for k, v in values.items() for w in (f"--{k}", v)]
    return [sys.executable, "-m", "distributed", "pretrain", *words]


def _runs(host: Namespace, text: str) -> bool:
    for process in host.processes():
        try:
            if text in " ".join(process.cmdline()):
                return True
        except psutil.Error:
            continue
    return False
