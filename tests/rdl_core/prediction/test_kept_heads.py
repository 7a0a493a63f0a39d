"""Heads kept in a model folder: the same predictions to the bit as those in memory, refitted ones of a refit, strictly before the time; refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from relbench.load import RelBenchDataset

from rdl_core.config import BackboneConfig, BoostingConfig, ColumnsConfig, FinetuningConfig, HeadsConfig, LinearConfig
from rdl_core.database import load_task
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, from_pretrained, save_pretrained
from rdl_core.model.fitting import new_encoder
from rdl_core.prediction.head_records import HeadRecords, record_heads
from rdl_core.prediction.kept_heads import KeptHeads, files_of_heads, keep_heads, kept_heads
from rdl_core.problems import InputError
from rdl_core.tasks.column_heads import ColumnHeads, ColumnHeadsResult
from rdl_core.tasks.labels import Split
from tests.nasty_tasks import POINTS, WINS, labels

SMALL = HeadsConfig(
    linear=LinearConfig(num_columns=(10,), inverse_regularizations=(1e-1,)),
    boosting=BoostingConfig(num_columns=20, num_leaves=(4,), max_rounds=20, patience=5),
)
ALL = ("network", "linear", "lightgbm", "blend")


@dataclasses.dataclass
class Kept:
    """A model folder with heads, and the run that made them."""

    path: Path
    run: ColumnHeads
    result: ColumnHeadsResult
    network: dict[str, np.ndarray]
    records: HeadRecords

    @property
    def val(self) -> Split:
        return self.run.labels["val"]

    def load(self, store: Store) -> KeptHeads:
        return kept_heads(from_pretrained(self.path), store)


def keep(dataset: RelBenchDataset, store: Store, path: Path, name: str, *, refit: bool) -> Kept:
    """Heads of a nasty task beside a network that was not trained."""
    task = load_task(dataset, name)
    run = ColumnHeads(store, task, "rolling", FinetuningConfig(refit=refit), SMALL, ColumnsConfig(hops=2))
    rng = np.random.default_rng(0)
    sizes = {"out_of_fold": len(run.labels["train"])} | {s: len(labels(task, s)) for s in ("val", "test")}
    network = {split: rng.random(size) for split, size in sizes.items()}
    result = run.run(ALL, network=network | {"test_refit": network["test"]})
    encoder = new_encoder(store, BackboneConfig(channels=8))
    checkpoint = Checkpoint(
        weights=cpu_weights(encoder),
        backbone=encoder.config,
        schema=store.schema,
        edge_types=store.graph.edge_types,
        kind="finetuned",
        about={"task": name},
    )
    save_pretrained(path, checkpoint, extra={"notes.txt": b"stays", "heads/forest.json": b"goes"})
    val = {head: scores.predictions["val"] for head, scores in result.heads.items()}
    metrics = {head: scores.val for head, scores in result.heads.items()}
    records = record_heads(task, run.labels["val"], metrics, val, columns=run.columns.config)
    assert result.blend is not None
    keep_heads(path, records, files_of_heads(result.models, result.blend.weights, run.columns))
    return Kept(path, run, result, network, records)


@pytest.fixture(scope="module")
def kept(nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return keep(nasty_dataset, nasty_store, tmp_path_factory.mktemp("kept") / "model", POINTS, refit=False)


@pytest.fixture(scope="module")
def refitted(nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return keep(nasty_dataset, nasty_store, tmp_path_factory.mktemp("kept") / "model", WINS, refit=True)


@pytest.mark.parametrize("which", ["kept", "refitted"])
@pytest.mark.parametrize("head", ALL)
def test_a_head_from_the_folder_predicts_to_the_bit_what_the_run_reported(
    which: str, head: str, nasty_store: Store, request: pytest.FixtureRequest
) -> None:
    made: Kept = request.getfixturevalue(which)
    seeds = made.run.test_labels()
    found = made.load(nasty_store).predict(head, seeds.entities, seeds.before_s, made.network["test"])
    reported = made.result.heads[head].predictions
    np.testing.assert_array_equal(found, reported["test_refit" if which == "refitted" else "test"])
    if which == "refitted" and head in ("linear", "lightgbm"):
        assert not np.array_equal(found, reported["test"])


@pytest.mark.parametrize("head", ALL)
def test_a_row_alone_has_the_prediction_that_it_has_among_others(kept: Kept, nasty_store: Store, head: str) -> None:
    heads, seeds, network = kept.load(nasty_store), kept.val, kept.network["val"]
    together = heads.predict(head, seeds.entities, seeds.before_s, network)
    for row in range(len(seeds)):
        alone = heads.predict(head, seeds.entities[[row]], seeds.before_s[[row]], network[[row]])
        assert alone[0] == pytest.approx(together[row], rel=1e-9)


def test_the_folder_holds_numbers_and_text_and_what_was_there_before_but_for_earlier_heads(kept: Kept) -> None:
    names = {str(path.relative_to(kept.path)) for path in kept.path.rglob("*") if path.is_file()}
    heads = {name for name in names if name.startswith("heads/")}
    models = [f"heads/lightgbm-{number}.txt" for number in range(3)]
    assert heads == {
        "heads/linear.json",
        "heads/linear.safetensors",
        "heads/lightgbm.json",
        *models,
        "heads/blend.json",
    }
    assert "notes.txt" in names and from_pretrained(kept.path).about["task"] == POINTS


def test_the_default_is_the_best_on_validation_and_intervals_are_each_heads_own(kept: Kept, nasty_store: Store) -> None:
    heads = kept.load(nasty_store)
    figures = {name: scores.val for name, scores in kept.result.heads.items()}
    assert heads.names == ALL and heads.default == min(figures, key=lambda name: figures[name])
    assert heads.require(None) == heads.default and heads.require("linear") == "linear"
    assert heads.records == kept.records
    at = np.zeros(1)
    intervals = {name: heads.interval(name, at, 0.5) for name in ALL}
    assert len({str(intervals[name]) for name in ("network", "linear", "lightgbm")}) == 3
    target = kept.val.target
    for name, interval in intervals.items():
        assert interval is not None
        residuals = target - kept.result.heads[name].predictions["val"]
        held = ((interval[0] <= residuals) & (residuals <= interval[1])).mean()
        assert held >= 0.5


def test_the_blend_asks_for_the_network_only_if_it_has_a_weight(kept: Kept, nasty_store: Store) -> None:
    heads, seeds = kept.load(nasty_store), kept.val
    assert [heads.needs_network(name) for name in ("network", "linear", "lightgbm")] == [True, False, False]
    assert heads.needs_network("blend") is (heads.weights["network"] > 0)
    heads.predict("linear", seeds.entities, seeds.before_s)
    with pytest.raises(ValueError, match="none were given"):
        heads.predict("network", seeds.entities, seeds.before_s)


def test_a_head_that_is_not_kept_is_refused_with_those_that_are(kept: Kept, nasty_store: Store) -> None:
    with pytest.raises(InputError, match="no head 'forest'; its heads: network, linear, lightgbm, blend"):
        kept.load(nasty_store).require("forest")
    checkpoint = from_pretrained(kept.path)
    of_before = dataclasses.replace(checkpoint, about={"task": POINTS})
    alone = kept_heads(of_before, nasty_store)
    assert (alone.names, alone.default) == (("network",), "network")
    assert math.isnan(alone.records.heads["network"].val)
    values = np.array([1.0])
    assert alone.interval("network", values, 0.9) is None and alone.calibrated("network", values) is values
    with pytest.raises(InputError, match="--heads network linear"):
        alone.require("linear")


def test_other_columns_than_those_that_were_learned_are_refused(kept: Kept, nasty_store: Store) -> None:
    checkpoint = from_pretrained(kept.path)
    values = dict(checkpoint.about["heads"])
    values["columns"] = dict(values["columns"]) | {"hops": 1}
    changed = dataclasses.replace(checkpoint, about=checkpoint.about | {"heads": values})
    with pytest.raises(InputError, match="was fitted on .* generated columns, and this data has .*"):
        kept_heads(changed, nasty_store).require("lightgbm")
    assert kept_heads(changed, nasty_store).require("network") == "network"


def test_a_head_whose_file_is_gone_is_refused_by_name(kept: Kept, nasty_store: Store) -> None:
    checkpoint = from_pretrained(kept.path)
    extras = {name: content for name, content in checkpoint.extras.items() if name != "heads/linear.safetensors"}
    with pytest.raises(FileNotFoundError, match=r"heads/linear\.safetensors"):
        kept_heads(dataclasses.replace(checkpoint, extras=extras), nasty_store).require("linear")
