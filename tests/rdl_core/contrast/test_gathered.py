"""Gathered negatives against loops over all rows of a step; several workers are in test_communicator.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rdl_core.batches.pretraining_batch import collate
from rdl_core.batches.row_identity import RowIdentity
from rdl_core.config import CorruptionConfig, HGSamplingConfig
from rdl_core.contrast import gathered_terms as loss_step_terms
from rdl_core.contrast.levels import ThreeLevelLoss
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from tests.rdl_core.contrast.test_levels import (
    CHANNELS,
    EDGE_TYPES,
    EYE,
    FORMS,
    KEY,
    NODE_TYPES,
    Batch,
    Oracle,
    config,
    gradients,
    leaves,
    scaled_term,
    small,
)

ROWS = {"races": 4, "results.v2": 9, "drivers": 6, "empty": 0, "lone": 5}
FIELDS = ("row_form", "link_matrix", "skip_edge_type_without_negative", "context_form", "context_bias")


def step(seed: int, num_samples: int, *, with_targets: bool) -> Batch:
    """Samples of one small database, so that most rows are in several of them; all links between rows of a sample."""
    random = np.random.default_rng(seed)
    parent_of = {e: random.integers(-1, ROWS[e[2]], ROWS[e[0]]) for e in EDGE_TYPES}
    rows = {
        t: [random.permutation(n)[: random.integers(0, n + 1)] for _ in range(num_samples)] for t, n in ROWS.items()
    }
    first = {t: np.concatenate([[0], np.cumsum([len(r) for r in x])]) for t, x in rows.items()}
    links = {}
    for edge_type in EDGE_TYPES:
        child, _, parent = edge_type
        found = [
            (first[child][s] + c, first[parent][s] + p)
            for s in range(num_samples)
            for c, child_row in enumerate(rows[child][s])
            for p, parent_row in enumerate(rows[parent][s])
            if parent_of[edge_type][child_row] == parent_row
        ]
        links[edge_type] = torch.tensor(found, dtype=torch.int64).reshape(-1, 2).T
    whole = {t: np.concatenate(x).astype(np.int64) for t, x in rows.items()}
    views = [
        {t: torch.from_numpy(random.normal(size=(len(r), CHANNELS))).requires_grad_() for t, r in whole.items()}
        for _ in range(2)
    ]
    return {
        "h_dict": views[0],
        "h_corrupted_dict": views[1],
        "links_dict": links,
        "target_dict": {e: torch.from_numpy(random.random(x.size(1)) < 0.6) for e, x in links.items()}
        if with_targets
        else None,
        "sample_dict": {t: torch.arange(num_samples).repeat_interleave(torch.tensor([len(r) for r in x])) for t, x in rows.items()},
        "rank_dict": {t: torch.zeros(len(r), dtype=torch.int64) for t, r in whole.items()},
        "num_samples": num_samples,
        "identity": RowIdentity(
            row={t: torch.from_numpy(r) for t, r in whole.items()},
            parent={e: torch.from_numpy(parent_of[e][whole[e[0]]].astype(np.int64)) for e in EDGE_TYPES},
            draw={t: torch.from_numpy(random.permutation(len(r)).astype(np.int64)) for t, r in whole.items()},
        ),
    }  # fmt: skip


class StepOracle(Oracle):
    """Negatives are all rows of the step that are not the anchor's own row or linked to it in the database."""

    def __init__(self, loss: ThreeLevelLoss, batch: Batch) -> None:
        super().__init__(loss, batch)
        identity = batch["identity"]
        self.rows = {t: x.tolist() for t, x in identity.row.items()}
        self.draw = {t: x.tolist() for t, x in identity.draw.items()}
        self.parent = {e: x.tolist() for e, x in identity.parent.items()}

    def others(self, table: str, v: int) -> list[int]:
        rows = self.rows[table]
        return [u for u in range(len(rows)) if rows[u] != rows[v]]

    def kept(self, table: str, rows: list[int]) -> list[int]:
        return sorted(rows, key=lambda row: self.draw[table][row])[: self.config.max_negatives]

    def row(self) -> Iterator[Tensor]:
        for table in NODE_TYPES:
            for v in range(len(self.rows[table])):
                negatives = self.kept(table, self.others(table, v))
                if negatives:
                    yield scaled_term(self.row_logit(table, v, v), [self.row_logit(table, v, u) for u in negatives])

    def context(self) -> Iterator[Tensor]:
        for table in NODE_TYPES:
            c = [self.context_vector(table, v) for v in range(len(self.h[table]))]
            for v, c_v in enumerate(c):
                negatives = self.kept(table, [u for u in self.others(table, v) if c[u] is not None])
                if c_v is not None and negatives:
                    yield scaled_term(c_v @ self.h[table][v], [c[u] @ self.h[table][v] for u in negatives])

    def link(self) -> Iterator[Tensor]:
        shared = self.config.link_matrix == "shared"
        for edge_type in EDGE_TYPES:
            child, _, parent = edge_type
            for to_parent in (True, False):
                u_type, v_type = (child, parent) if to_parent else (parent, child)
                name = "shared" if shared else "child->parent" if to_parent else "parent->child"
                w = self.owned["link", *edge_type, name]
                w = w.T if shared and not to_parent else w
                inputs, skipped = [], set()
                for (c, p), is_target in zip(self.links[edge_type], self.targets[edge_type], strict=True):
                    u, v = (c, p) if to_parent else (p, c)
                    negatives = [
                        r for r in range(len(self.rows[u_type])) if not self.linked(edge_type, r, v, to_parent)
                    ]
                    if u_type == v_type:
                        negatives = [r for r in negatives if self.rows[u_type][r] != self.rows[v_type][v]]
                    sample = int(self.batch["sample_dict"][v_type][v])
                    if is_target:
                        inputs.append((sample, u, v, self.kept(u_type, negatives)))
                        if not negatives and self.config.skip_edge_type_without_negative:
                            skipped.add(sample)
                for sample, u, v, negatives in inputs:
                    if negatives and sample not in skipped:
                        logits = [self.h[u_type][r] @ w @ self.h[v_type][v] for r in [u, *negatives]]
                        yield scaled_term(logits[0], logits[1:])

    def linked(self, edge_type: tuple[str, str, str], u: int, v: int, to_parent: bool) -> bool:
        c, p = (u, v) if to_parent else (v, u)
        return self.parent[edge_type][c] == self.rows[edge_type[2]][p]


@pytest.mark.parametrize("form", FORMS[::7], ids=str)
def test_equals_the_loops_in_value_and_gradient(form: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for num_samples, max_negatives, with_targets, chunk in ((3, 3, True, 8), (4, 256, False, 4096)):
        monkeypatch.setattr(loss_step_terms, "CHUNK_LOGITS", chunk)
        torch.manual_seed(num_samples)
        changes = dict(zip(FIELDS, form, strict=True)) | {"max_negatives": max_negatives, "negatives": "gathered"}
        loss = ThreeLevelLoss(NODE_TYPES, EDGE_TYPES, CHANNELS, config(**changes)).double()
        for bias in loss.context_biases:
            torch.nn.init.normal_(bias)
        batch = step(FORMS.index(form) * 4 + num_samples, num_samples, with_targets=with_targets)
        found, oracle = loss(**batch), StepOracle(loss, batch)
        for level, terms in (("row", oracle.row()), ("link", oracle.link()), ("context", oracle.context())):
            expected = list(terms)
            total = torch.stack(expected).sum() if expected else torch.zeros((), dtype=torch.float64)
            assert int(found[level].count) == len(expected)
            torch.testing.assert_close(found[level].total, total, rtol=1e-10, atol=1e-10)
            inputs = leaves(loss, batch)
            both = zip(gradients(found[level].total, inputs), gradients(total, inputs), strict=True)
            for gradient, expected_gradient in both:
                torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-10)


def test_a_copy_of_the_row_and_a_link_that_no_sample_holds_are_no_negatives() -> None:
    # Child 7 is in both samples; its parent 5 is in sample 1 only, which child 8 of the same parent is in.
    loss, batch = small({"child": EYE, "parent": EYE[:2]}, {KEY: [(2, 1)]}, negatives="gathered")
    batch |= {
        "sample_dict": {"child": torch.tensor([0, 0, 1]), "parent": torch.tensor([0, 1])},
        "num_samples": 2,
        "identity": RowIdentity(
            row={"child": torch.tensor([7, 3, 7]), "parent": torch.tensor([4, 5])},
            parent={KEY: torch.tensor([5, -1, 5])},
            draw={"child": torch.arange(3), "parent": torch.arange(2)},
        ),
    }
    found = loss(**batch)
    # Rows: children 7 and 7 have child 3 each, child 3 has both; the parents have each other. Links: one, with one negative each way.
    assert (found["row"].count, found["link"].count, found["context"].count) == (5, 2, 0)
    to_parent, to_child = (
        [1.0, 0.0],
        [0.0, 0.0],
    )  # logits of parent 5 = e_1 with child 7 = e_2: 0; with its one negative, child 3 = e_1: 1
    expected = sum(float(torch.tensor(x).logsumexp(0)) - x[1] for x in (to_parent, to_child)) / np.log(2)
    assert found["link"].total.item() == pytest.approx(expected, rel=1e-6)


def test_one_sample_of_a_store_has_the_same_loss_gathered_or_not(nasty_store: Store) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6),
        seed=1,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    graph, tables = nasty_store.graph, list(nasty_store.schema.tables)
    loss = ThreeLevelLoss(tables, graph.edge_types, CHANNELS, config()).double()
    both = []
    for negatives in ("within_sample", "gathered"):
        loss.config = dataclasses.replace(loss.config, negatives=negatives)
        batch = collate(
            sampler.sample(0, [1]), [(0, 1)], graph, nasty_store.features, CorruptionConfig(), seed=0,
            with_identity=negatives == "gathered",
        )  # fmt: skip
        random = torch.Generator().manual_seed(3)
        views = [
            {t: torch.randn(len(batch.sample[t]), CHANNELS, dtype=torch.float64, generator=random) for t in tables}
            for _ in range(2)
        ]
        both.append(loss(*views, batch.links, None, batch.sample, batch.rank, 1, batch.identity))
    for level, one in both[0].items():
        assert int(one.count) == int(both[1][level].count) > 0
        torch.testing.assert_close(one.total, both[1][level].total, rtol=1e-12, atol=0)


def test_draws_belong_to_the_sample_and_parents_to_the_database(nasty_store: Store) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6),
        seed=1,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    cursors = [(0, 1), (2, 0)]
    subgraphs = [sampler.sample(e, [s])[0] for e, s in cursors]

    def identity(which: list[int]) -> RowIdentity:
        batch = collate(
            [subgraphs[i] for i in which], [cursors[i] for i in which], nasty_store.graph, nasty_store.features,
            CorruptionConfig(), seed=5, with_identity=True,
        )  # fmt: skip
        assert batch.identity is not None
        return batch.identity

    joined, parts = identity([0, 1]), [identity([0]), identity([1])]
    unlinked = 0
    for table, draw in joined.draw.items():
        assert torch.equal(draw, torch.cat([p.draw[table] for p in parts]))
        assert len(draw.unique()) == len(draw)
        assert joined.row[table].tolist() == [row for s in subgraphs for row in s.rows[table].tolist()]
    for edge_type, parent in joined.parent.items():
        assert np.array_equal(parent, nasty_store.graph.key_parent(edge_type)[joined.row[edge_type[0]]])
        unlinked += int((parent >= 0).sum()) - sum(s.num_links[edge_type] for s in subgraphs)
    assert unlinked > 0, "no parent outside its child's sample: nothing that only the database knows"


def test_what_is_missing_or_wrong_is_named() -> None:
    loss, batch = small({"child": EYE, "parent": EYE}, {KEY: [(0, 0), (1, 1)]}, negatives="gathered")
    identity = RowIdentity(
        row={"child": torch.arange(3), "parent": torch.arange(3)},
        parent={KEY: torch.tensor([0, 2, -1])},
        draw={"child": torch.arange(3), "parent": torch.arange(3)},
    )
    for wrong, message in (
        (None, r"collate\(..., with_identity=True\)"),
        (identity, "link 1 leads to row 1 of 'parent', and identity says 2"),
        (dataclasses.replace(identity, draw={**identity.draw, "parent": torch.arange(2)}), r"'parent'\]: expected 3 rows everywhere, got \[3, 2\]"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            loss(**batch, identity=wrong)
