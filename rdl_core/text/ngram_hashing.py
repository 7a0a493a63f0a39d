"""Hashed character n-grams of texts, without Python's lock: what scikit-learn's HashingVectorizer(analyzer="char_wb", norm="l2") gives, to the bit.

scikit-learn makes a Python string of every n-gram, so that threads wait for one another; this takes about a tenth of its CPU time. The hash is
MurmurHash3_x86_32 by Austin Appleby (public domain) with seed 0, as scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rdl_core.kernel_cache import kernel, kernel_part

MIN_N, MAX_N = 2, 4


def hashed_ngrams(texts: Sequence[str], channels: int) -> NDArray[np.float32]:
    """Returns float32 [texts, channels]: signed counts of the n-grams of each text's words, of unit length; zero for a text without words."""
    padded = [f" {' '.join(text.lower().split())} ".encode() for text in texts]
    ends = np.cumsum([len(text) for text in padded], dtype=np.int64)
    vectors = np.zeros((len(texts), channels), np.float32)
    _count(np.frombuffer(b"".join(padded), np.uint8), ends, vectors)
    return vectors


@kernel
def _count(data: NDArray[np.uint8], ends: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
    """Adds up n-grams. Each text has a blank before, between and after its words; a word's n-grams include the blanks at both of its ends."""
    longest = 0
    begin = 0
    for end in ends:
        longest = max(longest, end - begin)
        begin = end
    starts = np.empty(longest + 1, np.int64)  # of the characters of a word with its blanks, and where its last one ends
    begin = 0
    for i in range(len(ends)):
        end = ends[i]
        at = begin
        while at < end - 1:
            num_chars = 1
            starts[0] = at
            at += 1
            while data[at] != 32:
                if data[at] & 0xC0 != 0x80:
                    starts[num_chars] = at
                    num_chars += 1
                at += 1
            starts[num_chars] = at
            starts[num_chars + 1] = at + 1
            num_chars += 1
            if num_chars > 2:  # there is a word
                _count_word(data, starts, num_chars, vectors[i])
        begin = end
        squares = 0.0
        for count in vectors[i]:
            squares += count * count
        if squares > 0:
            length = np.sqrt(squares)
            for channel in range(vectors.shape[1]):
                vectors[i, channel] = np.float32(vectors[i, channel] / length)


@kernel_part
def _count_word(
    data: NDArray[np.uint8], starts: NDArray[np.int64], num_chars: int, vector: NDArray[np.float32]
) -> None:
    for n in range(MIN_N, MAX_N + 1):
        for first in range(max(num_chars - n, 0) + 1):
            code = _murmur3(data, starts[first], starts[min(first + n, num_chars)])
            channel = abs(np.int64(code)) % len(vector)
            vector[channel] += np.float32(1.0) if code >= 0 else np.float32(-1.0)
        if num_chars <= n:  # a short word counts once
            break


@kernel_part
def _murmur3(data: NDArray[np.uint8], begin: int, end: int) -> np.int64:
    """Returns MurmurHash3_x86_32 of some bytes, seed 0, as a signed number."""
    mask = np.uint64(0xFFFFFFFF)
    first, second = np.uint64(0xCC9E2D51), np.uint64(0x1B873593)
    state, block, length = np.uint64(0), np.uint64(0), end - begin
    for i in range(length):
        block |= np.uint64(data[begin + i]) << np.uint64(8 * (i % 4))
        if i % 4 == 3 or i == length - 1:
            block = (block * first) & mask
            block = ((block << np.uint64(15)) | (block >> np.uint64(17))) & mask
            state ^= (block * second) & mask
            if i % 4 == 3:
                state = ((state << np.uint64(13)) | (state >> np.uint64(19))) & mask
                state = (state * np.uint64(5) + np.uint64(0xE6546B64)) & mask
            block = np.uint64(0)
    state ^= np.uint64(length)
    state ^= state >> np.uint64(16)
    state = (state * np.uint64(0x85EBCA6B)) & mask
    state ^= state >> np.uint64(13)
    state = (state * np.uint64(0xC2B2AE35)) & mask
    state ^= state >> np.uint64(16)
    return np.int64(state) - (np.int64(1) << np.int64(32)) if state >= np.uint64(1 << 31) else np.int64(state)
