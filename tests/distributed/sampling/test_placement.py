"""Where the graph is, and that it makes no difference: samplers, shards, kills. Real Ray actors and tasks."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import ray
import torch

from distributed.sampling import placement as shards
from distributed.sampling.export import export_samples
from distributed.sampling.placement import Placement, place, start_shards
from distributed.sampling.plan import StepPlan
from distributed.sampling.sampler import in_order, sampled_dataset
from rdl_core.batches.pretraining_batch import collate
from rdl_core.batches.row_source import ShardedRows, mapped_rows
from rdl_core.config import CorruptionConfig, HGSamplingConfig
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
CONFIG = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6)


def path_of(store: Store) -> str:
    return str(store.path.resolve())


# ------------------------------------------------------------------------------------------------------- the choice


def test_auto_maps_what_fits_and_says_the_arithmetic(nasty_store: Store) -> None:
    placement = place(nasty_store, CONFIG, "auto")
    assert placement.shards is None
    assert "local, chosen: store 0." in placement.why
    assert "smallest of 1 node(s)" in placement.why
    assert "local, as asked" in place(nasty_store, CONFIG, "local").why


def test_a_number_of_shards_without_sharding_is_refused(nasty_store: Store) -> None:
    with pytest.raises(ValueError, match="--shards 3 goes with --placement sharded, not auto"):
        place(nasty_store, CONFIG, "auto", 3)


@pytest.mark.ray
def test_auto_shards_what_does_not_fit(ray_session: None, nasty_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LOCAL_MEMORY_SHARE", 0.0)
    placement = place(nasty_store, CONFIG, "auto")
    assert placement.shards is not None
    assert len(placement.shards.actors) == 2
    assert "sharded over 2, chosen" in placement.why
    placement.shards.stop()


@pytest.mark.ray
def test_more_shards_than_nodes_where_one_would_be_too_large(
    ray_session: None, nasty_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_bytes, _ = shards._smallest_node()
    monkeypatch.setattr(shards, "SHARD_MEMORY_SHARE", nasty_store.num_bytes / memory_bytes / 2.5)
    placement = place(nasty_store, CONFIG, "sharded")
    assert placement.shards is not None
    assert len(placement.shards.actors) == 3
    placement.shards.stop()


# ------------------------------------------------------------------------------------------------------- the samples


@pytest.mark.ray
def test_any_number_of_samplers_and_shards_gives_the_same_samples(
    ray_session: None, nasty_store: Store, tmp_path: Path
) -> None:
    """60 samples cross epochs and blocks; the first comes from this process, without Ray."""

    def exported(name: str, placement: Placement, samplers: int) -> tuple[bytes, bytes]:
        export_samples(nasty_store, CONFIG, 60, tmp_path / name, seed=7, placement=placement, samplers=samplers)
        return (tmp_path / name / "rows.parquet").read_bytes(), (tmp_path / name / "edges.parquet").read_bytes()

    local = Placement(path_of(nasty_store))
    expected = exported("process", local, 1)
    assert exported("local", local, 3) == expected
    for num_shards, samplers in ((1, 2), (3, 2)):
        placement = Placement(path_of(nasty_store), start_shards(nasty_store, CONFIG, num_shards))
        assert placement.shards is not None
        assert exported(f"sharded{num_shards}", placement, samplers) == expected
        placement.shards.stop()


def process_of(actor: ray.actor.ActorHandle) -> int:
    return ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))  # type: ignore[attr-defined]


@pytest.mark.ray
def test_killed_shards_come_back_and_every_sample_of_the_epoch_is_delivered_once(
    ray_session: None, nasty_store: Store
) -> None:
    """Both shards are killed (SIGKILL) while the pipeline runs, one of them twice."""
    config = HGSamplingConfig(seeds_per_sample=1, rows_per_hop=6)
    own = start_shards(nasty_store, config, 2)
    placement = Placement(path_of(nasty_store), own)
    sampler = placement.sampling(config, 5)
    epochs = 12
    per_epoch = sampler.samples_per_epoch
    plan = StepPlan(samples_per_step=1, workers=1, samples_per_epoch=per_epoch, samples_per_block=24)
    dataset = sampled_dataset(placement, config, 5, plan, first_step=0, max_steps=epochs * per_epoch, samplers=1)
    dataset.context.execution_options = in_order()
    got: list[tuple[int, int, bytes]] = []
    killed = []
    for number, block in enumerate(dataset.iter_batches(batch_size=None, batch_format="pyarrow")):
        assert isinstance(block, pa.Table)
        got += [(r["epoch"], r["sample"], r["subgraph"]) for r in block.to_pylist()]
        if number in (0, 1, 2):
            pid = process_of(own.actors[number % 2])
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    assert number > 4, "blocks must follow the kills"
    assert len(set(killed)) == 3
    assert [r[:2] for r in got] == [divmod(k, sampler.samples_per_epoch) for k in range(len(got))]
    assert len(got) == epochs * sampler.samples_per_epoch
    local = HGSampling(nasty_store.graph, config, seed=5, before_s=nasty_store.schema.cutoff_s + 1)
    assert all(local.sample(epoch, [k])[0].to_bytes() == packed for epoch, k, packed in got)
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in killed)
    own.stop()


@pytest.mark.ray
def test_shards_hold_what_they_say(ray_session: None, nasty_store: Store) -> None:
    own = start_shards(nasty_store, CONFIG, 2)
    sizes = own.num_bytes()
    assert len(sizes) == 2
    assert all(s["topology"] > 0 and s["cells"] > 0 for s in sizes)
    own.stop()


@pytest.mark.ray
def test_shards_that_do_not_answer_are_an_error_with_a_remedy(
    ray_session: None, nasty_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = start_shards(nasty_store, CONFIG, 1)
    own.num_bytes()
    blocked = own.actors[0].__ray_call__.remote(lambda self: time.sleep(4))  # type: ignore[attr-defined]
    monkeypatch.setattr(shards, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(TimeoutError, match=r"graph shards \[0\] did not answer within 0 s.*--placement local"):
        own.num_bytes()
    ray.get(blocked)
    own.stop()


# ------------------------------------------------------------------------------------------------- batches


@pytest.mark.ray
def test_batches_from_shards_equal_those_from_the_store(ray_session: None, nasty_store: Store) -> None:
    own = start_shards(nasty_store, CONFIG, 3)
    sampler = HGSampling(nasty_store.graph, CONFIG, seed=1, before_s=nasty_store.schema.cutoff_s + 1)
    for distribution in ("distinct", "frequency"):
        rounds: list[int] = []

        def ask(requests: dict, rounds: list[int] = rounds) -> dict:
            rounds.append(len(requests))
            return own.ask_cells(requests)

        sharded = ShardedRows(nasty_store, own.owned, ask, distribution)
        corruption = CorruptionConfig(probability=0.5, distribution=distribution, relative_time=True)
        for cursors in ([(0, 0)], [(0, 1), (0, 3)], [(1, 2), (0, 2), (2, 0)]):
            subgraphs = [sampler.sample(e, [k])[0] for e, k in cursors]
            one, other = (
                collate(subgraphs, cursors, *source(subgraphs), corruption, seed=1)
                for source in (mapped_rows(nasty_store), sharded)
            )
            assert one.frames == other.frames
            assert one.age_days is not None
            assert other.age_days is not None
            assert all(torch.equal(x, other.age_days[t]) for t, x in one.age_days.items())
            for edge_type, edges in one.edges.items():
                for field in dataclasses.fields(edges):
                    mine, theirs = (getattr(e, field.name) for e in (edges, other.edges[edge_type]))
                    assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs
        assert len(rounds) == 3, "one round a batch"
    own.stop()
