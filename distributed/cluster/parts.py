"""Numbered parts of a job, each the work of a Ray Data task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray.data

from distributed.cluster.session import start_ray


def write_parts(write: Callable[[int], dict[str, Any]], parts: Sequence[int], workers: int) -> Iterator[dict[str, Any]]:
    """Writes parts by tasks, so many at a time, each with a GPU if there are some; yields what `write` returns of each as it is done.

    Args:
        write: Writes the part of a number. It travels to the workers, whose folders are their own: its paths are absolute. What a process needs to
            open once, it keeps itself.
        parts: Their numbers.
        workers: How many at a time.
    """
    use_gpu = start_ray(workers, samplers=0)
    items = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
    written = items.map(
        lambda item: write(item["part"]),
        compute=ray.data.TaskPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=1 if use_gpu else 0,
    )
    yield from written.iter_rows()
