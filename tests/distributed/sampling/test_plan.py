"""The step plan as a partition law, and the seed tables that Ray Data carries, against the sampler."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import product

import pytest

from distributed.sampling.plan import NO_SAMPLE, SAMPLES_PER_BLOCK, StepPlan, seed_tables, step_plan
from rdl_core.config import HGSamplingConfig, contrast
from rdl_core.graph.store import Store
from rdl_core.sampling.hg_sampling import HGSampling

WORKERS = (1, 2, 3, 5)
SHARES = (1, 2, 7, SAMPLES_PER_BLOCK, SAMPLES_PER_BLOCK + 1)
"""Samples of a step for each worker; with the last two a block holds one step."""
UNEVEN = ((3, 2), (7, 3), (8, 5), (13, 5), (1201, 2))
"""Samples of a step that are no multiple of the workers."""
LAW = [
    (per_step, workers, *steps)
    for (per_step, workers), steps in product(
        [*((workers * share, workers) for workers, share in product(WORKERS, SHARES)), *UNEVEN],
        ((0, 1), (0, 53), (7, 53), (52, 53), (53, 53)),
    )
]


def plan_of(per_step: int, workers: int, samples_per_epoch: int = 11) -> StepPlan:
    return StepPlan(samples_per_step=per_step, workers=workers, samples_per_epoch=samples_per_epoch)


def dealt(plan: StepPlan, first_step: int, max_steps: int) -> list[list[tuple[int, tuple[int, int]]]]:
    """Per rank its (step, cursor) in order of its blocks, block b to worker b % workers as streaming_split deals."""
    shares: list[list[tuple[int, tuple[int, int]]]] = [[] for _ in range(plan.workers)]
    for number, (rank, steps) in enumerate(plan.blocks(first_step, max_steps)):
        shares[number % plan.workers] += [(step, cursor) for step in steps for cursor in plan.cursors(step, rank)]
    return shares


@pytest.fixture(scope="module")
def sampler(nasty_store: Store) -> HGSampling:
    config = HGSamplingConfig(seeds_per_sample=4, rows_per_hop=6, num_hops=2)
    return HGSampling(nasty_store.graph, config, seed=5, before_s=nasty_store.schema.cutoff_s + 1)


@pytest.mark.parametrize(("per_step", "workers", "first_step", "max_steps"), LAW)
def test_every_sample_of_every_step_is_dealt_exactly_once(
    per_step: int, workers: int, first_step: int, max_steps: int
) -> None:
    plan = plan_of(per_step, workers)
    got = Counter(k for mine in dealt(plan, first_step, max_steps) for k in mine)
    expected = {
        (step, divmod(k, 11)): 1
        for step in range(first_step, max_steps)
        for k in range(step * per_step, (step + 1) * per_step)
    }
    assert got == expected


@pytest.mark.parametrize(("per_step", "workers", "first_step", "max_steps"), LAW)
def test_every_rank_gets_its_own_cursors_in_step_order(
    per_step: int, workers: int, first_step: int, max_steps: int
) -> None:
    plan = plan_of(per_step, workers)
    for rank, mine in enumerate(dealt(plan, first_step, max_steps)):
        assert mine == [(step, c) for step in range(first_step, max_steps) for c in plan.cursors(step, rank)]


@pytest.mark.parametrize(("per_step", "workers", "first_step", "max_steps"), LAW)
def test_blocks_of_a_round_are_equal_and_of_useful_size(
    per_step: int, workers: int, first_step: int, max_steps: int
) -> None:
    plan = plan_of(per_step, workers)
    blocks = plan.blocks(first_step, max_steps)
    assert len(blocks) % workers == 0
    for begin in range(0, len(blocks), workers):
        ranks, steps = zip(*blocks[begin : begin + workers], strict=True)
        assert ranks == tuple(range(workers))
        assert len(set(steps)) == 1
        assert 1 <= len(steps[0]) * plan.rows_per_worker <= max(SAMPLES_PER_BLOCK, plan.rows_per_worker)


@pytest.mark.parametrize(("per_step", "workers"), [(9, 1), (9, 3), (9, 2), (5, 5), (9, 5)])
def test_a_plan_resumed_at_any_step_deals_the_same_rest(per_step: int, workers: int) -> None:
    plan = plan_of(per_step, workers)
    whole = dealt(plan, 0, 29)
    for first_step in range(30):
        assert dealt(plan, first_step, 29) == [[k for k in mine if k[0] >= first_step] for mine in whole]


@pytest.mark.parametrize("per_step", [5, 6, 30, 31])
def test_a_step_is_the_same_samples_whatever_the_number_of_workers(per_step: int) -> None:
    steps = {
        workers: [sum((plan_of(per_step, workers).cursors(step, r) for r in range(workers)), []) for step in range(9)]
        for workers in WORKERS
    }
    assert all(got == steps[1] for got in steps.values())


@pytest.mark.parametrize(("per_step", "workers"), [(w, w) for w in WORKERS] + list(UNEVEN))
def test_workers_have_as_many_samples_as_others_or_one_more(per_step: int, workers: int) -> None:
    plan = plan_of(per_step, workers)
    shares = [len(plan.cursors(4, rank)) for rank in range(workers)]
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1
    assert max(shares) == plan.rows_per_worker


def test_step_plan_takes_the_samplers_epoch(sampler: HGSampling) -> None:
    plan = step_plan(dataclasses.replace(contrast().pretraining, samples_per_step=6), 3, sampler)
    assert (plan.samples_per_step, plan.workers, plan.samples_per_epoch) == (6, 3, sampler.samples_per_epoch)


@pytest.mark.parametrize(("per_step", "num_blocks"), [(6, 6), (5, 6)], ids=["even", "uneven"])
def test_seed_tables_hold_the_plans_cursors_and_the_samplers_seeds(
    sampler: HGSampling, per_step: int, num_blocks: int
) -> None:
    per_epoch = sampler.samples_per_epoch
    plan = StepPlan(samples_per_step=per_step, workers=2, samples_per_epoch=per_epoch, samples_per_block=24)
    tables = seed_tables(plan, sampler, 3, 25)
    blocks = plan.blocks(3, 25)
    assert len(tables) == len(blocks) == num_blocks
    epochs = set()
    for table, (rank, steps) in zip(tables, blocks, strict=True):
        assert table.num_rows == len(steps) * plan.rows_per_worker
        rows = [r for r in table.to_pylist() if r["sample"] != NO_SAMPLE]
        cursors = [(step, *cursor) for step in steps for cursor in plan.cursors(step, rank)]
        assert [(r["step"], r["epoch"], r["sample"]) for r in rows] == cursors
        assert [r["seeds"] for r in rows] == [
            sampler.seeds.nodes(epoch, sample).tolist() for _, epoch, sample in cursors
        ]
        epochs |= {epoch for _, epoch, _ in cursors}
    assert len(epochs) > 3, "the plan must cross epochs for this test to have power"


def test_seeds_of_an_epoch_are_distinct_rows_up_to_the_cutoff(sampler: HGSampling, nasty_store: Store) -> None:
    plan = StepPlan(samples_per_step=1, workers=1, samples_per_epoch=sampler.samples_per_epoch)
    tables = seed_tables(plan, sampler, 0, sampler.samples_per_epoch)
    seeds = [row for table in tables for r in table.to_pylist() for row in r["seeds"]]
    assert len(seeds) == len(set(seeds)) == len(sampler.seeds.eligible) - sampler.seeds.num_dropped
    times = nasty_store.graph.time[seeds]
    assert (times <= nasty_store.schema.cutoff_s).all()
