"""Embedders, which turn text columns into vectors, once per distinct string.

Promises: an embedder is deterministic and needs nothing of the database, so it cannot leak. The default, hashed character n-grams, needs no
download and no fitting; a sentence-transformers model is used by name when the `text` extra is installed. The vectors that a killed run had embedded
are found again by the embedder's name and the very texts (`KeptTexts`); what is embedded faster than it is read back is not kept.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rdl_core.text.ngram_hashing import hashed_ngrams

SENTENCE_TRANSFORMER_PREFIX = "sentence-transformers:"
CHUNK_TEXTS = 4096
"""Texts that are embedded, and kept, together."""
WORTH_KEEPING_S = 0.5
"""A chunk that took less is embedded again."""


class TextEmbedder(Protocol):
    """Turns strings into vectors.

    Args:
        name: Names the embedder in the store's hash and manifest; `text_embedder(name)` makes it again.
        channels: Length of a vector.
    """

    name: str
    channels: int

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [texts, channels]."""
        ...


class HashedNgramEmbedder:
    """Hashes character 2- to 4-grams within words, with signs (Weinberger et al. 2009), to vectors of unit length; an empty text to zero."""

    def __init__(self, channels: int = 128) -> None:
        if channels < 1:
            raise ValueError(f"HashedNgramEmbedder.channels must be at least 1, got {channels}")
        self.name, self.channels = f"hashed-ngram:{channels}", channels

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return hashed_ngrams(texts, self.channels)


class SentenceTransformerEmbedder:
    """A sentence-transformers model by hub name or folder.

    Raises:
        ModuleNotFoundError: The `text` extra is not installed.
    """

    def __init__(self, model_name: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"text embedder {model_name!r} needs the 'text' extra: pip install -c constraints.txt -e '.[text]', "
                f"or keep the default 'hashed-ngram:128'"
            ) from error
        self._model = SentenceTransformer(model_name, device="cpu")
        self.name = SENTENCE_TRANSFORMER_PREFIX + model_name
        self.channels = int(self._model.get_embedding_dimension() or 0)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._model.encode(list(texts), batch_size=256, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.channels)


def text_embedder(name: str) -> TextEmbedder:
    """Returns the embedder of that name: 'hashed-ngram:CHANNELS' or 'sentence-transformers:MODEL'.

    Raises:
        ValueError: There is no such embedder.
    """
    kind, _, argument = name.partition(":")
    if kind == "hashed-ngram" and argument.isdecimal():
        return HashedNgramEmbedder(int(argument))
    if name.startswith(SENTENCE_TRANSFORMER_PREFIX) and argument:
        return SentenceTransformerEmbedder(argument)
    raise ValueError(f"unknown text embedder {name!r}; use 'hashed-ngram:128' or 'sentence-transformers:MODEL'")


class KeptTexts:
    """Embeds texts, or finds their vectors in a folder, where each file is whole or not there.

    Args:
        embedder: The embedder.
        folder: Where vectors are kept; None keeps nothing.
    """

    def __init__(self, embedder: TextEmbedder, folder: Path | None) -> None:
        self.embedder, self.folder = embedder, folder

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns float32 [texts, channels]."""
        if self.folder is None:
            return self.embedder.embed(texts)
        path = self.folder / f"{self._digest(texts)}.npy"
        try:
            return np.asarray(np.load(path))
        except FileNotFoundError:
            pass
        begun = time.perf_counter()
        vectors = self.embedder.embed(texts)
        if time.perf_counter() - begun >= WORTH_KEEPING_S:
            self._keep(path, vectors)
        return vectors

    def _digest(self, texts: Sequence[str]) -> str:
        digest = hashlib.sha256(f"{self.embedder.name}\0{len(texts)}\0".encode())
        for text in texts:
            data = text.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()

    def _keep(self, path: Path, vectors: NDArray[np.float32]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:12]}.partial")  # another process may embed the same
        try:
            with partial.open("wb") as file:
                np.save(file, vectors)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def chunks_of(num_texts: int) -> Iterator[tuple[int, int]]:
    """Yields (begin, end) of chunks of texts; the same texts come in the same chunks in every run."""
    for begin in range(0, num_texts, CHUNK_TEXTS):
        yield begin, min(begin + CHUNK_TEXTS, num_texts)
