"""Counter-based streams: pure, uniform, strictly inside (0, 1), kept apart by every number that names them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import scipy.stats
from numba import njit

from rdl_core import random_streams
from rdl_core.random_streams import fold, mix, numpy_generator, stream, uniform
from tests.oracles import GAMMA, MASK, MIX_1, MIX_2, python_fold, python_mix, python_uniform


def python_unmix(x: int) -> int:
    def unshift(y: int, bits: int) -> int:
        x = y
        for _ in range(64 // bits + 1):
            x = y ^ (x >> bits)
        return x

    x = unshift(x, 31) * pow(MIX_2, -1, 1 << 64) & MASK
    x = unshift(x, 27) * pow(MIX_1, -1, 1 << 64) & MASK
    return unshift(x, 30)


@njit
def many(key: int, count: int) -> np.ndarray:
    out = np.empty(count)
    for i in range(count):
        out[i] = uniform(np.uint64(key), i)
    return out


@njit
def one(key: int, counter: int) -> float:
    return uniform(np.uint64(key), counter)


def test_mix_and_fold_equal_their_definition_in_python_integers() -> None:
    @njit
    def both(key: int, number: int) -> tuple[int, int]:
        return mix(np.uint64(key)), fold(np.uint64(key), number)

    for key in (0, 1, 12345, MASK, 1 << 63):
        for number in (0, 1, 2**40, 2**62):
            mixed, folded = both(np.uint64(key), np.int64(number))
            assert (int(mixed), int(folded)) == (python_mix(key), python_fold(key, number))


def test_a_stream_is_the_fold_of_its_numbers_in_their_order() -> None:
    assert stream(3, 5) == python_fold(python_fold(0, 3), 5)
    assert stream(3, 5) != stream(5, 3)
    assert len({stream(0), stream(0, 0), stream(0, 0, 0), stream(1), stream(-1), stream(2**63)}) == 6


def test_sequences_of_all_generators_are_pinned() -> None:
    """These numbers are a part of the format: runs resume and figures are reproduced only while they hold."""
    assert stream(0, 2, 0, 0) == 7577060725535797948
    assert many(np.uint64(stream(7)), 3).tolist() == [python_uniform(stream(7), i) for i in range(3)]
    assert numpy_generator(1, 2, 3).integers(0, 1000, 4).tolist() == [245, 228, 987, 448]


def test_uniform_is_strictly_between_zero_and_one_at_both_ends() -> None:
    for bits, nearest in ((MASK, 1 - 2**-53), (0, 2**-53)):
        key = python_unmix(bits) - GAMMA * 6 & MASK
        assert one(np.uint64(key), 5) == nearest


def test_uniform_numbers_are_uniform_and_uncorrelated() -> None:
    numbers = many(np.uint64(stream(4, 4)), 200_000)
    assert scipy.stats.kstest(numbers, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.01
    neighbour = many(np.uint64(stream(4, 5)), 200_000)
    assert abs(np.corrcoef(numbers, neighbour)[0, 1]) < 0.01


def test_near_streams_and_counters_do_not_collide() -> None:
    keys = [stream(s, p, e, k) for s in range(8) for p in range(8) for e in range(8) for k in range(64)]
    assert len(set(keys)) == len(keys)


def test_purposes_are_all_different() -> None:
    purposes = [v for k, v in vars(random_streams).items() if k.startswith("PURPOSE_")]
    assert len(set(purposes)) == len(purposes) >= 9


def test_another_process_draws_the_same() -> None:
    code = "from rdl_core.random_streams import *; print(stream(5, 6), numpy_generator(5, 6).random())"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert int(output[0]) == stream(5, 6)
    assert float(output[1]) == numpy_generator(5, 6).random()
