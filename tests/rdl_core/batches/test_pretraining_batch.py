"""Batches of samples: two views, links and hidden links, ages, and randomness that belongs to the sample."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_frame import TensorFrame, stype

from rdl_core.batches.pretraining_batch import Cursor, PretrainingBatch, collate
from rdl_core.config import CorruptionConfig, HGSamplingConfig
from rdl_core.graph.reg import reverse
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.subgraph import Subgraph

CURSORS: list[Cursor] = [(0, 0), (0, 3), (2, 1)]
ROBUST = CorruptionConfig(probability=0.4, distribution="frequency", target_link_share=0.3, relative_time=True)


@pytest.fixture(scope="module")
def sampler(nasty_store: Store) -> HGSampling:
    config = HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=5)
    return HGSampling(nasty_store.graph, config, seed=0, before_s=nasty_store.schema.cutoff_s + 1)


def subgraphs(sampler: HGSampling, cursors: Sequence[Cursor]) -> list[Subgraph]:
    return [sampler.sample(epoch, [sample])[0] for epoch, sample in cursors]


def batch_of(
    store: Store, sampler: HGSampling, cursors: Sequence[Cursor], config: CorruptionConfig = ROBUST, *, seed: int = 7
) -> PretrainingBatch:
    samples = subgraphs(sampler, cursors)
    return collate(samples, cursors, store.graph, store.features, config, seed=seed)


def cells(frame: TensorFrame, rows: Tensor) -> dict[str, Tensor]:
    """Every block of these rows as plain tensors, by name."""
    found = {}
    for kind, block in frame[rows].feat_dict.items():
        if isinstance(block, Tensor):
            found[str(kind)] = block.nan_to_num(-12345.0) if block.is_floating_point() else block
        else:
            found[f"{kind} values"] = block.values
            if kind == stype.multicategorical:
                found[f"{kind} offset"] = block.offset
    return found


def assert_same_cells(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, block in one.items():
        assert torch.equal(block, other[name]), name


def test_the_clean_half_is_a_plain_gather(nasty_store: Store, sampler: HGSampling) -> None:
    batch = batch_of(nasty_store, sampler, CURSORS)
    for table, features in nasty_store.features.items():
        rows = np.concatenate([s.rows[table] for s in subgraphs(sampler, CURSORS)])
        frame = batch.frames[table]
        assert frame.num_rows == 2 * len(rows)
        everything = torch.arange(len(rows))
        assert_same_cells(cells(frame, everything), cells(features.gather(rows), everything))


@pytest.mark.parametrize("table", ["teams", "order_line", "match", "ticket"])
def test_without_corruption_both_views_are_equal(nasty_store: Store, sampler: HGSampling, table: str) -> None:
    frame = batch_of(nasty_store, sampler, CURSORS, CorruptionConfig(probability=0.0)).frames[table]
    rows = torch.arange(frame.num_rows // 2)
    assert_same_cells(cells(frame, rows), cells(frame, rows + len(rows)))


@pytest.mark.parametrize("probability", [0.2, 0.6])
@pytest.mark.parametrize("distribution", ["distinct", "frequency"])
def test_the_share_of_replaced_cells_is_near_p(
    nasty_store: Store, sampler: HGSampling, probability: float, distribution: str
) -> None:
    config = CorruptionConfig(probability=probability, distribution=distribution)
    cursors = [(epoch, sample) for epoch in range(40) for sample in range(4)]
    frame = batch_of(nasty_store, sampler, cursors, config).frames["teams"]
    height = frame.feat_dict[stype.numerical][:, 0]  # twelve teams, each of another height
    clean, corrupted = height.chunk(2)
    num_donors = len(nasty_store.features["teams"].donors(distribution)[1])
    expected = probability * (1 - 1 / num_donors)
    assert len(clean) > 1000
    assert (clean != corrupted).double().mean().item() == pytest.approx(expected, abs=0.04)


def test_corrupted_cells_hold_values_from_up_to_the_cutoff(nasty_store: Store, sampler: HGSampling) -> None:
    cursors = [(epoch, 0) for epoch in range(30)]
    for distribution in ("distinct", "frequency"):
        config = CorruptionConfig(probability=1.0, distribution=distribution)
        batch = batch_of(nasty_store, sampler, cursors, config)
        for table, kind in (("ticket", stype.numerical), ("match", stype.categorical), ("order", stype.timestamp)):
            visible = nasty_store.graph.table_time(table) <= nasty_store.schema.cutoff_s
            block = nasty_store.features[table].gather(np.flatnonzero(visible)).feat_dict[kind]
            drawn = batch.frames[table].feat_dict[kind][batch.frames[table].num_rows // 2 :]
            for column in range(block.shape[1]):
                known = {tuple(np.ravel(v)) for v in block[:, column].tolist()}
                assert {tuple(np.ravel(v)) for v in drawn[:, column].tolist()} <= known


def test_cells_of_a_row_are_corrupted_one_by_one(nasty_store: Store, sampler: HGSampling) -> None:
    frame = batch_of(nasty_store, sampler, [(e, s) for e in range(20) for s in range(4)]).frames["teams"]
    height, budget = (frame.feat_dict[stype.numerical][:, i] for i in range(2))
    changed = [(x[: len(x) // 2] != x[len(x) // 2 :]) for x in (height, budget)]
    assert (changed[0] != changed[1]).any()
    assert (changed[0] & changed[1]).any()


def test_links_and_ages_do_not_depend_on_corruption(nasty_store: Store, sampler: HGSampling) -> None:
    some, all_cells = (
        batch_of(
            nasty_store,
            sampler,
            CURSORS,
            CorruptionConfig(probability=p, target_link_share=0.3, relative_time=True),
        )
        for p in (0.0, 1.0)
    )
    assert some.age_days is not None
    assert all_cells.age_days is not None
    for edge_type in some.links:
        assert torch.equal(some.links[edge_type], all_cells.links[edge_type])
        assert torch.equal(some.edges[edge_type].edge_index, all_cells.edges[edge_type].edge_index)
    for table in some.age_days:
        assert torch.equal(some.age_days[table], all_cells.age_days[table])


@pytest.mark.parametrize("grouping", [[[0], [1], [2]], [[0, 1], [2]], [[2, 0, 1]], [[1, 2], [0]]])
def test_a_sample_is_the_same_bits_in_any_grouping(
    nasty_store: Store, sampler: HGSampling, grouping: list[list[int]]
) -> None:
    joined = batch_of(nasty_store, sampler, CURSORS)
    for group in grouping:
        batch = batch_of(nasty_store, sampler, [CURSORS[i] for i in group])
        assert joined.age_days is not None
        assert batch.age_days is not None
        assert joined.targets is not None
        assert batch.targets is not None
        for place, i in enumerate(group):
            for table, frame in joined.frames.items():
                mine, theirs = ((b.sample[table] == n).nonzero()[:, 0] for b, n in ((joined, i), (batch, place)))
                n, m = len(joined.sample[table]), len(batch.sample[table])
                assert_same_cells(
                    cells(frame, torch.cat([mine, mine + n])),
                    cells(batch.frames[table], torch.cat([theirs, theirs + m])),
                )
                assert torch.equal(joined.rank[table][mine], batch.rank[table][theirs])
                if table in joined.age_days:
                    assert torch.equal(joined.age_days[table][mine + n], batch.age_days[table][theirs + m])
                for view in range(2):
                    keys = joined.dropout_keys[table][mine + view * n], batch.dropout_keys[table][theirs + view * m]
                    assert torch.equal(*keys)
            for edge_type, links in joined.links.items():
                one, one_targets = of_sample(joined, edge_type, i, links, joined.targets[edge_type])
                other, other_targets = of_sample(
                    batch, edge_type, place, batch.links[edge_type], batch.targets[edge_type]
                )
                assert torch.equal(one, other)
                assert torch.equal(one_targets, other_targets)


def of_sample(
    batch: PretrainingBatch, edge_type: tuple[str, str, str], sample: int, links: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """(links of a sample as places within it, which are targets)."""
    mine = batch.sample[edge_type[0]][links[0]] == sample
    first = [int((batch.sample[t] < sample).sum()) for t in (edge_type[0], edge_type[2])]
    return links[:, mine] - torch.tensor(first).unsqueeze(1), targets[mine]


@pytest.mark.parametrize("change", ["seed", "epoch", "sample"])
def test_another_seed_epoch_or_sample_draws_otherwise(nasty_store: Store, sampler: HGSampling, change: str) -> None:
    subgraph = sampler.sample(0, [0])
    cursor, other = (1, 2), {"seed": (1, 2), "epoch": (2, 2), "sample": (1, 3)}[change]
    one, two = (
        collate(subgraph, [c], nasty_store.graph, nasty_store.features, ROBUST, seed=s)
        for c, s in ((cursor, 7), (other, 8 if change == "seed" else 7))
    )
    assert one.targets is not None
    assert two.targets is not None
    targets = [torch.cat(list(b.targets.values())) for b in (one, two) if b.targets is not None]
    assert not torch.equal(*targets)
    assert not torch.equal(torch.cat(list(one.rank.values())), torch.cat(list(two.rank.values())))
    assert not torch.equal(*(b.frames["order_line"].feat_dict[stype.categorical] for b in (one, two)))
    assert not (one.dropout_keys["match"] == two.dropout_keys["match"]).any()


def test_hidden_links_pass_no_message_and_all_others_pass_once_per_view(
    nasty_store: Store, sampler: HGSampling
) -> None:
    batch = batch_of(nasty_store, sampler, CURSORS)
    assert batch.targets is not None
    for edge_type, links in batch.links.items():
        children, parents = (len(batch.sample[edge_type[i]]) for i in (0, 2))
        seen: Counter[tuple[int, int]] = Counter()
        for (child, parent), hidden in zip(links.T.tolist(), batch.targets[edge_type].tolist(), strict=True):
            if not hidden:
                seen.update([(child, parent), (child + children, parent + parents)])
        assert Counter(map(tuple, batch.edges[edge_type].edge_index.T.tolist())) == seen
        back = batch.edges[reverse(edge_type)].edge_index.flip(0)
        assert Counter(map(tuple, back.T.tolist())) == seen
    hidden_share = torch.cat(list(batch.targets.values())).double().mean().item()
    assert hidden_share == pytest.approx(0.3, abs=0.12)


def test_links_join_the_rows_that_the_key_joins(nasty_store: Store, sampler: HGSampling) -> None:
    batch, samples = batch_of(nasty_store, sampler, CURSORS), subgraphs(sampler, CURSORS)
    for edge_type, links in batch.links.items():
        child, _, parent = edge_type
        rows = {t: np.concatenate([s.rows[t] for s in samples]) for t in (child, parent)}
        key = nasty_store.graph.key_parent(edge_type)
        assert torch.equal(batch.sample[child][links[0]], batch.sample[parent][links[1]])
        expected = sum(int(np.isin(key[s.rows[child]], s.rows[parent]).sum()) for s in samples)
        assert links.shape[1] == expected
        assert (key[rows[child][links[0]]] == rows[parent][links[1]]).all()


def test_the_paper_setting_hides_nothing(nasty_store: Store, sampler: HGSampling) -> None:
    batch = batch_of(nasty_store, sampler, CURSORS, CorruptionConfig(target_link_share=0.0))
    assert batch.targets is None
    assert batch.age_days is None
    for edge_type, links in batch.links.items():
        assert len(batch.edges[edge_type].source) == 2 * links.shape[1]


def test_ages_count_from_the_newest_row_of_the_sample(nasty_store: Store) -> None:
    config = HGSamplingConfig(seed_table="match", seeds_per_sample=2, rows_per_hop=1, num_hops=1)
    sampler = HGSampling(nasty_store.graph, config, seed=0, before_s=nasty_store.schema.cutoff_s + 1)
    batch, all_newest = batch_of(nasty_store, sampler, CURSORS), set()
    assert batch.age_days is not None
    timed = [t for t, s in nasty_store.schema.tables.items() if s.time_col is not None]
    assert list(batch.age_days) == timed
    for number, subgraph in enumerate(subgraphs(sampler, CURSORS)):
        times = {t: nasty_store.graph.table_time(t)[subgraph.rows[t]] for t in timed}
        newest = max(int(s) for ts in times.values() for s in ts)
        all_newest.add(newest)
        for table in timed:
            mine = batch.sample[table] == number
            clean, corrupted = batch.age_days[table].chunk(2)
            expected = torch.from_numpy((newest - times[table]) / 86_400).float()
            assert torch.equal(clean[mine], expected)
            assert torch.equal(corrupted[mine], expected)
            assert (expected >= 0).all()
    assert len(all_newest) > 1  # so that one moment for the whole batch would show


def test_ranks_permute_the_rows_of_each_sample(nasty_store: Store, sampler: HGSampling) -> None:
    batch = batch_of(nasty_store, sampler, CURSORS)
    for table, rank in batch.rank.items():
        for number in range(len(CURSORS)):
            mine = rank[batch.sample[table] == number]
            assert mine.sort().values.tolist() == list(range(len(mine)))


def test_every_row_of_both_views_has_a_dropout_key_of_its_own(nasty_store: Store, sampler: HGSampling) -> None:
    batch = batch_of(nasty_store, sampler, CURSORS)
    for table, keys in batch.dropout_keys.items():
        assert len(keys) == 2 * len(batch.sample[table]) == len(keys.unique())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_on_a_gpu_holds_the_same_numbers(nasty_store: Store, sampler: HGSampling) -> None:
    one = batch_of(nasty_store, sampler, CURSORS)
    other = one.to(torch.device("cuda"))
    for table, frame in other.frames.items():
        rows = torch.arange(frame.num_rows)
        assert frame.device is not None and frame.device.type == "cuda"
        assert_same_cells(cells(one.frames[table], rows), cells(frame.to("cpu"), rows))
    for key, values in (other.age_days or {}).items():
        assert values.device.type == "cuda"
        assert one.age_days is not None and torch.equal(values.cpu(), one.age_days[key])
    for edge_type, edges in other.edges.items():
        for field in dataclasses.fields(edges):
            mine, theirs = (getattr(e, field.name) for e in (one.edges[edge_type], edges))
            assert (mine is None) == (theirs is None)
            assert mine is None or (theirs.device.type == "cuda" and torch.equal(mine, theirs.cpu()))
