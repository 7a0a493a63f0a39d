"""`make netns-test`: pretraining on several hosts, whose links are cut and whose processes are killed (`python -m tests.faults.netns`).

A head and three workers in network namespaces of this machine (hosts.py), one logical CPU each, with a real Ray cluster over them (ray_hosts.py).
Each run is a `ray job submit` of rel-f1 with two DDP workers on two hosts, and is compared with the same command on one host:

    run    left alone, graph sharded
    cut    the link of a host with a worker is taken down in the middle; a host to spare takes over; the link comes back
    kill   kill -9 of all processes of such a host in the middle; the same
    scale  1, 2 and 3 workers on hosts of their own, one sample each: steps/s
    launch `ray up`, `ray submit`, `ray down` of examples/cluster_local.yaml over ssh, on hosts of its own (launcher.py); if sshd is installed

After cut and kill the host comes back by `ray start`, as a supervisor or the autoscaler would do it. `lost_s` is from the cut or kill until the run
does its next new step: with the time to see it, to start workers again, and to do again what was not in a checkpoint.

The last line of stdout is JSON: {"hosts", "final_step", "weights_equal_to_one_host", "cut": {"recovered", "lost_s"}, "kill": {"recovered", "lost_s"},
"steps_per_s", "launcher"}; a part left out by --parts is null. Exit status 1 when a promise is broken: other weights, a run that does not end, a
host that does not come back. It needs Linux, root and `ip`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import conditions
from distributed.commands.inputs import find_data
from tests.faults import launcher
from tests.faults.host_trial import HOSTS, WINDOW_STEPS, HostTrial, say
from tests.faults.hosts import network, why_not

PARTS = ("run", "cut", "kill", "scale", "launch")


def on_cluster(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs the parts that share a cluster."""
    found, (net, runs) = dict[str, Any](), (folder / "net", folder / "runs")
    net.mkdir()
    runs.mkdir()
    with network(net, HOSTS) as hosts:
        trial = HostTrial(hosts, options, runs)
        for part in options.parts:
            if part in ("cut", "kill"):
                found[part] = trial.disturbed(part)
            elif part != "launch":
                found[part] = getattr(trial, part)()
    return found


def launched_alone(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns launcher.py's figures, or {"why": it cannot be tried here}."""
    if (missing := launcher.why_not()) is not None:
        return {"why": missing}
    net, homes = folder / "launcher-net", folder / "homes"
    net.mkdir()
    homes.mkdir()
    with network(net, launcher.HOSTS) as hosts:
        found = launcher.launched(hosts, homes, options.data)
    say(f"launch: {found}")
    return found


def trials(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns what is printed."""
    found: dict[str, Any] = dict.fromkeys(PARTS)
    load = conditions()
    if set(options.parts) - {"launch"}:
        found |= on_cluster(options, folder)
    if "launch" in options.parts:
        found["launch"] = launched_alone(options, folder)
    run = found["run"] or {}
    return {
        "hosts": len(HOSTS),
        "final_step": run.get("final_step"),
        "weights_equal_to_one_host": run.get("weights_equal"),
        "cut": found["cut"],
        "kill": found["kill"],
        "steps_per_s": found["scale"],
        "launcher": found["launch"],
        "workers_on": run.get("on"),
        "seconds": run.get("seconds"),
        "steps": options.steps,
        "conditions": load,
    }


def is_kept(result: dict[str, Any], parts: list[str]) -> bool:
    """Returns whether every promise of these parts is kept."""
    kept = {
        "run": result["weights_equal_to_one_host"]
        and result["final_step"] == result["steps"]
        and len(result["workers_on"]) == 2,
        "cut": result["cut"] and result["cut"]["recovered"],
        "kill": result["kill"] and result["kill"]["recovered"],
        "scale": result["steps_per_s"],
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
    options.data = str(Path(find_data(options.data)).resolve())  # hosts work in folders of their own
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
