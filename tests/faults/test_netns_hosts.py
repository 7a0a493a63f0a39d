"""Hosts in network namespaces, on which `make netns-test` runs: a cut link is cut, and all ends with the process that made it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import REPOSITORY
from tests.faults.hosts import Network, network, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"several hosts cannot be made here: {why_not()}")
MAKER = """
import sys, time
from pathlib import Path
from tests.faults.hosts import network
with network(Path(sys.argv[1]), ["left"]) as hosts:
    hosts.hosts["left"].run("sh", "-c", "sleep 600 >/dev/null 2>&1 &")
    print("made", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("hosts"), ["left", "right"]) as made:
        yield made


def test_hosts_reach_each_other_by_name_until_a_link_is_cut_and_after_it_is_back(pair: Network) -> None:
    left, right = pair.hosts.values()
    left.round_trip_s(right.name)
    pair.cut("right")
    with pytest.raises(subprocess.TimeoutExpired):
        left.round_trip_s(right.name, timeout_s=1)
    pair.restore("right")
    left.round_trip_s(right.name)


def test_killing_all_of_a_host_ends_nothing_elsewhere(pair: Network) -> None:
    left, right = pair.hosts.values()
    for host in (left, right):
        host.run("sh", "-c", "sleep 600 >/dev/null 2>&1 &")
    right.kill_all()
    assert ["sleep", "600"] in [p.cmdline() for p in left.processes()]
    assert right.processes() == []


def test_a_killed_maker_leaves_no_process_and_so_no_namespace(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAKER, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE
    ) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"made\n"
        made = psutil.Process(maker.pid).children(recursive=True)
        assert "sleep" in {process.name() for process in made}
        maker.kill()
    end_s = time.monotonic() + 10
    while (left := [p for p in made if p.is_running()]) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert left == []
