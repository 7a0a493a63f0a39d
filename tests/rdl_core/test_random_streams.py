"""Counter-based streams: pure, uniform, strictly inside (0, 1), kept apart by every number that names them."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from numba import njit

from rdl_core import random_streams
from rdl_core.random_streams import fold, mix, numpy_generator, permuted, stream, uniform
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


def permuted_in_python(position: int, size: int, key: int) -> int:
    """The swap-or-not shuffle in Python integers."""
    for number in range(6 * size.bit_length()):
        of_round = python_fold(key, number)
        partner = (of_round % size - position) % size
        if python_mix((of_round ^ max(position, partner)) + GAMMA & MASK) >> 63:
            position = partner
    return position


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 64, 97, 128, 1009, 1024, 10_007])
def test_a_permutation_holds_every_number_once_and_equals_its_definition_in_python_integers(size: int) -> None:
    for key in (stream(0), stream(1), MASK):
        order = permuted(np.arange(size), size, key)
        assert sorted(order.tolist()) == list(range(size))
        some = np.arange(0, size, max(1, size // 50))
        assert order[some].tolist() == [permuted_in_python(int(i), size, key) for i in some]


def test_a_permutation_of_a_million_is_whole_and_of_many_more_can_be_asked_at_single_places() -> None:
    order = permuted(np.arange(1_000_000), 1_000_000, stream(3))
    assert np.array_equal(np.sort(order), np.arange(1_000_000))
    size = 3 * 10**15 + 7
    places = np.random.default_rng(0).integers(0, size, 2000)
    found = permuted(places, size, stream(4))
    assert len(set(found.tolist())) == len(set(places.tolist()))
    assert 0 <= found.min() <= found.max() < size
    assert found[:20].tolist() == [permuted_in_python(int(i), size, stream(4)) for i in places[:20]]


def test_a_place_of_a_permutation_does_not_depend_on_what_else_is_asked() -> None:
    whole = permuted(np.arange(100), 100, stream(5))
    places = np.array([99, 0, 42, 42])
    assert permuted(places, 100, stream(5)).tolist() == whole[places].tolist()
    assert places.tolist() == [99, 0, 42, 42]


def test_all_permutations_of_a_few_numbers_are_equally_likely() -> None:
    for size in (2, 3, 4, 5):
        counts = dict.fromkeys(itertools.permutations(range(size)), 0)
        for key in range(120 * 20):
            counts[tuple(permuted(np.arange(size), size, stream(8, size, key)).tolist())] += 1
        assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3, size


def test_permutations_are_uniform_in_every_place_and_unrelated_to_their_order_and_to_each_other() -> None:
    size, orders = 50, np.stack([permuted(np.arange(50), 50, stream(6, key)) for key in range(4000)])
    counts = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])
    assert scipy.stats.chi2.sf(((counts - 80) ** 2 / 80).sum(), (size - 1) ** 2) > 1e-3
    gaps = np.bincount((np.diff(orders, axis=1) % size).ravel(), minlength=size)[1:]  # of neighbouring places
    assert scipy.stats.chisquare(gaps).pvalue > 1e-3
    large = [permuted(np.arange(100_000), 100_000, stream(7, key)) for key in range(2)]
    assert abs(np.corrcoef(np.arange(100_000), large[0])[0, 1]) < 0.01
    assert abs(np.corrcoef(large[0], large[1])[0, 1]) < 0.01


def test_all_permutations_of_near_keys_differ() -> None:
    orders = {tuple(permuted(np.arange(64), 64, stream(s, 1, e)).tolist()) for s in range(30) for e in range(30)}
    assert len(orders) == 900


def test_a_permutation_is_pinned() -> None:
    """The order of seeds and of fine-tuning's labels is a part of the format: runs resume only while it holds."""
    assert permuted(np.arange(12), 12, stream(0, 1, 0)).tolist() == [4, 5, 8, 3, 9, 7, 1, 0, 2, 10, 6, 11]
    assert permuted(np.array([0, 1, 999_999]), 1_000_000, stream(0, 1, 0)).tolist() == [199484, 409588, 394520]
