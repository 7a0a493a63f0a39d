"""`make netns-test`: pretraining on several hosts, whose links are cut, slowed down, and whose processes are killed.

A head and three workers in network namespaces of this machine (hosts.py), one logical CPU each, with a real Ray cluster over them (ray_hosts.py).
Each run is a `ray job submit` of rel-f1 with two DDP workers on two hosts, and is compared with the same command on one host:

    run    left alone, graph sharded
    cut    the link of a host with a worker is taken down in the middle; a host to spare takes over; the link comes back
    kill   kill -9 of all processes of such a host in the middle; the same
    slow   the link of such a host gets 20 ms each way in the middle (delay.py), graph local and sharded
    launch `ray up`, `ray submit`, `ray down` of examples/cluster_local.yaml over ssh, on hosts of its own (launcher.py); if sshd is installed

After cut and kill the host comes back by `ray start`, as a supervisor or the autoscaler would do it. `lost_s` is from the cut or kill until the run
does its next new step: with the time to see it, to start workers again, and to do again what was not in a checkpoint.

The last line of stdout is JSON: {"hosts", "final_step", "weights_equal_to_one_host", "cut": {"recovered", "lost_s"}, "kill": {"recovered", "lost_s"},
"slow_link": {"local_steps_per_s", "sharded_steps_per_s"}, "launcher"}; a part left out by --parts is null. Exit status 1 when a promise is broken: other weights,
a run that does not end, a host that does not come back. Needs Linux, root and `ip`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a file, this folder is the first of the path

from benchmarks import launcher  # noqa: E402
from benchmarks.chaos import equal_weights, recoveries  # noqa: E402
from benchmarks.hosts import Namespace, Network, network, why_not  # noqa: E402
from benchmarks.ray_hosts import Job, RayHosts, pretrain_command  # noqa: E402
from benchmarks.timing import conditions  # noqa: E402
from distributed.checkpoint import load_state  # noqa: E402
from distributed.commits import committed_checkpoint  # noqa: E402
from distributed.runs import resolve_data  # noqa: E402

PARTS = ("run", "cut", "kill", "slow", "launch")
HOSTS = ("head", "worker-1", "worker-2", "worker-3")
WINDOW_STEPS = 20
"""Between validations, each of which gives the steps/s since the last one."""
JOB_LIMIT_S, RECOVERY_LIMIT_S, RETURN_LIMIT_S = 600.0, 300.0, 120.0
DELAY_MS = 20.0


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


class Trial:
    """All parts, on one cluster.

    Args:
        network: Its hosts.
        options: Of the command line.
        folder: For runs.
    """

    def __init__(self, network: Network, options: argparse.Namespace, folder: Path) -> None:
        self.network, self.steps, self.folder = network, options.steps, folder
        self.settings = {
            "data": resolve_data(options.data), "workers": 2, "max-steps": options.steps, "samples-per-step": 2,
            "checkpoint-interval-steps": 10, "validation-interval-steps": WINDOW_STEPS, "validation-samples": 4,
            "wandb": False, "seed": 3,
        }  # fmt: skip
        self.one_host = self._on_one_host()
        self.cluster = RayHosts(network, folder)
        say(f"hosts: {', '.join(self.cluster.alive())}")

    def _on_one_host(self) -> Path:
        """The last checkpoint of the same run on one host, in a Ray session of its own that is gone after."""
        host = self.network.hosts[HOSTS[0]]
        command = pretrain_command(self.folder, "one-host", {**self.settings, "placement": "local"})
        host.run(*command, timeout_s=JOB_LIMIT_S, environment=RayHosts.plain_environment())
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
        """{"final_step", "weights_equal"} of a finished run."""
        last = self.checkpoint(name)
        return {"final_step": load_state(last).step, "weights_equal": equal_weights(last, self.one_host)}

    def run(self) -> dict[str, Any]:
        """A run left alone; also {"on": hosts with a worker}."""
        begun = time.monotonic()
        job = self.submit("run")
        job.until_step(1, JOB_LIMIT_S)
        on = [host.name for host in self.cluster.training()]
        job.finish(JOB_LIMIT_S)
        found = {**self.outcome("run"), "on": on, "seconds": round(time.monotonic() - begun, 1)}
        say(f"run: {found}")
        return found

    def victim(self) -> Namespace:
        """A host with a worker, not the head."""
        return next(h for h in self.cluster.training() if h.name != HOSTS[0])

    def disturbed(self, kind: str) -> dict[str, Any]:
        """A run that loses a host in the middle, and gets it back."""
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
            "lost_s": round(lost_s, 1), **{f"{k}_s": round(v, 1) for k, v in parts.items()}, "at_step": step,
            "host_back_at_step": back_at, **outcome, "hosts_at_the_end": len(alive),
            "restarts": job.journal.survival()["restarts"],
        }  # fmt: skip
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

    def slow(self) -> dict[str, Any]:
        """Steps/s behind a slow link, and before it became slow, in the same run; null with the kernel's words where there is no TAP."""
        if (why := self.network.add_slow_bridge(DELAY_MS, self.folder / "delay.log")) is not None:
            return {"local_steps_per_s": None, "sharded_steps_per_s": None, "why": why}
        found: dict[str, Any] = {"delay_ms": DELAY_MS}
        for placement in ("local", "sharded"):
            before, after, found["round_trip_ms"] = self._slowed(f"slow-{placement}", placement)
            found[f"{placement}_steps_per_s"] = round(after, 2)
            found[f"{placement}_steps_per_s_before"] = round(before, 2)
            found[f"{placement}_weights_equal"] = self.outcome(f"slow-{placement}")["weights_equal"]
        say(f"slow link: {found}")
        return found

    def _slowed(self, name: str, placement: str) -> tuple[float, float, float]:
        """(steps/s of the window before, of the last window, the round trip in ms)."""
        job = self.submit(name, placement)
        job.until_step(self.steps // 2, JOB_LIMIT_S)
        host = self.victim()
        self.network.plug(host.name, "far")
        trips_s = [self.network.hosts[HOSTS[0]].round_trip_s(host.address) for _ in range(3)]
        job.finish(JOB_LIMIT_S)
        self.network.plug(host.name, "bridge")
        rates = {e["step"]: e["steps_per_s"] for e in job.journal.events("validated") if "steps_per_s" in e}
        return rates[self.steps // 2], rates[self.steps], round(1000 * min(trips_s), 1)


def on_cluster(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The parts that share a cluster."""
    found, (net, runs) = dict[str, Any](), (folder / "net", folder / "runs")
    net.mkdir()
    runs.mkdir()
    with network(net, HOSTS) as hosts:
        trial = Trial(hosts, options, runs)
        for part in options.parts:
            if part in ("cut", "kill"):
                found[part] = trial.disturbed(part)
            elif part != "launch":
                found[part] = getattr(trial, part)()
    return found


def launched_alone(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What launcher.py finds, or {"why": it cannot be tried here}."""
    if (missing := launcher.why_not()) is not None:
        return {"why": missing}
    net, homes = folder / "launcher-net", folder / "homes"
    net.mkdir()
    homes.mkdir()
    with network(net, launcher.HOSTS) as hosts:
        found = launcher.launched(hosts, homes, resolve_data(options.data))
    say(f"launch: {found}")
    return found


def trials(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What is printed."""
    found: dict[str, Any] = dict.fromkeys(PARTS)
    load = conditions()
    if set(options.parts) - {"launch"}:
        found |= on_cluster(options, folder)
    if "launch" in options.parts:
        found["launch"] = launched_alone(options, folder)
    run = found["run"] or {}
    return {
        "hosts": len(HOSTS), "final_step": run.get("final_step"), "weights_equal_to_one_host": run.get("weights_equal"),
        "cut": found["cut"], "kill": found["kill"], "slow_link": found["slow"], "launcher": found["launch"], "workers_on": run.get("on"),
        "seconds": run.get("seconds"), "steps": options.steps, "conditions": load,
    }  # fmt: skip


def is_kept(result: dict[str, Any], parts: list[str]) -> bool:
    """Whether every promise of these parts is."""
    kept = {
        "run": result["weights_equal_to_one_host"]
        and result["final_step"] == result["steps"]
        and len(result["workers_on"]) == 2,
        "cut": result["cut"] and result["cut"]["recovered"],
        "kill": result["kill"] and result["kill"]["recovered"],
        "slow": result["slow_link"] and result["slow_link"].get("sharded_weights_equal", True),
        "launch": result["launcher"] and result["launcher"].get("final_step", launcher.STEPS) == launcher.STEPS,
    }
    return all(kept[part] for part in parts)


def _end(number: int, frame: object) -> None:
    raise SystemExit(f"ended by {signal.Signals(number).name}" + (": --limit-s" if number == signal.SIGALRM else ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="rel-f1")
    parser.add_argument("--steps", type=int, default=80, help=f"of each run; a multiple of {2 * WINDOW_STEPS}")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--limit-s", type=int, default=2400, help="for all of it")
    options = parser.parse_args()
    if (missing := why_not()) is not None:
        say(f"several hosts cannot be made here: {missing}")
        return 2
    if options.steps % (2 * WINDOW_STEPS):
        parser.error(f"--steps must be a multiple of {2 * WINDOW_STEPS}, got {options.steps}")
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, _end)
    signal.alarm(options.limit_s)
    folder = Path(tempfile.mkdtemp(prefix="netns-"))
    try:
        result = trials(options, folder)
    except BaseException:
        say(f"runs and logs stay in {folder}")
        raise
    print(json.dumps(result), flush=True)
    if not is_kept(result, options.parts):
        say(f"a promise is broken; runs and logs stay in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
