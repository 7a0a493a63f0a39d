"""Counter-based random numbers: a draw is a function of (run seed, purpose, epoch, sample, ...), never of a worker or a batch.

Promises: `stream` folds integers into one 64-bit stream key; `uniform(stream, counter)` is the counter-th number of that stream;
`permuted(positions, size, stream)` is what stands at these positions of that stream's permutation. All are pure, so that any process can compute any
draw in any order and all agree bit for bit. The mixer is splitmix64's finaliser (Steele, Lea, Flood 2014), which passes the avalanche tests that a
draw per row needs; it is no cryptography.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdl_core.kernel_cache import inlined, kernel

# Purposes keep the streams of one run apart. The numbers are part of the format: changing one changes every pinned sequence.
PURPOSE_PERMUTATION = 1
PURPOSE_HG_SAMPLING = 2
PURPOSE_TEMPORAL_SAMPLING = 3
PURPOSE_CORRUPTION = 4
PURPOSE_DROPOUT = 5
PURPOSE_NEGATIVES = 6
PURPOSE_TARGET_LINKS = 7
PURPOSE_MARGINAL = 8
PURPOSE_FINETUNING_ORDER = 9
PURPOSE_SUGGESTION = 10
PURPOSE_LABEL_SHARE = 11
PURPOSE_FUTURE = 12
PURPOSE_STANDARDIZATION = 13
PURPOSE_QUESTION = 14
PURPOSE_EXPLANATION = 15
PURPOSE_LINK_NEGATIVES = 16

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

PERMUTATION_ROUNDS_PER_BIT = 6
"""Rounds of `permuted` per bit of the size; fewer leave small permutations visibly uneven."""


@inlined
def mix(x):  # type: ignore[no-untyped-def]
    """Mixes a uint64: a bijection in which every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@inlined
def fold(stream, number):  # type: ignore[no-untyped-def]
    """Returns the child stream `number` of `stream` (uint64)."""
    return mix((stream ^ mix(np.uint64(number) + _GAMMA)) + _GAMMA)


@inlined
def uniform(stream, counter):  # type: ignore[no-untyped-def]
    """Returns the counter-th number of `stream`: float64, strictly between 0 and 1 (splitmix64 started at `stream`)."""
    # 52 bits: with 53, adding 0.5 to the largest rounds to 2^53, which would make a number 1.0.
    return (np.float64(mix(stream + _GAMMA * np.uint64(counter + 1)) >> np.uint64(12)) + 0.5) * (
        1.0 / 4503599627370496.0
    )


@kernel
def _permute(places, size, num_rounds, stream):  # type: ignore[no-untyped-def]
    """Replaces each place by its image under the swap-or-not shuffle, round after round."""
    for number in range(num_rounds):
        key = fold(stream, number)
        mirror = np.int64(key % np.uint64(size))
        for i in range(len(places)):
            partner = mirror - places[i]
            if partner < 0:
                partner += size
            if mix((key ^ np.uint64(max(places[i], partner))) + _GAMMA) >> np.uint64(63):
                places[i] = partner


def permuted(positions: NDArray[np.integer], size: int, stream: int) -> NDArray[np.int64]:
    """Returns what stands at some positions of a random permutation of 0, ..., size - 1, which is never written down.

    This is the swap-or-not shuffle (Hoang, Morris, Rogaway 2012): each round pairs every number with its mirror image and swaps the two or does
    not, by one bit of a hash of the pair. It costs 6 log2(size) rounds of about 2 ns per position and no memory, whatever the size.

    Args:
        positions: int64 [n], each from 0 to size - 1.
        size: How many numbers are permuted.
        stream: The stream that names the permutation, from `stream`.

    Returns:
        int64 [n].
    """
    places = np.array(positions, dtype=np.int64)
    _permute(places, size, PERMUTATION_ROUNDS_PER_BIT * int(size).bit_length(), np.uint64(stream))
    return places


@kernel
def _fold_all(numbers):  # type: ignore[no-untyped-def]
    stream = np.uint64(0)
    for number in numbers:
        stream = fold(stream, number)
    return stream


def stream(*numbers: int) -> int:
    """Returns one 64-bit stream key for integers such as (seed, purpose, epoch, sample); their order matters."""
    return int(_fold_all(np.array([int(n) & 0xFFFFFFFFFFFFFFFF for n in numbers], dtype=np.uint64)))


def fold_each(stream: int, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Returns the child streams of these numbers: uint64 [numbers]."""
    return _fold_each(np.uint64(stream), numbers)


@kernel
def _fold_each(stream, numbers):  # type: ignore[no-untyped-def]
    streams = np.empty(len(numbers), np.uint64)
    for i in range(len(numbers)):
        streams[i] = fold(stream, numbers[i])
    return streams


def numpy_generator(*numbers: int) -> np.random.Generator:
    """Returns a NumPy generator for the stream of these integers."""
    return np.random.Generator(np.random.Philox(key=stream(*numbers)))
