"""A slow link: two bridges of a switch (hosts.py) joined by this process, which hands every frame on after a delay.

For kernels without netem. The ends are TAP devices, which take no offloads: the kernel cuts segments to the MTU and fills in checksums before they
come here. Runs in the switch's namespace, with which it ends:

    python tests/faults/delay.py bridge far 20 9000     # both bridges exist; 20 ms each way, frames of 9,000 bytes

Promises: frames keep their order; none is dropped here.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

FRAME_BYTES = 65536
SET_INTERFACE, TAP, NO_PACKET_INFORMATION = 0x400454CA, 0x0002, 0x1000
"""TUNSETIFF, IFF_TAP, IFF_NO_PI of linux/if_tun.h."""


def tap(name: str, bridge: str, mtu_bytes: str) -> int:
    """A new TAP device in a bridge; the file descriptor of its other end."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, SET_INTERFACE, struct.pack("16sH", name.encode(), TAP | NO_PACKET_INFORMATION))
    subprocess.run(["ip", "link", "set", name, "mtu", mtu_bytes, "master", bridge, "up"], check=True)
    return descriptor


def forward(ends: tuple[int, int], delay_s: float) -> None:
    """Hands frames from each end to the other for ever."""
    other = dict(zip(ends, reversed(ends), strict=True))
    waiting: dict[int, deque[tuple[float, bytes]]] = {end: deque() for end in ends}
    while True:
        next_s = min((queue[0][0] for queue in waiting.values() if queue), default=None)
        patience_s = None if next_s is None else max(0.0, next_s - time.monotonic())
        for end in select.select(ends, [], [], patience_s)[0]:
            waiting[other[end]].append((time.monotonic() + delay_s, os.read(end, FRAME_BYTES)))
        for end, queue in waiting.items():
            while queue and queue[0][0] <= time.monotonic():
                os.write(end, queue.popleft()[1])


def main() -> None:
    near, far, delay_ms, mtu_bytes = sys.argv[1:]
    ends = (tap("slow0", near, mtu_bytes), tap("slow1", far, mtu_bytes))
    print("ready", flush=True)
    forward(ends, float(delay_ms) / 1000)


if __name__ == "__main__":
    main()
