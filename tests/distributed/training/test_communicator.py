"""TorchCommunicator and data-parallel steps in real gloo processes, against one process on the joined batch.

Three processes are spawned once; they form a group of three, then the first two form a group of two.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from distributed.training.communicator import TorchCommunicator
from distributed.training.train_loop import DATA_PARALLEL
from rdl_core.batches.pretraining_batch import Cursor
from rdl_core.batches.row_source import mapped_rows
from rdl_core.communicator import Communicator, SingleProcess
from rdl_core.config import (
    BackboneConfig,
    FinetuningConfig,
    FTTransformerRows,
    FutureConfig,
    HGSamplingConfig,
    LinearRows,
    PretrainingConfig,
    ResNetRows,
    TemporalSamplingConfig,
    TimeAttentionAggregation,
    contrast,
    paper,
)
from rdl_core.contrast import LEVELS
from rdl_core.database import load_task, open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store, open_store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.optimizer import make_optimizer
from rdl_core.pretraining import fit, local_steps, train_step
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.step_input import step_input
from rdl_core.pretraining.validation import Validation
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.sampling.subgraph import Subgraph
from rdl_core.tasks.finetuning import Finetuning
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import POINTS, TOWNS, WINS, add_class_task

pytestmark = pytest.mark.usefixtures("one_thread")

WORLDS = (3, 2)
STEPS = 2
SHARES = {2: [[0], [1, 2, 3]], 3: [[0], [1], [2, 3]]}
"""Samples of each rank: uneven; sample 0, alone on rank 0, lacks tables."""
Steps = dict[str, list[tuple[dict[str, float], dict[str, Tensor]]]]
TASKS = (WINS, POINTS, TOWNS)


@dataclass(frozen=True)
class Group:
    """Where the processes' files are, and what they were made of."""

    folder: Path
    data: Path
    store: Store


def configs() -> dict[str, PretrainingConfig]:
    def small(config: PretrainingConfig, dropout: float) -> PretrainingConfig:
        rows = ResNetRows(num_layers=2, dropout=dropout)
        return dataclasses.replace(
            config, backbone=dataclasses.replace(config.backbone, channels=8, rows=rows), gradient_clip_norm=None
        )

    def few(config: PretrainingConfig, max_negatives: int) -> PretrainingConfig:
        return dataclasses.replace(config, loss=dataclasses.replace(config.loss, max_negatives=max_negatives))

    def future(config: PretrainingConfig, *levels: Any) -> PretrainingConfig:
        questions = FutureConfig(questions_per_sample=12, window_shares=(1 / 16, 1 / 4))
        return dataclasses.replace(config, levels=levels, future=questions)

    return {
        "contrast": small(contrast().pretraining, 0.0),
        "contrast with dropout": small(contrast().pretraining, 0.3),
        "paper": small(paper().pretraining, 0.2),
        "paper with few negatives": small(few(paper().pretraining, 3), 0.2),
        "future alone": small(future(contrast().pretraining, "future"), 0.3),
        "all levels": small(future(paper().pretraining, "row", "link", "context", "future"), 0.2),
        "attention": dataclasses.replace(
            contrast().pretraining,
            backbone=BackboneConfig(
                channels=8,
                aggregation=TimeAttentionAggregation(heads=2),
                rows=FTTransformerRows(num_layers=1, dropout=0.3),
            ),
        ),
    }


def curve_configs() -> dict[str, PretrainingConfig]:
    """Steps of G = 6 samples with dropout, corruption, clipping and validations: fifty of one preset, ten of the others, of which one is balanced."""
    return {
        name: dataclasses.replace(
            configs()[name],
            balance="gradient_norm" if name == "all levels" else "none",
            balance_interval_steps=4,
            sampling=HGSamplingConfig(seed_table="order_line", seeds_per_sample=4, rows_per_hop=5),
            samples_per_step=6,
            max_steps=50 if name == "paper" else 10,
            learning_rate=1e-2,
            gradient_clip_norm=1.0,
            validation_interval_steps=25 if name == "paper" else 10,
            validation_samples=3,
            seed=7,
        )
        for name in ("paper", "contrast with dropout", "all levels")
    }


def curve(
    store: Store,
    config: PretrainingConfig,
    communicator: Communicator,
    wrap: Callable[[torch.nn.Module], torch.nn.Module],
) -> list[list[float]]:
    """Losses of every step and of the validations, in float64; a worker has a contiguous share of a step's samples."""
    torch.manual_seed(config.seed)
    model = PretrainingModel(store, config).double()
    sampler = HGSampling(store.graph, config.sampling, seed=config.seed, before_s=store.schema.cutoff_s + 1)
    share = config.samples_per_step // communicator.world_size
    mine = slice(communicator.rank * share, (communicator.rank + 1) * share)
    steps = ((subgraphs[mine], cursors[mine]) for subgraphs, cursors in local_steps(sampler, config))
    losses: list[list[float]] = []
    validation = Validation(store, config, sampler, communicator)
    state = fit(
        wrap(model),
        make_optimizer(model, config.learning_rate),
        steps,
        store,
        config,
        lambda _, step: validation(model, step),
        communicator=communicator,
        on_step=lambda step, levels, _: losses.append([levels[level] for level in config.levels]),
    )
    return losses + [[m[f"validation/{level}"] for level in config.levels] for m in state.history]


def samples_of_step(store: Store, step: int) -> tuple[list[Subgraph], list[Cursor]]:
    """Four samples; the first is grown one hop only, so that most tables have no row in it."""
    cursors = [divmod(4 * step + k, 3) for k in range(4)]
    subgraphs = []
    for k, (epoch, sample) in enumerate(cursors):
        config = HGSamplingConfig(
            seed_table="order_line", seeds_per_sample=4, rows_per_hop=5, num_hops=1 if k == 0 else 3
        )
        sampler = HGSampling(store.graph, config, seed=3, before_s=store.schema.cutoff_s + 1)
        subgraphs += sampler.sample(epoch, [sample])
    return subgraphs, cursors


def pretraining_steps(
    store: Store,
    config: PretrainingConfig,
    mine: list[int],
    communicator: Communicator,
    wrap: Callable[[torch.nn.Module], torch.nn.Module],
) -> Iterator[tuple[dict[str, float], dict[str, Tensor]]]:
    """(losses, gradients) of a few updates in float64 on the samples `mine` of each step."""
    torch.manual_seed(1)
    model = PretrainingModel(store, config).double()
    wrapped, optimizer = wrap(model), torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(STEPS):
        subgraphs, cursors = samples_of_step(store, step)
        samples, of_mine = [subgraphs[k] for k in mine], [cursors[k] for k in mine]
        made = step_input(model, samples, of_mine, mapped_rows(store), config.corruption, config.loss, seed=config.seed)
        losses, _ = train_step(wrapped, made.contrast, optimizer, communicator, questions=made.questions)
        yield losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def finetuning(store: Store, data: Path, task: str, communicator: Communicator, *, batch_norm: bool) -> Finetuning:
    config = FinetuningConfig(
        sampling=TemporalSamplingConfig(num_neighbors=(4, 3), strategy="recent"),
        batch_size=13,
        max_steps=4,
        validation_interval_steps=2,
        head_channels=8,
        ema_decay=0.9 if batch_norm else None,
        label_share=1.0 if batch_norm else 0.7,
        refit=not batch_norm,
    )
    torch.manual_seed(2)
    backbone = BackboneConfig(channels=8, rows=LinearRows())
    encoder = RelationalEncoder(store.schema, store.graph.edge_types, backbone)
    run = Finetuning(
        store, load_task(open_dataset(data), task), encoder, "scratch", "rolling", config, communicator=communicator
    )
    if not batch_norm:  # its statistics are each worker's own, so that only without it N workers equal one exactly
        run.model.head[1] = torch.nn.Identity()
        run.model.double()
    return run


def finetuned(
    run: Finetuning, wrap: Callable[[torch.nn.Module], torch.nn.Module]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    losses: list[float] = []
    result = run.run(wrap=wrap, on_step=lambda step, loss: losses.append(loss))
    return {n: w.clone() for n, w in run.model.state_dict().items()}, {"losses": losses, "metrics": result.metrics}


def parallel(model: torch.nn.Module) -> torch.nn.Module:
    """The model in DDP, as train_loop.py has it."""
    return DistributedDataParallel(model, **DATA_PARALLEL)


class CountingCommunicator(TorchCommunicator):
    """Notes which collectives it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[str] = []

    def take_calls(self) -> list[str]:
        calls, self._calls = self._calls, []
        return calls

    def sum(self, tensor: Tensor) -> Tensor:
        self._calls.append("sum")
        return super().sum(tensor)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        self._calls.append("gather")
        return super().gather(tensor)


def process(rank: int, folder: str, data: str, store_path: str) -> None:
    """One of three processes; in turn of both groups."""
    torch.set_num_threads(1)
    store = open_store(store_path)
    for world in WORLDS:
        if rank >= world:
            continue
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{world}", rank=rank, world_size=world)
        tensors, values = collectives(TorchCommunicator())
        for name, config in configs().items():
            communicator = CountingCommunicator()
            steps = pretraining_steps(store, config, SHARES[world][rank], communicator, parallel)
            for step, (losses, gradients) in enumerate(steps):
                values[f"{name}/{step}"], values[f"calls/{name}/{step}"] = losses, communicator.take_calls()
                tensors |= {f"{name}/{step}/{parameter}": g for parameter, g in gradients.items()}
        for name, config in curve_configs().items():
            values[f"curve of {name}"] = curve(store, config, TorchCommunicator(), parallel)
        for task in TASKS:
            for batch_norm in (False, True):
                run = finetuning(store, Path(data), task, TorchCommunicator(), batch_norm=batch_norm)
                weights, values[f"{task}/{batch_norm}"] = finetuned(
                    run, lambda model: DistributedDataParallel(model, find_unused_parameters=True)
                )
                tensors |= {f"{task}/{batch_norm}/{n}": w for n, w in weights.items()}
        save_file({n: t.contiguous() for n, t in tensors.items()}, Path(folder) / f"{world}-{rank}.safetensors")
        (Path(folder) / f"{world}-{rank}.json").write_text(json.dumps(values))
        dist.destroy_process_group()


def collectives(communicator: TorchCommunicator) -> tuple[dict[str, Tensor], dict[str, Any]]:
    rank = communicator.rank
    mine = torch.arange(3.0, requires_grad=True) + rank
    total = communicator.sum(mine)
    parts = communicator.gather(torch.full((rank, 2), float(rank), dtype=torch.float64))
    tensors = {"mine": mine.detach(), "sum": total, "scalar": communicator.sum(torch.tensor(rank + 1))}
    tensors |= {f"part {i}": part for i, part in enumerate(parts)}
    return tensors, {"requires_grad": total.requires_grad, "rank": rank, "world_size": communicator.world_size}


@pytest.fixture(scope="module")
def alone(group: Group) -> Steps:
    """Per configuration and step what one process gives for all four samples."""
    every = {}
    for name, config in configs().items():
        every[name] = list(pretraining_steps(group.store, config, [0, 1, 2, 3], SingleProcess(), lambda model: model))
    return every


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    folder = tmp_path_factory.mktemp("gloo")
    data = write_nasty_database(folder / "nasty")
    add_class_task(data)
    store = materialize(open_dataset(data), folder)
    torch.multiprocessing.spawn(process, args=(str(folder), str(data), str(store.path)), nprocs=max(WORLDS))
    return Group(folder, data, store)


def left_by(group: Group, world: int, rank: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = group.folder / f"{world}-{rank}"
    return load_file(path.with_suffix(".safetensors")), json.loads(path.with_suffix(".json").read_text())


def of_process(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


@pytest.mark.parametrize("world", WORLDS)
def test_sum_is_the_same_on_each_rank_without_gradient_and_leaves_its_input(group: Group, world: int) -> None:
    for rank in range(world):
        tensors, values = left_by(group, world, rank)
        assert (values["rank"], values["world_size"], values["requires_grad"]) == (rank, world, False)
        assert tensors["mine"].tolist() == [rank, rank + 1, rank + 2]
        assert tensors["sum"].tolist() == [world * i + sum(range(world)) for i in range(3)]
        assert tensors["scalar"].shape == ()
        assert tensors["scalar"].item() == sum(range(world + 1))


@pytest.mark.parametrize("world", WORLDS)
def test_gather_keeps_rank_order_and_ragged_lengths_even_zero(group: Group, world: int) -> None:
    for rank in range(world):
        tensors, _ = left_by(group, world, rank)
        for i in range(world):
            assert torch.equal(tensors[f"part {i}"], torch.full((i, 2), float(i), dtype=torch.float64))
        assert f"part {world}" not in tensors


def test_the_first_rank_lacks_tables_that_others_have(group: Group) -> None:
    for step in range(STEPS):
        subgraphs, _ = samples_of_step(group.store, step)
        assert sum(n == 0 for n in subgraphs[0].num_rows.values()) >= 3
        assert all(any(s.num_rows[t] for s in subgraphs[1:]) for t in ("match", "teams", "lineup"))
        assert len({sum(s.num_links.values()) for s in subgraphs}) > 1


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", list(configs()))
def test_gradients_of_n_ranks_equal_those_of_one_process_on_the_joined_batch(
    group: Group, alone: Steps, world: int, name: str
) -> None:
    for step, (_, expected) in enumerate(alone[name]):
        scale = max(float(g.abs().max()) for g in expected.values())
        assert scale > 1e-3, "no gradient, no test"
        for rank in range(world):
            got = of_process(left_by(group, world, rank)[0], f"{name}/{step}/")
            assert got.keys() == expected.keys()
            worst = max(float((got[n] - expected[n]).abs().max()) for n in expected)
            wrong = max(float((world * got[n] - expected[n]).abs().max()) for n in expected)
            assert worst < 1e-10 < 1e-1 * scale < wrong


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", list(configs()))
def test_all_that_learns_gets_a_gradient_in_every_step_on_every_rank(group: Group, world: int, name: str) -> None:
    model = PretrainingModel(group.store, configs()[name])
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, _ in model.named_parameters()} - learning == (
        set()
        if configs()[name].corruption.relative_time or "future" in configs()[name].levels
        else {n for n in model.state_dict() if "time_maps" in n}
    )
    for rank in range(world):
        tensors, _ = left_by(group, world, rank)
        assert all(of_process(tensors, f"{name}/{step}/").keys() == learning for step in range(STEPS))


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", list(configs()))
def test_losses_that_ranks_report_equal_those_of_one_process(group: Group, alone: Steps, world: int, name: str) -> None:
    for step, (losses, _) in enumerate(alone[name]):
        assert all(0.2 < loss < 5.0 for loss in losses.values())
        for rank in range(world):
            assert left_by(group, world, rank)[1][f"{name}/{step}"] == pytest.approx(losses, rel=1e-10)


@pytest.mark.parametrize("name", list(curve_configs()))
def test_the_loss_curve_is_the_same_with_one_two_and_three_workers(group: Group, name: str) -> None:
    config = curve_configs()[name]
    expected = np.array(curve(group.store, config, SingleProcess(), lambda model: model))
    assert expected.shape == (
        config.max_steps + 1 + config.max_steps // config.validation_interval_steps,
        len(config.levels),
    )
    assert np.abs(np.diff(expected[: config.max_steps], axis=0)).min() > 1e-8, (
        "a curve that stands still proves nothing"
    )
    for world in WORLDS:
        for rank in range(world):
            got = np.array(left_by(group, world, rank)[1][f"curve of {name}"])
            assert np.abs(got - expected).max() < 1e-8


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", list(configs()))
def test_the_collectives_of_a_step_do_not_depend_on_its_rows(group: Group, world: int, name: str) -> None:
    for rank in range(world):
        for step in range(STEPS):
            assert left_by(group, world, rank)[1][f"calls/{name}/{step}"] == ["sum"]


def test_few_negatives_are_fewer(alone: Steps) -> None:
    all_of_them, few = (alone[name][0][0] for name in ("paper", "paper with few negatives"))
    assert all(abs(all_of_them[level] - few[level]) > 1e-6 for level in LEVELS)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("task", TASKS)
def test_fine_tuning_on_shares_of_a_batch_equals_one_process(group: Group, world: int, task: str) -> None:
    run = finetuning(group.store, group.data, task, SingleProcess(), batch_norm=False)
    before = {n: w.clone() for n, w in run.model.state_dict().items()}
    expected, values = finetuned(run, lambda model: model)
    moved = max(float((expected[n] - before[n]).abs().max()) for n in expected)
    assert moved > 1e-3
    for rank in range(world):
        tensors, got = left_by(group, world, rank)
        weights = of_process(tensors, f"{task}/False/")
        assert max(float((weights[n] - expected[n]).abs().max()) for n in expected) < 1e-8
        assert got[f"{task}/False"]["losses"] == pytest.approx(values["losses"], rel=1e-6)
        for split, metrics in values["metrics"].items():
            assert got[f"{task}/False"]["metrics"][split] == pytest.approx(metrics, rel=1e-6)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("task", TASKS)
def test_ranks_end_fine_tuning_with_the_same_weights_and_batch_statistics(group: Group, world: int, task: str) -> None:
    first, _ = left_by(group, world, 0)
    for rank in range(1, world):
        other, _ = left_by(group, world, rank)
        for name, weights in of_process(first, f"{task}/True/").items():
            assert torch.equal(weights, other[f"{task}/True/{name}"]), name


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("task", TASKS)
def test_metrics_of_data_parallel_fine_tuning_are_those_of_the_weights_it_saves(
    group: Group, world: int, task: str
) -> None:
    tensors, values = left_by(group, world, 0)
    run = finetuning(group.store, group.data, task, SingleProcess(), batch_norm=True)
    run.model.load_state_dict(of_process(tensors, f"{task}/True/"))
    for split, metrics in values[f"{task}/True"]["metrics"].items():
        assert run.evaluate(run.model, split) == pytest.approx(metrics, rel=1e-5), split


def test_a_single_process_is_its_own_sum_and_gather() -> None:
    alone, tensor = SingleProcess(), torch.arange(4)
    assert np.array_equal(alone.sum(tensor), tensor)
    assert [t.tolist() for t in alone.gather(tensor)] == [[0, 1, 2, 3]]
