"""Waiting for samples and the rate of steps are told apart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from distributed.training.throughput import Throughput


def test_waiting_counts_the_time_until_items_come_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr("distributed.training.throughput.time.perf_counter", lambda: now_s[0])

    def items() -> Iterator[str]:
        for _ in range(3):
            now_s[0] += 1.0
            yield "sample"

    throughput = Throughput()
    assert throughput.rates() == {}
    for _ in throughput.waiting(items()):
        now_s[0] += 3.0
        throughput.add(36)
    assert throughput.rates() == {"rows_per_s": 9.0, "steps_per_s": 3 / 12, "data_wait_share": 0.25}
    throughput.restart()
    assert throughput.rates() == {}
