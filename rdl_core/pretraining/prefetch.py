"""Prefetching: a step's batch is made while the step before it runs on a device.

Promises: the same things in the same order, made ahead or not, also before an error: what taking or making an item raises, the step that needs it
raises; never more than one ahead. Items are taken in the caller's thread, so what waits for them and counts its waiting does so there; made ahead, a
step therefore begins when the next one's item has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def made_of(items: Iterable[Item], make: Callable[[Item], Made], *, ahead: bool) -> Iterator[Made]:
    """Yields make(item) of each item.

    Args:
        items: Taken in the caller's thread, in order.
        make: Called once per item.
        ahead: Whether the next one is made on a thread of its own while the caller uses this one, which pays where the caller waits for a
            device; on a CPU the thread would take the core from the step.
    """
    if not ahead:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        iterator, future = iter(items), None
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except Exception:
                if future is not None:
                    yield future.result()
                raise
            made, future = future, thread.submit(make, item)
            if made is not None:
                yield made.result()
        if future is not None:
            yield future.result()
