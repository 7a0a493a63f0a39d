"""Embedders, which turn text columns into vectors, once per distinct string.

Promises: an embedder is deterministic and needs nothing of the database, so it cannot leak. The default, hashed character n-grams, needs no
download and no fitting; a sentence-transformers model is used by name when the `text` extra is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SENTENCE_TRANSFORMER_PREFIX = "sentence-transformers:"


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
        from sklearn.feature_extraction.text import HashingVectorizer  # a second, which samplers need not spend

        self.name, self.channels = f"hashed-ngram:{channels}", channels
        self._vectorizer = HashingVectorizer(
            n_features=channels, analyzer="char_wb", ngram_range=(2, 4), norm="l2", dtype=np.float32
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.channels), dtype=np.float32)
        return self._vectorizer.transform(texts).toarray().astype(np.float32, copy=False)


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
