"""Sums through shared memory: threads stand for the processes of a host (test_communicator.py has real ones), a killed process is a real one."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distributed.training.shared_sums import SLOT_BYTES, SMALL_BYTES, SharedSums, host_name, one_host, shared_sums
from tests import REPOSITORY

OF_PEER = """
import socket, sys
import torch
from distributed.training.shared_sums import SharedSums
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
    sums = SharedSums(listener, ["\\0" + sys.argv[1], ""], 1, 30.0)
print(sums.add_up(torch.ones(3)).tolist(), flush=True)
input()
"""


@contextmanager
def group(size: int, timeout_s: float = 20.0) -> Iterator[list[SharedSums]]:
    listeners = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(size)]
    addresses = [f"\0test-{secrets.token_hex(8)}" for _ in range(size)]
    for listener, address in zip(listeners, addresses, strict=True):
        listener.bind(address)
        listener.listen(size)
    with ThreadPoolExecutor(size) as pool:
        made = list(pool.map(lambda rank: SharedSums(listeners[rank], addresses, rank, timeout_s), range(size)))
    for listener in listeners:
        listener.close()
    try:
        yield made
    finally:
        for sums in made:
            sums.close()


def at_once(sums: list[SharedSums], of_rank: Callable[[SharedSums], Tensor]) -> list[Tensor]:
    with ThreadPoolExecutor(len(sums)) as pool:
        return list(pool.map(of_rank, sums))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_process_gets_the_bits_of_the_sum_in_rank_order_at_any_size_and_speed(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    lengths = [1, 7, SMALL_BYTES // 4, SMALL_BYTES // 4 + 1, SLOT_BYTES // 4, SLOT_BYTES // 4 + 3, 0, 2, 5000, 4999]
    inputs = [torch.randn(size, length, generator=generator) for length in lengths]

    def all_of(sums: SharedSums) -> Tensor:
        mine = [one[sums.rank].clone() for one in inputs]
        for number, tensor in enumerate(mine):
            time.sleep(0.005 * ((number + sums.rank) % 3 == 0))
            assert sums.add_up(tensor) is tensor
        return torch.cat(mine)

    with group(size) as sums:
        got = at_once(sums, all_of)
    expected = torch.cat([sum(one[1:], one[0]) for one in inputs])
    assert all(torch.equal(one, expected) for one in got)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64])
def test_types_and_shapes_stay(dtype: torch.dtype) -> None:
    with group(3) as sums:
        of_shapes = [torch.ones(2, 3, dtype=dtype), torch.tensor(2, dtype=dtype)]
        for one in of_shapes:
            for got in at_once(sums, lambda s, one=one: s.add_up(one * (s.rank + 1))):  # type: ignore[misc]
                assert (got.dtype, got.shape) == (dtype, one.shape)
                assert torch.equal(got, one * 6)


def test_another_number_of_bytes_is_an_error_that_names_both_before_anything_is_summed() -> None:
    with (
        group(2) as sums,
        pytest.raises(RuntimeError, match=r"adds up \d+ bytes and rank \d \d+: ranks must call") as error,
    ):
        at_once(sums, lambda s: s.add_up(torch.ones(2 + s.rank)))
    assert "8" in str(error.value) and "12" in str(error.value)


def test_a_silent_process_is_an_error_after_the_timeout() -> None:
    with group(2, timeout_s=0.2) as sums, pytest.raises(TimeoutError, match=r"timed out waiting 0\.2 s for rank 1"):
        sums[0].add_up(torch.ones(2))


def test_a_killed_process_is_noticed_at_once_and_leaves_nothing() -> None:
    files, name = set(os.listdir("/dev/shm")), f"test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{name}")
        listener.listen(1)
        peer = subprocess.Popen(
            [sys.executable, "-c", OF_PEER, name], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        with peer:
            sums = SharedSums(listener, [f"\0{name}", ""], 0, 60.0)
            assert sums.add_up(torch.full((3,), 2.0)).tolist() == [3.0] * 3
            assert peer.stdout is not None and peer.stdout.readline() == "[3.0, 3.0, 3.0]\n"
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(sums.add_up, torch.ones(2))
                peer.send_signal(signal.SIGKILL)
                begun_s = time.monotonic()
                with pytest.raises(ConnectionError, match="rank 1 went away: connection closed by peer"):
                    waiting.result()
            assert time.monotonic() - begun_s < 5.0
            with pytest.raises(ConnectionError, match="rank 1 went away"):
                sums.add_up(torch.ones(2))
    assert set(os.listdir("/dev/shm")) == files
    sums.close()
    assert name not in Path("/proc/net/unix").read_text()


def test_processes_of_other_hosts_or_networks_and_devices_have_none() -> None:
    here = host_name()
    assert one_host([here, here])
    assert not one_host([here, here + "x"])
    assert not one_host(["", ""])
    assert shared_sums(torch.device("cuda"), 1.0) is None


def test_another_network_namespace_is_another_host() -> None:
    command = [
        "unshare",
        "-n",
        sys.executable,
        "-c",
        "from distributed.training.shared_sums import *; print(host_name())",
    ]
    other = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if other.returncode:
        pytest.skip(f"no network namespaces here: {other.stderr.strip()[-200:]}")
    assert not one_host([host_name(), other.stdout.strip()])
    assert other.stdout.split()[0] == host_name().split()[0], "the same kernel"
