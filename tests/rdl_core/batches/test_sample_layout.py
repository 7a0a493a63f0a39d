"""The layout of a batch: grids, negatives and weights, counted against loops; the losses themselves are in test_levels.py."""

from __future__ import annotations

import math

import pytest
import torch

from rdl_core.batches.sample_layout import sample_layout
from rdl_core.config import LossConfig, contrast, paper

KEY = ("child", "key", "parent")


def test_grids_pad_in_order_and_copy_only_when_they_must() -> None:
    sample = {"a": torch.tensor([0, 0, 2]), "none": torch.zeros(0, dtype=torch.int64)}
    rank = {"a": torch.tensor([1, 0, 0]), "none": sample["none"]}
    layout = sample_layout({}, None, sample, rank, 3, contrast().pretraining.loss)
    values = torch.tensor([[1.0], [2.0], [3.0]])
    assert layout.grids["a"].pad(values)[:, :, 0].tolist() == [[1, 2], [0, 0], [3, 0]]
    assert (layout.row["a"].rank < 2).tolist() == [[True, True], [False, False], [True, False]]
    assert layout.grids["none"].pad(values[:0]).shape == (3, 1, 1)
    assert (layout.row["none"].place.tolist(), layout.row["none"].count.item()) == ([], 0)
    zeros = torch.zeros_like(sample["a"])
    one = sample_layout({}, None, {"a": zeros}, {"a": torch.arange(3)}, 1, contrast().pretraining.loss).grids["a"]
    assert one.pad(values).data_ptr() == values.data_ptr()


@pytest.mark.parametrize("max_negatives", [1, 2, 5, 256, 1 << 40])
@pytest.mark.parametrize("parent", ["parent", "child"])
def test_negatives_and_weights_are_those_of_loops(parent: str, max_negatives: int) -> None:
    config = LossConfig(
        row_form="code", link_matrix="shared", skip_edge_type_without_negative=False, context_form="neighbours", context_bias=False,
        initial_scale=1.0, max_negatives=max_negatives,
    )  # fmt: skip
    random = torch.Generator().manual_seed(max_negatives)
    num_children, num_parents = 17, 6 if parent == "parent" else 17
    sizes = {"child": num_children, parent: num_parents}
    links = torch.stack([torch.arange(num_children), torch.randint(num_parents, (num_children,), generator=random)])
    links = links[:, torch.randperm(num_children, generator=random)[:11]]
    rank = {t: torch.randperm(n, generator=random) for t, n in sizes.items()}
    zeros = {t: torch.zeros(n, dtype=torch.int64) for t, n in sizes.items()}
    layout = sample_layout({("child", "key", parent): links}, None, zeros, rank, 1, config)
    joined = {tuple(pair) for pair in links.T.tolist()}
    for pairs, anchors, candidates, is_to_parent in zip(
        layout.link["child", "key", parent], (parent, "child"), ("child", parent), (True, False), strict=True
    ):
        is_negative = pairs.rank.unsqueeze(1) < pairs.bound.unsqueeze(2)
        is_negative.view(-1)[pairs.place] = False
        weights = torch.zeros(is_negative.shape, dtype=torch.float64)
        weights.view(-1)[pairs.place] = pairs.weight
        assert ((pairs.place // sizes[candidates]).diff() >= 0).all()
        for v in range(sizes[anchors]):
            linked = [u for u in range(sizes[candidates]) if ((u, v) if is_to_parent else (v, u)) in joined]
            others = [u for u in range(sizes[candidates]) if u not in linked and (anchors != candidates or u != v)]
            kept = sorted(others, key=lambda u: int(rank[candidates][u]))[:max_negatives]
            assert is_negative[0, v].nonzero()[:, 0].tolist() == sorted(kept)
            weight = 1 / math.log(len(kept) + 1) if kept else 0.0
            expected = [weight if u in linked else 0.0 for u in range(sizes[candidates])]
            assert weights[0, v].tolist() == pytest.approx(expected)
        assert pairs.count == (weights > 0).sum()


@pytest.mark.parametrize("form", ["neighbours", "edge_types"])
def test_contexts_are_means(form: str) -> None:
    base = paper().pretraining.loss
    config = LossConfig(**{**{n: getattr(base, n) for n in base.__dataclass_fields__}, "context_form": form})
    other = ("child", "other key", "parent")
    links = {KEY: torch.tensor([[0, 1, 2], [0, 0, 1]]), other: torch.tensor([[2], [0]])}
    sample = {"child": torch.zeros(4, dtype=torch.int64), "parent": torch.zeros(2, dtype=torch.int64)}
    layout = sample_layout(links, None, sample, {"child": torch.arange(4), "parent": torch.arange(2)}, 1, config)
    x = torch.tensor([[1.0], [2.0], [6.0], [9.0], [10.0], [20.0]])  # children, then parents
    for mean in layout.context_means:
        x = mean.sum_sources(x) / mean.degree
    first_parent = (1 + 2 + 6) / 3 if form == "neighbours" else ((1 + 2) / 2 + 6) / 2
    assert x[:, 0].tolist() == pytest.approx([10.0, 10.0, 15.0, 0.0, first_parent, 6.0])
    assert layout.context["child"].count == 3 and (layout.context["child"].rank < 4).sum() == 3
