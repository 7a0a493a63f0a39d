"""Hosts on one machine: network namespaces on a switch, so that a cluster has several addresses and links that can be cut.

    switch: bridge ---- link of host 1 ---- host 1: eth0 10.77.0.1
                   +--- link of host 2 ---- host 2: eth0 10.77.0.2 ...

A host has its own network, processes, host name, hosts file, /dev/shm and /tmp/ray; all other files are the machine's, so all hosts share every
folder (and a cut link does not cut storage). It needs Linux, root and `ip`; nothing is seen or left outside.

Promises: each namespace lives as long as its first process, which reads a pipe that this process holds. So all of them, with everything that runs
in them, end with this process, however it ends, kill -9 included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

NETWORK = "10.77.0"
MTU_BYTES = 9000
"""Jumbo frames, as within a cloud's network."""
COMMANDS = ("ip", "unshare", "nsenter", "mount", "hostname")
FIRST_PROCESS = """
set -e
hostname "$1"
ip link set lo up
if [ "$1" != switch ]; then
    mount --bind "$2/hosts" /etc/hosts
    mount --bind "$2/resolv.conf" /etc/resolv.conf  # names are in the hosts file; a question to a server would time out
    mount -t tmpfs -o size=2g tmpfs /dev/shm
    mount --bind "$2/$1" /tmp/ray
fi
echo ready
exec env --ignore-signal=CHLD cat  # ends when the pipe does; whatever ends in here is reaped
"""

CONNECT = """
import socket, sys, time
begun = time.perf_counter()
socket.socket().connect_ex((sys.argv[1], 9))  # nobody listens: the refusal has gone there and back
print(time.perf_counter() - begun)
"""


def why_not() -> str | None:
    """Returns what is missing on this machine, or None."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, this is {sys.platform}"
    if os.geteuid() != 0:
        return "network namespaces need root (try sudo)"
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        return f"commands not found: {', '.join(missing)} (Debian: iproute2, util-linux, mount, hostname)"
    tried = subprocess.run(["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True)
    return None if tried.returncode == 0 else f"unshare: {tried.stderr.decode().strip()}"


@dataclass(frozen=True)
class Namespace:
    """A host, or the switch.

    Args:
        name: Host name.
        address: IPv4 address; "" for the switch.
        first: The process number of its first process, as seen from outside.
        holder: The `unshare` around the first process, whose stdin that reads.
        started: The processes of `start`.
    """

    name: str
    address: str
    first: int
    holder: subprocess.Popen[bytes]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list, compare=False)

    def inside(self, command: Sequence[str]) -> list[str]:
        """Returns the command line that runs a command in here."""
        return ["nsenter", f"--target={self.first}", "--net", "--mount", "--uts", "--pid", "--", *command]

    def run(self, *command: str, timeout_s: float = 120, environment: Mapping[str, str] | None = None) -> str:
        """Runs a command and returns its output.

        Raises:
            RuntimeError: The command ended with an error.
        """
        done = subprocess.run(
            self.inside(command),
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            text = (done.stdout + done.stderr)[-3000:]
            raise RuntimeError(f"{' '.join(command)} on {self.name}: status {done.returncode}\n{text}")
        return done.stdout

    def start(self, *command: str, log: IO[Any], environment: Mapping[str, str] | None = None) -> subprocess.Popen:
        """Starts a command in the background."""
        process = subprocess.Popen(
            self.inside(command), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        self.started.append(process)
        return process

    def round_trip_s(self, to: str, timeout_s: float = 10) -> float:
        """Returns the seconds to another host and back, by name or address.

        Raises:
            subprocess.TimeoutExpired: Nothing came back.
        """
        return float(self.run(sys.executable, "-S", "-c", CONNECT, to, timeout_s=timeout_s))

    def processes(self) -> list[psutil.Process]:
        """Returns all processes that run here but the first; a zombie does not run."""
        here = _process_namespace(self.first)
        return [p for p in psutil.process_iter() if p.pid != self.first and _runs_in(p, here)]

    def kill_all(self) -> None:
        """Kills (-9) everything that runs here, at once; the host itself stays, as after a power failure and a start."""
        subprocess.run(self.inside(["sh", "-c", "kill -9 -1"]), stdin=subprocess.DEVNULL, capture_output=True)


class Network:
    """Hosts on one switch.

    Args:
        folder: An empty folder for the hosts' own files.
        names: Host names.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.addresses = {name: f"{NETWORK}.{i}" for i, name in enumerate(names, 1)}
        self.made: list[Namespace] = []

    def open(self) -> None:
        """Makes switch, hosts and links."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.addresses.items())]
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")
        (self.folder / "resolv.conf").write_text("")
        Path("/tmp/ray").mkdir(exist_ok=True)  # Ray's default: short, since names of sockets have 107 bytes at most
        self.switch = self._namespace("switch", "")
        self.switch.run("ip", "link", "add", "bridge", "type", "bridge", "forward_delay", "0")
        self.switch.run("ip", "link", "set", "bridge", "up")
        self.hosts = {name: self._host(name, address) for name, address in self.addresses.items()}

    def cut(self, name: str) -> None:
        """Takes a host's link down, at the switch: packets either way are lost, and open connections see silence."""
        self.switch.run("ip", "link", "set", _link(self.hosts[name]), "down")

    def restore(self, name: str) -> None:
        self.switch.run("ip", "link", "set", _link(self.hosts[name]), "up")

    def close(self) -> None:
        """Ends everything."""
        for namespace in self.made:
            assert namespace.holder.stdin is not None
            namespace.holder.stdin.close()
        for namespace in self.made:
            for process in (namespace.holder, *namespace.started):
                process.wait(30)
            assert namespace.holder.stdout is not None
            namespace.holder.stdout.close()

    def _namespace(self, name: str, address: str) -> Namespace:
        (self.folder / name).mkdir()
        unshare = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        holder = subprocess.Popen(
            [*unshare, "sh", "-c", FIRST_PROCESS, "sh", name, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert holder.stdout is not None
        is_ready = holder.stdout.readline() == b"ready\n"
        first = psutil.Process(holder.pid).children()[0].pid if is_ready else 0
        self.made.append(Namespace(name, address, first, holder))
        if not is_ready:
            raise RuntimeError(f"namespace {name} did not start (its error is above)")
        return self.made[-1]

    def _host(self, name: str, address: str) -> Namespace:
        host = self._namespace(name, address)
        # With this machine's process numbers: in a namespace the host's first process has another one.
        mtu = ["mtu", str(MTU_BYTES)]
        pair = [
            "link",
            "add",
            _link(host),
            *mtu,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            *mtu,
            "netns",
            str(host.first),
        ]
        subprocess.run(["nsenter", f"--target={self.switch.first}", "--net", "ip", *pair], check=True)
        host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        self.switch.run("ip", "link", "set", _link(host), "master", "bridge", "up")
        return host


def _link(host: Namespace) -> str:
    """Returns the name of the link's end at the switch."""
    return f"to{host.address.rsplit('.', 1)[-1]}"


@contextmanager
def network(folder: Path, names: Sequence[str]) -> Iterator[Network]:
    """Yields a Network that ends with the body."""
    made = Network(folder, names)
    try:
        made.open()
        yield made
    finally:
        made.close()


def _process_namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def _runs_in(process: psutil.Process, namespace: str) -> bool:
    try:
        return _process_namespace(process.pid) == namespace and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.NoSuchProcess):
        return False  # it has ended
