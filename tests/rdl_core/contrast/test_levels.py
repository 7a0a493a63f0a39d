"""The three contrastive levels against loops written from Eq. 1-6, numbers worked by hand, and the edge cases."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rdl_core.batches.sample_layout import sample_layout
from rdl_core.config import LossConfig
from rdl_core.contrast import LossSum, ThreeLevelLoss, levels
from rdl_core.kernels.info_nce import info_nce_reference

NODE_TYPES = ["races", "results.v2", "drivers", "empty", "lone"]
EDGE_TYPES = [
    ("results.v2", "race.Id", "races"),
    ("results.v2", "driver 1", "drivers"),  # two keys to one table
    ("results.v2", "driver 2", "drivers"),
    ("drivers", "mentor", "drivers"),  # a table that references itself, some rows themselves
    ("empty", "raceId", "races"),
]
CHANNELS = 4
Batch = dict[str, Any]


def config(**changes: Any) -> LossConfig:
    equations: dict[str, Any] = {
        "row_form": "equation",
        "link_matrix": "per_direction",
        "skip_edge_type_without_negative": False,
        "context_form": "neighbours",
        "context_bias": False,
        "initial_scale": 1.0,
    }
    return LossConfig(**equations | changes)


def random_batch(seed: int, num_samples: int, *, with_targets: bool, max_rows: int = 5) -> Batch:
    random = torch.Generator().manual_seed(seed)

    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=random))

    sizes = {table: [draw(max_rows + 1) for _ in range(num_samples)] for table in NODE_TYPES}
    sizes["empty"] = [0] * num_samples
    sizes["races"] = [1] * num_samples if seed % 3 == 0 else sizes["races"]
    links: dict[tuple[str, str, str], Tensor] = {}
    for edge_type in EDGE_TYPES:
        pairs, child_start, parent_start = [], 0, 0
        for num_children, num_parents in zip(sizes[edge_type[0]], sizes[edge_type[2]], strict=True):
            for child in range(num_children if num_parents else 0):
                if draw(4):
                    pairs.append((child_start + child, parent_start + draw(num_parents)))
            child_start, parent_start = child_start + num_children, parent_start + num_parents
        links[edge_type] = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T
    h, corrupted = (
        {t: torch.randn(sum(sizes[t]), CHANNELS, dtype=torch.float64, generator=random) for t in NODE_TYPES}
        for _ in range(2)
    )
    targets = {e: torch.rand(pairs.size(1), generator=random) < 0.6 for e, pairs in links.items()}
    return {
        "h": {t: x.requires_grad_() for t, x in h.items()},
        "h_corrupted": {t: x.requires_grad_() for t, x in corrupted.items()},
        "links": links,
        "targets": targets if with_targets else None,
        "sample": {t: torch.arange(num_samples).repeat_interleave(torch.tensor(n)) for t, n in sizes.items()},
        "rank": {
            t: torch.tensor([r for k in n for r in torch.randperm(k, generator=random).tolist()], dtype=torch.int64)
            for t, n in sizes.items()
        },
        "num_samples": num_samples,
    }


def losses(
    loss: ThreeLevelLoss, *, h: dict[str, Tensor], h_corrupted: dict[str, Tensor], **batch: Any
) -> dict[str, LossSum]:
    return loss(h, h_corrupted, sample_layout(**batch, config=loss.config))


def scaled_term(positive: Tensor, negatives: list[Tensor]) -> Tensor:
    return -torch.log(positive.exp() / sum(n.exp() for n in [positive, *negatives])) / math.log(len(negatives) + 1)


class Oracle:
    """The levels as loops over rows and links; parameters are in the order of tables and keys."""

    def __init__(self, loss: ThreeLevelLoss, batch: Batch) -> None:
        self.config, self.batch = loss.config, batch
        directions = ("shared",) if self.config.link_matrix == "shared" else ("child->parent", "parent->child")
        keys = [("link", *edge_type, direction) for edge_type in EDGE_TYPES for direction in directions]
        linked = [("context", t) for t in NODE_TYPES if t != "lone"]
        self.owned: dict[tuple[str, ...], Tensor] = {
            **dict(zip((("row", t) for t in NODE_TYPES), loss.row.matrices, strict=True)),
            **dict(zip(keys, loss.link.matrices, strict=True)),
            **dict(zip(linked, loss.context.matrices, strict=True)),
            **dict(zip((("context_bias", t) for _, t in linked), loss.context.biases, strict=False)),
        }
        self.h, self.links = batch["h"], {e: x.T.tolist() for e, x in batch["links"].items()}
        self.targets = {
            e: [True] * len(pairs) if batch["targets"] is None else batch["targets"][e].tolist()
            for e, pairs in self.links.items()
        }

    def kept(self, table: str, rows: list[int]) -> list[int]:
        rank = self.batch["rank"][table].tolist()
        return sorted(rows, key=lambda row: rank[row])[: self.config.max_negatives]

    def same_sample(self, table: str, sample: int) -> list[int]:
        return [row for row, number in enumerate(self.batch["sample"][table].tolist()) if number == sample]

    def row_logit(self, table: str, v: int, u: int) -> Tensor:
        w, h, corrupted = self.owned["row", table], self.h[table][v], self.batch["h_corrupted"][table][u]
        return torch.dot(w @ corrupted, w @ h) if self.config.row_form == "code" else torch.dot(corrupted, w @ h)

    def row(self) -> Iterator[Tensor]:
        for table in NODE_TYPES:
            for v, sample in enumerate(self.batch["sample"][table].tolist()):
                negatives = self.kept(table, [u for u in self.same_sample(table, sample) if u != v])
                if negatives:
                    yield scaled_term(self.row_logit(table, v, v), [self.row_logit(table, v, u) for u in negatives])

    def link(self) -> Iterator[Tensor]:
        for edge_type in EDGE_TYPES:
            child, _, parent = edge_type
            for direction in ("child->parent", "parent->child"):
                u_type, v_type = (child, parent) if direction == "child->parent" else (parent, child)
                if self.config.link_matrix == "shared":
                    w = self.owned["link", *edge_type, "shared"]
                    w = w if direction == "child->parent" else w.T
                else:
                    w = self.owned["link", *edge_type, direction]
                pairs = [(c, p) if direction == "child->parent" else (p, c) for c, p in self.links[edge_type]]
                inputs, skipped = [], set()
                for (u, v), is_target in zip(pairs, self.targets[edge_type], strict=True):
                    sample = int(self.batch["sample"][v_type][v])
                    rows = [r for r in self.same_sample(u_type, sample) if (r, v) not in pairs]
                    negatives = self.kept(u_type, [r for r in rows if u_type != v_type or r != v])
                    if is_target:
                        inputs.append((sample, u, v, negatives))
                        if not negatives and self.config.skip_edge_type_without_negative:
                            skipped.add(sample)
                for sample, u, v, negatives in inputs:
                    if negatives and sample not in skipped:
                        logits = [self.h[u_type][row] @ w @ self.h[v_type][v] for row in [u, *negatives]]
                        yield scaled_term(logits[0], logits[1:])

    def context_vector(self, table: str, v: int) -> Tensor | None:
        by_type = []
        for edge_type in EDGE_TYPES:
            for u_end, v_end in ((0, 1), (1, 0)):
                u_type, v_type = edge_type[2 * u_end], edge_type[2 * v_end]
                w, b = self.owned["context", u_type], self.owned.get(("context_bias", u_type), 0.0)
                pairs = [
                    pair for pair, used in zip(self.links[edge_type], self.targets[edge_type], strict=True) if used
                ]
                found = [self.h[u_type][p[u_end]] @ w + b for p in pairs if v_type == table and p[v_end] == v]
                if found:
                    by_type.append(torch.stack(found))
        if not by_type:
            return None
        if self.config.context_form == "neighbours":
            return torch.cat(by_type).mean(dim=0)
        return torch.stack([z.mean(dim=0) for z in by_type]).mean(dim=0)

    def context(self) -> Iterator[Tensor]:
        for table in NODE_TYPES:
            c = [self.context_vector(table, v) for v in range(len(self.h[table]))]
            for v, c_v in enumerate(c):
                rows = self.same_sample(table, int(self.batch["sample"][table][v]))
                negatives = self.kept(table, [u for u in rows if u != v and c[u] is not None])
                if c_v is not None and negatives:
                    yield scaled_term(c_v @ self.h[table][v], [c[u] @ self.h[table][v] for u in negatives])


def leaves(loss: ThreeLevelLoss, batch: Batch) -> list[Tensor]:
    return [*loss.parameters(), *batch["h"].values(), *batch["h_corrupted"].values()]


def gradients(total: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    if not total.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    return list(torch.autograd.grad(total, inputs, retain_graph=True, materialize_grads=True))


FORMS = list(
    product(
        ("equation", "code"), ("per_direction", "shared"), (False, True), ("neighbours", "edge_types"), (False, True)
    )
)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_equals_the_loops_in_value_and_gradient(form: tuple[Any, ...]) -> None:
    fields = ("row_form", "link_matrix", "skip_edge_type_without_negative", "context_form", "context_bias")
    for num_samples, max_negatives, with_targets in ((1, 256, False), (3, 2, True), (4, 3, False), (2, 256, True)):
        torch.manual_seed(num_samples)
        changes = dict(zip(fields, form, strict=True))
        loss = ThreeLevelLoss(NODE_TYPES, EDGE_TYPES, CHANNELS, config(max_negatives=max_negatives, **changes)).double()
        for bias in loss.context.biases:
            torch.nn.init.normal_(bias)
        batch = random_batch(FORMS.index(form) * 4 + num_samples, num_samples, with_targets=with_targets)
        found = losses(loss, **batch)
        oracle = Oracle(loss, batch)
        for level, terms in (("row", oracle.row()), ("link", oracle.link()), ("context", oracle.context())):
            expected = list(terms)
            total = torch.stack(expected).sum() if expected else torch.zeros((), dtype=torch.float64)
            assert int(found[level].count) == len(expected)
            torch.testing.assert_close(found[level].total, total, rtol=1e-10, atol=1e-10)
            inputs = leaves(loss, batch)
            both = zip(gradients(found[level].total, inputs), gradients(total, inputs), strict=True)
            for gradient, expected_gradient in both:
                torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS[::9], ids=str)
@pytest.mark.parametrize("num_samples", [1, 3])
def test_the_kernel_equals_the_reference_and_float32_equals_float64(
    num_samples: int, form: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = ("row_form", "link_matrix", "skip_edge_type_without_negative", "context_form", "context_bias")
    torch.manual_seed(0)
    loss = ThreeLevelLoss(
        NODE_TYPES, EDGE_TYPES, CHANNELS, config(**dict(zip(fields, form, strict=True)), max_negatives=20)
    )

    def value_and_gradients(batch: Batch) -> list[Tensor]:
        sums = losses(loss, **batch)
        total = torch.stack([level.total for level in sums.values()]).sum()
        counts = torch.stack([level.count for level in sums.values()])
        return [total.detach(), counts, *gradients(total, leaves(loss, batch))]

    for seed, max_rows in ((5, 5), (6, 40)):
        loss.double()
        batch = random_batch(seed, num_samples, with_targets=True, max_rows=max_rows)
        fused = value_and_gradients(batch)
        with monkeypatch.context() as patch:
            patch.setattr(levels, "info_nce", info_nce_reference)
            for one, other in zip(fused, value_and_gradients(batch), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
        loss.float()
        for view in ("h", "h_corrupted"):
            batch[view] = {t: x.detach().float().requires_grad_() for t, x in batch[view].items()}
        for one, other in zip(value_and_gradients(batch), fused, strict=True):
            size = max(1.0, float(other.abs().sum() / max(1, other.numel())))
            torch.testing.assert_close(one.to(other.dtype), other, rtol=1e-4, atol=1e-5 * size)


def small(
    h: dict[str, Tensor], edges: dict[tuple[str, str, str], list[tuple[int, int]]], **changes: Any
) -> tuple[ThreeLevelLoss, Batch]:
    """One sample, every matrix the identity, both views alike, rank = row number."""
    loss = ThreeLevelLoss(list(h), list(edges), next(iter(h.values())).size(1), config(**changes)).to(torch.float64)
    for name, parameter in loss.named_parameters():
        if "matrices" in name:
            parameter.data = torch.eye(loss.channels, dtype=torch.float64)
    batch = {
        "h": h,
        "h_corrupted": h,
        "links": {e: torch.tensor(x, dtype=torch.int64).reshape(-1, 2).T for e, x in edges.items()},
        "targets": None,
        "sample": {t: torch.zeros(len(x), dtype=torch.int64) for t, x in h.items()},
        "rank": {t: torch.arange(len(x)) for t, x in h.items()},
        "num_samples": 1,
    }
    return loss, batch


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


EYE = torch.eye(3, dtype=torch.float64)
KEY = ("child", "key", "parent")
# exp(logits[v, u]): row v, candidate u. Shares of the positives: 2/4, 6/10, 5/10.
WEIGHTS = logs([2, 1, 1], [1, 6, 3], [1, 4, 5])


def test_row_level_by_hand() -> None:
    loss, batch = small({"t": EYE}, {})
    batch["h_corrupted"] = {"t": WEIGHTS.T}  # h_v = e_v, so logits[v, u] = h_corrupted[u][v]
    expected = (math.log(4 / 2) + math.log(10 / 6) + math.log(10 / 5)) / math.log(3)
    assert losses(loss, **batch)["row"].total.item() == pytest.approx(expected, rel=1e-12)
    loss.row.matrices[0].data = EYE.roll(1, dims=1)  # W e_v = e_(v-1): the transpose would give e_(v+1)
    batch["h_corrupted"] = {"t": WEIGHTS.T.roll(-1, dims=1)}  # h_corrupted[u][v-1] = logits[v, u]
    assert losses(loss, **batch)["row"].total.item() == pytest.approx(expected, rel=1e-12)
    code, _ = small({"t": EYE}, {}, row_form="code")
    code.row.matrices[0].data = 2 * EYE  # (2 h_corrupted) . (2 h)
    batch["h_corrupted"] = {"t": WEIGHTS.T / 4}
    assert losses(code, **batch)["row"].total.item() == pytest.approx(expected, rel=1e-12)


def test_link_level_by_hand() -> None:
    # exp(logits) of child c (row) and parent p (column); c0 and c1 link to p0, c2 to p2.
    loss, batch = small(
        {"child": logs([3, 1, 2], [5, 1, 4], [1, 1, 6]), "parent": EYE}, {KEY: [(0, 0), (1, 0), (2, 2)]}
    )
    to_parent = (math.log(4 / 3) + math.log(6 / 5)) / math.log(2) + math.log(12 / 6) / math.log(3)
    to_child = (math.log(6 / 3) + math.log(10 / 5) + math.log(8 / 6)) / math.log(3)
    found = losses(loss, **batch)["link"]
    assert found.total.item() == pytest.approx(to_parent + to_child, rel=1e-12)
    assert found.count == 6
    # Only c0 -> p0 is a target: c1 is still no negative of p0.
    batch["targets"] = {KEY: torch.tensor([True, False, False])}
    expected = math.log(4 / 3) / math.log(2) + math.log(6 / 3) / math.log(3)
    assert losses(loss, **batch)["link"].total.item() == pytest.approx(expected, rel=1e-12)


def test_context_level_by_hand() -> None:
    # c of p0 is the mean of 2 log [4, 1, 1] and 0. Shares: p0 4 of 4+2+2, p1 3 of 1+3+1, p2 2 of 1+1+2.
    children = torch.cat([2 * logs([4, 1, 1]), logs([1, 1, 1], [2, 3, 1], [2, 1, 2])])
    loss, batch = small({"child": children, "parent": EYE}, {KEY: [(0, 0), (1, 0), (2, 1), (3, 2)]})
    loss.context.matrices[1].data.zero_()  # so the four children see equal contexts: chance, 1.0 each
    found = losses(loss, **batch)["context"]
    expected = (math.log(8 / 4) + math.log(5 / 3) + math.log(4 / 2)) / math.log(3) + 4.0
    assert found.total.item() == pytest.approx(expected, rel=1e-12)
    assert found.count == 7


def test_max_negatives_keeps_the_smallest_ranks() -> None:
    loss, batch = small({"t": EYE}, {}, max_negatives=1)
    batch["h_corrupted"] = {"t": WEIGHTS.T}
    batch["rank"] = {"t": torch.tensor([2, 0, 1])}  # row 1 first, then 2: anchors 0, 1, 2 keep 1, 2, 1
    expected = (math.log(3 / 2) + math.log(9 / 6) + math.log(9 / 5)) / math.log(2)
    assert losses(loss, **batch)["row"].total.item() == pytest.approx(expected, rel=1e-12)


def test_no_negative_or_no_neighbour_leaves_sum_and_count() -> None:
    loss, batch = small({"child": EYE, "parent": EYE}, {KEY: [(0, 0), (1, 0), (2, 0)]})
    found = losses(
        loss, **batch
    )  # p0 has every child: only parent -> child has negatives, and only p0 has a child context
    assert (found["link"].count, found["context"].count) == (3, 3)
    batch["sample"] = {"child": torch.tensor([0, 0, 0]), "parent": torch.tensor([0, 1, 1])}
    batch["rank"] = {"child": torch.arange(3), "parent": torch.tensor([0, 0, 1])}
    assert losses(loss, **batch | {"num_samples": 2})["link"].count == 0  # p1 and p2 are in another sample
    own = ("t", "boss", "t")
    for num_rows, count in ((3, 2), (2, 0)):  # 0 -> 1: only row 2 can be a negative, never the anchor itself
        loss, batch = small({"t": EYE[:num_rows]}, {own: [(0, 1)]})
        found = losses(loss, **batch)["link"]
        assert found.count == count and (found.total.item() > 0) == (count > 0)


@pytest.mark.parametrize(("skip", "count", "count_of_target"), [(False, 8, 2), (True, 7, 2)])
def test_skip_is_per_sample_and_direction(skip: bool, count: int, count_of_target: int) -> None:
    # Sample 0: row 0 is the parent of 1 and 2 (no negative is left), row 1 the parent of 0 (negative: row 2).
    # Sample 1: rows 3 and 4 are parents of each other, row 5 is the negative of both.
    own = ("t", "boss", "t")
    links = [(1, 0), (2, 0), (0, 1), (3, 4), (4, 3)]
    loss, batch = small({"t": torch.cat([EYE, EYE])}, {own: links}, skip_edge_type_without_negative=skip)
    batch |= {"sample": {"t": torch.tensor([0, 0, 0, 1, 1, 1])}, "rank": {"t": torch.arange(6) % 3}, "num_samples": 2}
    assert losses(loss, **batch)["link"].count == count
    batch["targets"] = {own: torch.tensor([False, False, True, False, False])}  # row 0 is no anchor of an input
    assert losses(loss, **batch)["link"].count == count_of_target


@pytest.mark.parametrize("with_targets", [False, True])
def test_sum_of_a_union_is_the_sum_of_its_parts(with_targets: bool) -> None:
    loss = ThreeLevelLoss(NODE_TYPES, EDGE_TYPES, CHANNELS, config(max_negatives=3)).double()
    parts = [random_batch(seed, seed % 3 + 1, with_targets=with_targets, max_rows=7) for seed in (4, 5)]
    a, b = parts
    union: Batch = {name: {t: torch.cat([a[name][t], b[name][t]]) for t in NODE_TYPES} for name in a if name[0] == "h"}
    union["rank"] = {t: torch.cat([a["rank"][t], b["rank"][t]]) for t in NODE_TYPES}
    samples = {t: (a["sample"][t], b["sample"][t] + a["num_samples"]) for t in NODE_TYPES}
    union["sample"] = {t: torch.cat(both) for t, both in samples.items()}
    shifts = {e: torch.tensor([[len(a["h"][e[0]])], [len(a["h"][e[2]])]]) for e in EDGE_TYPES}
    union["links"] = {e: torch.cat([a["links"][e], b["links"][e] + shifts[e]], 1) for e in EDGE_TYPES}
    targets = {e: torch.cat([a["targets"][e], b["targets"][e]]) for e in EDGE_TYPES} if with_targets else None
    found = losses(loss, **union, targets=targets, num_samples=a["num_samples"] + b["num_samples"])
    first, second = (losses(loss, **part) for part in parts)
    for level, one in found.items():
        both = LossSum(first[level].total + second[level].total, first[level].count + second[level].count)
        assert one.count == both.count and one.count > 0
        inputs = list(loss.parameters())
        pairs = zip(
            [one.total, *gradients(one.total, inputs)], [both.total, *gradients(both.total, inputs)], strict=True
        )
        for got, expected in pairs:
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_batch_without_rows_is_zero_and_every_parameter_gets_a_gradient() -> None:
    for num_samples in (1, 3):
        loss = ThreeLevelLoss(NODE_TYPES, EDGE_TYPES, CHANNELS, config(context_bias=True)).double()
        found = losses(loss, **random_batch(1, num_samples, with_targets=True, max_rows=0))
        assert [int(level.count) for level in found.values()] == [0, 0, 0]
        total = found["row"].mean + found["link"].mean + found["context"].mean
        assert total.item() == 0.0
        total.backward()
        missing = [name for name, p in loss.named_parameters() if p.grad is None or p.grad.abs().sum() != 0]
        assert missing == []


def test_mean_divides_by_the_count_once() -> None:
    total = torch.tensor(6.0)
    assert LossSum(total, torch.tensor(4)).mean == 1.5
    assert LossSum(torch.tensor(0.0), torch.tensor(0)).mean == 0.0


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_large_logits_neither_overflow_nor_lose_the_gradient(size: float) -> None:
    loss, batch = small({"child": EYE[:2] * 100, "parent": EYE[:2] * size / 100}, {KEY: [(0, 0), (1, 1)]})
    loss = loss.float()
    batch["h"] = {t: x.float().requires_grad_() for t, x in batch["h"].items()}
    batch["h_corrupted"] = batch["h"]
    found = losses(loss, **batch)["link"]
    assert found.mean.item() == pytest.approx(max(0.0, -size) / math.log(2), rel=1e-6)
    (gradient,) = torch.autograd.grad(found.total, batch["h"]["child"])
    expected = -2 * batch["h"]["parent"] / math.log(2) if size < 0 else torch.zeros(2, 3)
    flipped = expected - expected.flip(0)  # push the positive up and the one negative down
    torch.testing.assert_close(gradient, flipped.detach(), rtol=1e-5, atol=1e-6)


def test_no_nan_on_the_way_back() -> None:
    loss = ThreeLevelLoss(NODE_TYPES, EDGE_TYPES, CHANNELS, config()).double()
    with torch.autograd.set_detect_anomaly(True):  # raises at the first NaN, even one that a mask would hide later
        for seed in range(6):
            for level in losses(loss, **random_batch(seed, 3, with_targets=True)).values():
                level.mean.backward(retain_graph=True)


@pytest.mark.parametrize("row_form", ["equation", "code"])
def test_small_initial_scale_starts_at_chance(row_form: str) -> None:
    torch.manual_seed(0)
    h = {t: layer_norm(torch.randn(60, 64, dtype=torch.float64), (64,)) for t in ("child", "parent")}
    _, batch = small(h, {KEY: [(row, row // 3) for row in range(60)]})
    loss = ThreeLevelLoss(list(h), [KEY], 64, config(row_form=row_form, initial_scale=0.01)).double()
    means = {level: part.mean.item() for level, part in losses(loss, **batch).items()}
    assert means == pytest.approx({"row": 1.0, "link": 1.0, "context": 1.0}, abs=0.05)
    spread = torch.cat([p.detach().flatten() for p in loss.parameters()]).std()
    assert float(spread) == pytest.approx(0.01 / 8, rel=0.05)


def test_autocast_and_half_precision_rows() -> None:
    batch = random_batch(7, 2, with_targets=True)
    loss = ThreeLevelLoss(NODE_TYPES, EDGE_TYPES, CHANNELS, config(context_bias=True))
    for name in ("h", "h_corrupted"):
        batch[name] = {t: x.detach().bfloat16() for t, x in batch[name].items()}
    full = losses(loss, **batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = losses(loss, **batch)
    for level, part in low.items():
        assert part.total.dtype == torch.float32
        torch.testing.assert_close(part.mean, full[level].mean, rtol=0.05, atol=0.05)


def test_bad_batches_are_named() -> None:
    loss, batch = small({"child": EYE, "parent": EYE}, {KEY: [(0, 0), (1, 1), (2, 2)]})
    zeros = torch.zeros(3, dtype=torch.int64)
    bad_batches: list[tuple[Batch, str]] = [
        ({"h": {"child": EYE}}, r"h\['parent'\]: expected shape \[3, 3\] .* got no tensor"),
        (
            {"h_corrupted": {"child": EYE, "parent": EYE[:2]}},
            r"h_corrupted\['parent'\]: expected shape \[3, 3\]",
        ),
        ({"links": {KEY: torch.tensor([[0, 1], [0, 3]])}}, "child.key -> parent: link 1 .* parent row 3"),
        ({"sample": {"child": torch.tensor([0, 1, 0]), "parent": zeros}}, "'child'.: row 2 has .* 0 after 1"),
        ({"sample": {"child": torch.tensor([0, 0, 2]), "parent": zeros}}, "row 2 has .* 2 after 0; .* 0 to 1"),
        (
            {"sample": {"child": torch.tensor([0, 1, 1]), "parent": zeros}},
            "link 1 joins child row 1 to parent row 1",
        ),
        (
            {"rank": {"child": torch.tensor([0, 2, 2]), "parent": zeros}},
            r"rank\['child'\]: sample 0 has ranks \[0 2 2\]; expected 0 to 2, each once",
        ),
        (
            {"rank": {"child": torch.tensor([0, 3, 1]), "parent": zeros}},
            r"rank\['child'\]: sample 0 has ranks \[0 3 1\]; expected 0 to 2, each once",
        ),
    ]
    for changes, message in bad_batches:
        with pytest.raises(ValueError, match=message):
            losses(loss, **batch | {"num_samples": 2} | changes)
