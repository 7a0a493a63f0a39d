"""The parts of `make netns-test` (netns.py says what each does): runs on several hosts, each compared with the same run on one host."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from distributed.runs.checkpoint import load_state
from distributed.runs.commits import committed_checkpoint
from tests import own_environment
from tests.faults.chaos import equal_weights, recoveries
from tests.faults.hosts import Namespace, Network
from tests.faults.ray_hosts import Job, RayHosts, pretrain_command

HOSTS = ("head", "worker-1", "worker-2", "worker-3")
WINDOW_STEPS = 20
"""Steps between validations, each of which gives the steps/s since the last one."""
JOB_LIMIT_S, RECOVERY_LIMIT_S, RETURN_LIMIT_S = 600.0, 300.0, 120.0


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class HostTrial:
    """All parts, on one cluster.

    Args:
        network: The cluster's hosts.
        options: The command line's options.
        folder: Where runs and logs go.
    """

    def __init__(self, network: Network, options: argparse.Namespace, folder: Path) -> None:
        self.network, self.steps, self.folder = network, options.steps, folder
        self.settings = {
            "data": options.data,
            "workers": 2,
            "max-steps": options.steps,
            "samples-per-step": 2,
            "checkpoint-interval-steps": 10,
            "validation-interval-steps": WINDOW_STEPS,
            "validation-samples": 4,
            "wandb": False,
            "seed": 3,
        }
        self.one_host = self._on_one_host()
        self.cluster = RayHosts(network, folder)
        say(f"hosts: {', '.join(self.cluster.alive())}")

    def _on_one_host(self) -> Path:
        """Returns the last checkpoint of the same run on one host, in a Ray session of its own that is gone after."""
        host = self.network.hosts[HOSTS[0]]
        command = pretrain_command(self.folder, "one-host", {**self.settings, "placement": "local"})
        host.run(*command, timeout_s=JOB_LIMIT_S, environment=own_environment())
        host.kill_all()
        say("the run on one host is done")
        return self.checkpoint("one-host")

    def checkpoint(self, name: str) -> Path:
        found = committed_checkpoint(self.folder / name / "train")
        assert found is not None
        return found

    def submit(self, name: str, placement: str = "sharded") -> Job:
        shards = {"shards": 2} if placement == "sharded" else {}
        return self.cluster.submit(name, {**self.settings, "placement": placement, **shards})

    def outcome(self, name: str) -> dict[str, Any]:
        """Returns {"final_step", "weights_equal"} for a finished run."""
        last = self.checkpoint(name)
        return {"final_step": load_state(last).step, "weights_equal": equal_weights(last, self.one_host)}

    def run(self) -> dict[str, Any]:
        """Returns the outcome of a run left alone, with {"on": hosts with a worker}."""
        begun = time.monotonic()
        job = self.submit("run")
        job.until_step(1, JOB_LIMIT_S)
        on = [host.name for host in self.cluster.training()]
        job.finish(JOB_LIMIT_S)
        found = {**self.outcome("run"), "on": on, "seconds": round(time.monotonic() - begun, 1)}
        say(f"run: {found}")
        return found

    def victim(self) -> Namespace:
        """Returns a host with a worker, not the head."""
        return next(h for h in self.cluster.training() if h.name != HOSTS[0])

    def disturbed(self, kind: str) -> dict[str, Any]:
        """Returns the outcome of a run that loses a host in the middle, and gets it back."""
        job = self.submit(kind)
        job.until_step(self.steps // 4, JOB_LIMIT_S)
        host = self.victim()
        step, hit = job.journal.reached(), {"kind": kind, "time_s": time.time()}
        if kind == "cut":
            self.network.cut(host.name)
        else:
            host.kill_all()
        say(f"{kind}: {host.name} after step {step}")
        job.until_step(step + 1, RECOVERY_LIMIT_S)
        lost_s = time.time() - float(str(hit["time_s"]))
        back_at = self.bring_back(host, job, is_cut=kind == "cut")
        job.finish(JOB_LIMIT_S)
        parts = recoveries(job.journal, [hit])[0]
        outcome, alive = self.outcome(kind), self.cluster.alive()
        found = {
            "recovered": outcome == {"final_step": self.steps, "weights_equal": True} and alive == sorted(HOSTS),
            "lost_s": round(lost_s, 1),
            **{f"{k}_s": round(v, 1) for k, v in parts.items()},
            "at_step": step,
            "host_back_at_step": back_at,
            **outcome,
            "hosts_at_the_end": len(alive),
            "restarts": job.journal.survival()["restarts"],
        }
        say(f"{kind}: {found}")
        return found

    def bring_back(self, host: Namespace, job: Job, *, is_cut: bool) -> int:
        """Restores the link and starts Ray again once the old raylet, which was declared dead, has ended itself; returns the run's step then."""
        if is_cut:
            self.network.restore(host.name)
            end_s = time.monotonic() + RETURN_LIMIT_S
            while self.cluster.has_raylet(host):
                if time.monotonic() > end_s:
                    raise TimeoutError(
                        f"the raylet of {host.name} lives on {RETURN_LIMIT_S:.0f} s after its link is back"
                    )
                time.sleep(0.2)
        host.kill_all()
        self.cluster.join(host)
        return job.journal.reached()

    def scale(self) -> dict[str, Any]:
        """Returns {"1", "2", "3": steps/s with so many workers on hosts of their own}, one sample per worker; medians of windows but the first."""
        found = {}
        for workers in range(1, len(HOSTS)):
            name = f"scale-{workers}"
            changes = {"workers": f"1:{workers}", "samples-per-step": workers, "placement": "local"}
            job = self.cluster.submit(name, {**self.settings, **changes})
            job.finish(JOB_LIMIT_S)
            groups = [e["workers"] for e in job.journal.events("group")]
            if groups != [workers]:
                raise RuntimeError(f"{name} trained with groups of {groups} workers, expected one of {workers}")
            rates = [e["steps_per_s"] for e in job.journal.events("validated") if e["step"] > WINDOW_STEPS]
            found[str(workers)] = round(statistics.median(rates), 2)
        say(f"scale: {found}")
        return found
