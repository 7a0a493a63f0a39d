"""Corruption: which cells change, what they are copied from, and that a draw depends on nothing but its stream."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch_frame import TensorFrame

from rdl_core.batches.corruption import corrupted_cells
from rdl_core.batches.pretraining_batch import collate
from rdl_core.config import CorruptionConfig, HGSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.random_streams import PURPOSE_CORRUPTION, numpy_generator
from rdl_core.sampling.hg_sampling import HGSampling
from tests.bits import frame_bytes

DONORS = [np.array([100, 101, 102, 103]), np.zeros(0, np.int32), np.array([200])]


def test_cells_equal_the_loop_over_cells_with_the_same_numbers() -> None:
    rows = np.arange(10, 30)
    cells = corrupted_cells(rows, DONORS, 0.5, stream=(1, 2, 3, 4))
    generator = numpy_generator(PURPOSE_CORRUPTION, 1, 2, 3, 4)
    for column, donors in enumerate(DONORS):
        replaced, drawn = generator.random(20), generator.random(20)
        for i, row in enumerate(rows):
            changed = replaced[i] < 0.5 and len(donors) > 0
            assert cells[i, column] == (donors[int(drawn[i] * len(donors))] if changed else row)


def test_probability_zero_changes_nothing_and_one_every_cell_that_has_a_donor() -> None:
    rows = np.arange(50)
    assert (corrupted_cells(rows, DONORS, 0.0, stream=(0,)) == rows[:, None]).all()
    cells = corrupted_cells(rows, DONORS, 1.0, stream=(0,))
    assert set(cells[:, 0]) == {100, 101, 102, 103}
    assert (cells[:, 1] == rows).all()
    assert (cells[:, 2] == 200).all()


def test_the_share_of_changed_cells_and_the_choice_of_donors_follow_their_law() -> None:
    rows, p = np.arange(40_000) + 1000, 0.3
    cells = corrupted_cells(rows, DONORS, p, stream=(5, 5))
    changed = cells[:, 0] != rows
    assert scipy.stats.binomtest(int(changed.sum()), len(rows), p).pvalue > 1e-3
    counts = np.bincount(cells[changed, 0] - 100, minlength=4)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    both = changed & (cells[:, 2] != rows)
    assert scipy.stats.binomtest(int(both.sum()), len(rows), p * p).pvalue > 1e-3  # columns change independently


def test_another_number_of_the_stream_draws_other_cells_and_the_same_the_same() -> None:
    rows = np.arange(64)
    first = corrupted_cells(rows, DONORS, 0.5, stream=(0, 0, 0, 0))
    assert (first == corrupted_cells(rows, DONORS, 0.5, stream=(0, 0, 0, 0))).all()
    for other in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        assert (first != corrupted_cells(rows, DONORS, 0.5, stream=other)).any()


def test_a_table_without_attributes_or_without_rows_is_no_error() -> None:
    assert corrupted_cells(np.arange(3), [], 0.5, stream=(0,)).shape == (3, 0)
    assert corrupted_cells(np.zeros(0, np.int64), DONORS, 0.5, stream=(0,)).shape == (0, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("probability", 1.1), ("probability", -0.1), ("target_link_share", 1.0), ("distribution", "uniform")],
)
def test_settings_out_of_range_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"CorruptionConfig.{field}.*{value}"):
        CorruptionConfig(**{field: value})  # type: ignore[arg-type]


def same_frames(first: TensorFrame, second: TensorFrame) -> bool:
    return frame_bytes(first) == frame_bytes(second)


@pytest.mark.parametrize("distribution", ["distinct", "frequency"])
def test_the_clean_view_is_the_rows_and_the_second_view_holds_only_cells_of_donors(
    nasty_store: Store, distribution: str
) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=6),
        seed=3,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    (subgraph,) = sampler.sample(0, [1])
    config = CorruptionConfig(probability=1.0, distribution=distribution)
    batch = collate([subgraph], [(0, 1)], nasty_store.graph, nasty_store.features, config, seed=3)
    for table, rows in subgraph.rows.items():
        features, frame = nasty_store.features[table], batch.frames[table]
        n = len(rows)
        assert same_frames(frame[torch.arange(n)], features.gather(rows.astype(np.int64)))
        cells = corrupted_cells(
            rows, features.donors(distribution), 1.0, stream=(3, 0, 1, nasty_store.graph.node_types.index(table))
        )
        assert same_frames(frame[torch.arange(n, 2 * n)], features.gather(cells))
        for column, donors in enumerate(features.donors(distribution)):
            assert np.isin(cells[:, column], donors).all()


def test_a_sample_in_a_batch_of_several_is_corrupted_as_alone(nasty_store: Store) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seed_table="match", seeds_per_sample=4, rows_per_hop=6),
        seed=3,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    cursors = [(0, 2), (0, 0), (1, 1)]
    samples = [sampler.sample(epoch, [k])[0] for epoch, k in cursors]
    config = CorruptionConfig(target_link_share=0.3, relative_time=True)
    joint = collate(samples, cursors, nasty_store.graph, nasty_store.features, config, seed=3)
    for i, cursor in enumerate(cursors):
        alone = collate([samples[i]], [cursor], nasty_store.graph, nasty_store.features, config, seed=3)
        for table in nasty_store.graph.node_types:
            mine = torch.cat([joint.sample[table], joint.sample[table]]) == i
            assert same_frames(joint.frames[table][mine], alone.frames[table])
            assert torch.equal(joint.rank[table][joint.sample[table] == i], alone.rank[table])
            if joint.age_days is not None and alone.age_days is not None and table in joint.age_days:
                assert torch.equal(joint.age_days[table][mine], alone.age_days[table])
        assert joint.targets is not None
        assert alone.targets is not None
        for edge_type, links in joint.links.items():
            mine = joint.sample[edge_type[0]][links[0]] == i
            assert torch.equal(joint.targets[edge_type][mine], alone.targets[edge_type])


def test_links_chosen_as_targets_are_hidden_in_both_directions_and_views(nasty_store: Store) -> None:
    sampler = HGSampling(
        nasty_store.graph,
        HGSamplingConfig(seed_table="match", seeds_per_sample=8, rows_per_hop=8),
        seed=0,
        before_s=nasty_store.schema.cutoff_s + 1,
    )
    config = CorruptionConfig(target_link_share=0.4)
    batch = collate(
        sampler.sample(0, [0, 1]), [(0, 0), (0, 1)], nasty_store.graph, nasty_store.features, config, seed=0
    )
    assert batch.targets is not None
    assert sum(int(t.sum()) for t in batch.targets.values()) > 10
    for edge_type, links in batch.links.items():
        child, column, parent = edge_type
        clean = links[:, ~batch.targets[edge_type]].T.tolist()
        shift = [len(batch.sample[child]), len(batch.sample[parent])]
        expected = sorted(clean + [[a + shift[0], b + shift[1]] for a, b in clean])
        assert sorted(batch.edges[edge_type].edge_index.T.tolist()) == expected
        assert sorted(batch.edges[parent, f"rev_{column}", child].edge_index.flip(0).T.tolist()) == expected
