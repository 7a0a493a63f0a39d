"""Ray's launcher on machines of one's own: `ray up`, `ray submit`, `ray down` of examples/cluster_local.yaml over ssh, between hosts of hosts.py.

A laptop, a head and two workers, each with a real sshd, a home folder of its own and Ray where the file expects it (~/venv, a link to this
environment: there is no registry to install from in here). All else is the file as it is, with addresses, user and key filled in.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from distributed.runs.checkpoint import load_state
from distributed.runs.commits import committed_checkpoint
from tests import REPOSITORY
from tests.faults.hosts import Namespace, Network

HOSTS = ("laptop", "head", "worker-1", "worker-2")
SSHD = "/usr/sbin/sshd"
STEPS = 4
JOIN_LIMIT_S = 180.0
SSHD_CONFIG = """
HostKey {folder}/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
"""


def why_not() -> str | None:
    """Returns what is missing on this machine besides the needs of hosts.py, or None."""
    missing = [name for name in ("ssh", "ssh-keygen", "rsync") if shutil.which(name) is None]
    missing += [] if Path(SSHD).exists() else ["sshd"]
    return f"commands not found: {', '.join(missing)} (Debian: openssh-server, rsync)" if missing else None


class Launcher:
    """A person at the laptop.

    Args:
        network: A network of HOSTS.
        folder: An empty folder for homes and keys.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        self.hosts, self.folder = network.hosts, folder
        for key in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its rights
        for host in self.hosts.values():
            self._furnish(host)
        (self.home("laptop") / ".ray" / "auth_token").write_text(secrets.token_hex(32))
        self.file = folder / "cluster.yaml"
        self.file.write_text(yaml.safe_dump(self._filled_in(), sort_keys=False))

    def home(self, name: str) -> Path:
        return self.folder / name

    def ray(self, *command: str, limit_s: float = 600) -> float:
        """Runs `ray ...` on the laptop; returns the seconds that it took."""
        begun = time.monotonic()
        ray = [str(self.home("laptop") / "venv" / "bin" / "ray"), *command]
        self.hosts["laptop"].run(*ray, timeout_s=limit_s, environment=self._environment("laptop"))
        return round(time.monotonic() - begun, 1)

    def joined(self) -> float:
        """Waits for all nodes; returns the seconds.

        Raises:
            TimeoutError: Not all joined; the message shows `ray status`.
        """
        begun, status = time.monotonic(), ""
        while time.monotonic() - begun < JOIN_LIMIT_S:
            ray = str(self.home("head") / "venv" / "bin" / "ray")
            status = self.hosts["head"].run(ray, "status", environment=self._environment("head"))
            if " 3 local.cluster.node" in status:
                return round(time.monotonic() - begun, 1)
            time.sleep(1)
        raise TimeoutError(f"not all workers joined within {JOIN_LIMIT_S:.0f} s:\n{status}")

    def _environment(self, name: str) -> dict[str, str]:
        return {
            "PATH": f"{self.home(name)}/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home(name)),
            "LANG": "C.UTF-8",
            "USER": "root",
            "RAY_AUTH_MODE": "token",
            "TMPDIR": str(self.folder),
        }

    def _furnish(self, host: Namespace) -> None:
        """Gives a host its home, key and sshd."""
        home = self.home(host.name)
        for name in (".ssh", ".ray"):
            (home / name).mkdir(parents=True)
        shutil.copyfile(self.folder / "key.pub", home / ".ssh" / "authorized_keys")
        (home / "venv").symlink_to(sys.prefix)
        # `pip install -e` would do this.
        (home / ".bashrc").write_text("export PYTHONPATH=$HOME/relational-pretraining\n")
        users = self.folder / f"passwd-{host.name}"
        root = next(line for line in Path("/etc/passwd").read_text().splitlines() if line.startswith("root:"))
        users.write_text(Path("/etc/passwd").read_text().replace(root, f"root:x:0:0:root:{home}:/bin/bash"))
        host.run("mount", "--bind", str(users), "/etc/passwd")
        config = self.folder / f"sshd-{host.name}"
        config.write_text(SSHD_CONFIG.format(folder=self.folder, home=home))
        host.run(SSHD, "-f", str(config))

    def _filled_in(self) -> dict[str, Any]:
        """Returns examples/cluster_local.yaml with these hosts filled in."""
        cluster = yaml.safe_load((REPOSITORY / "examples" / "cluster_local.yaml").read_text())
        cluster["provider"]["head_ip"] = self.hosts["head"].address
        cluster["provider"]["worker_ips"] = [self.hosts[name].address for name in HOSTS[2:]]
        cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.folder / "key")}
        cluster["file_mounts"]["~/relational-pretraining"] = str(REPOSITORY)
        cluster["setup_commands"] = [c for c in cluster["setup_commands"] if "pip install" not in c]
        return cluster


def launched(network: Network, folder: Path, data: str) -> dict[str, Any]:
    """Returns {"final_step", "up_s", "joined_s", "submit_s", "down_s"} for one life of the cluster: seconds of each command."""
    launcher, runs = Launcher(network, folder), folder / "runs"
    cluster, found = str(launcher.file), dict[str, Any]()
    found["up_s"] = launcher.ray("up", "--yes", cluster)
    found["joined_s"] = launcher.joined()
    options = ["--data", data, "--runs-dir", str(runs), "--run-name", "launched", "--workers", "2"]
    options += ["--max-steps", str(STEPS), "--validation-samples", "4", "--wandb", "False"]
    found["submit_s"] = launcher.ray("submit", cluster, str(REPOSITORY / "examples" / "pretrain.py"), "--", *options)
    found["down_s"] = launcher.ray("down", "--yes", cluster)
    last = committed_checkpoint(runs / "launched" / "train")
    assert last is not None
    return {"final_step": load_state(last).step, **found}
