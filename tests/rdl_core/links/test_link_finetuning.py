"""A run on a link task: it learns, is the same again, sees no future, and predicts as its file does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rdl_core.config import BackboneConfig, ColumnsConfig, LinkConfig, StatisticsConfig, robust
from rdl_core.database import open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.links.finetuning import LinkFinetuning
from rdl_core.links.model import pretrained_matrix
from rdl_core.links.model_files import save_link_model
from rdl_core.links.predictor import LinkPredictor
from rdl_core.links.scoring import LinkResult
from rdl_core.model.checkpoint import Checkpoint, from_pretrained
from rdl_core.model.fitting import new_encoder
from rdl_core.problems import InputError
from tests.nasty_database import TEST, write_nasty_database
from tests.rdl_core.links.conftest import Visits

pytestmark = pytest.mark.usefixtures("one_thread")
BACKBONE = BackboneConfig(
    channels=8, num_layers=0, statistics=StatisticsConfig(), columns=ColumnsConfig(hops=1), seed_cells=False
)
CONFIG = dataclasses.replace(
    robust().finetuning, max_steps=4, batch_size=16, validation_interval_steps=2, learning_rate=0.01
)


def run_of(visits: Visits, **changes: Any) -> LinkFinetuning:
    torch.manual_seed(0)
    encoder = new_encoder(visits.store, BACKBONE)
    links = LinkConfig(validation_questions=1)
    return LinkFinetuning(visits.store, visits.task, encoder, "scratch", "rolling", CONFIG, links, **changes)


@pytest.fixture(scope="module")
def trained(visits: Visits, tmp_path_factory: pytest.TempPathFactory) -> tuple[LinkFinetuning, LinkResult, Path]:
    torch.set_num_threads(1)
    run = run_of(visits)
    result = run.run()
    path = tmp_path_factory.mktemp("link") / "model"
    save_link_model(path, run, result)
    return run, result, path


def test_a_run_is_the_same_again(visits: Visits, trained: tuple[LinkFinetuning, LinkResult, Path]) -> None:
    run, result, _ = trained
    again = run_of(visits)
    assert dataclasses.replace(again.run(), seconds=0.0) == dataclasses.replace(result, seconds=0.0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(run.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    )


def test_both_towers_and_the_pair_term_learn(visits: Visits) -> None:
    run = run_of(visits)
    run.model.has_towers = True
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run._optimizer = run._new_optimizer()
    rows = np.flatnonzero(run.train_split.time_s == run.train_split.time_s.max())
    for epoch in range(3):
        run._update([rows], epoch)
    moved = {name.partition(".")[0] for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"encoder", "pair", "matrix", "of_destination"}


def test_the_result_is_never_worse_on_validation_than_the_start(
    trained: tuple[LinkFinetuning, LinkResult, Path],
) -> None:
    run, result, _ = trained
    assert result.val >= run.start.val >= result.baselines["popularity"]["val"]
    assert set(result.baselines) == {"popularity", "past_links"}
    assert set(result.metrics["test"]) == {"map", "precision", "recall"}


def test_the_predictor_of_the_saved_model_names_what_the_run_predicted_for_test(
    visits: Visits, trained: tuple[LinkFinetuning, LinkResult, Path]
) -> None:
    run, _, path = trained
    predictor = LinkPredictor(from_pretrained(path, kind="link"), visits.dataset, visits.store)
    test = run.split("test")
    found = predictor.predict(test.sources.tolist(), TEST)
    assert list(found) == ["team_id", "time", "rank", "destination_team_id", "score"]
    ranked, scores = run.predictions["test"]
    assert found["destination_team_id"].to_numpy().reshape(len(test), 3).tolist() == ranked.tolist()
    assert found["score"].to_numpy() == pytest.approx(scores.ravel(), abs=1e-6)
    alone = predictor.predict([int(test.sources[1])], TEST)
    assert alone["score"].to_numpy() == pytest.approx(scores[1], abs=1e-6)
    with pytest.raises(InputError, match="do not exist yet"):
        predictor.predict([11], "2020-02-01")
    table = pq.read_table(path.parent / "predictions.parquet").to_pylist()
    assert [row["destinations"] for row in table if row["split"] == "test"] == ranked.tolist()


def test_matches_at_and_after_the_time_change_no_prediction(
    visits: Visits, trained: tuple[LinkFinetuning, LinkResult, Path], tmp_path: Path
) -> None:
    folder = write_nasty_database(tmp_path / "nasty")
    path = folder / "db" / "match.parquet"
    matches = pq.read_table(path)
    is_late = np.array([t is not None and t.replace(tzinfo=None) >= TEST for t in matches["played_at"].to_pylist()])
    assert is_late.sum() >= 4
    for column in ("home_id", "away_id"):
        teams = matches[column].to_pylist()
        changed = [2 if late else team for team, late in zip(teams, is_late, strict=True)]
        place = matches.column_names.index(column)
        matches = matches.set_column(place, column, pa.array(changed, pa.int64()))
    pq.write_table(matches, path)
    dataset, checkpoint = open_dataset(folder), from_pretrained(trained[2], kind="link")
    other = materialize(dataset, tmp_path / "stores", model=checkpoint.schema)
    sources, time_s = trained[0].split("test").sources, trained[0].split("test").time_s
    seen = [
        LinkPredictor(checkpoint, *of).table(sources, time_s, number=9)
        for of in ((visits.dataset, visits.store), (dataset, other))
    ]
    assert seen[0].equals(seen[1])
    late = [
        LinkPredictor(checkpoint, *of).table(sources, time_s + 1, number=9)
        for of in ((visits.dataset, visits.store), (dataset, other))
    ]
    assert not late[0].equals(late[1]), "a second later they are seen"


@pytest.mark.parametrize(("source", "destination", "place"), [("order", "teams", 2), ("teams", "order", 3)])
def test_the_bilinear_map_starts_as_the_link_levels_of_that_key_and_direction(
    visits: Visits, source: str, destination: str, place: int
) -> None:
    edge_types = (("goal", "lineup_id", "lineup"), ("order", "team_id", "teams"))
    weights = {f"loss.link.matrices.{n}": torch.full((2, 2), float(n)) for n in range(4)}
    checkpoint = Checkpoint(
        weights=weights,
        backbone=BACKBONE,
        schema=visits.store.schema,
        edge_types=edge_types,
        kind="pretrained",
        about={},
    )
    found = pretrained_matrix(checkpoint, source, destination)
    assert found is not None and found[0, 0] == place
    assert pretrained_matrix(checkpoint, "goal", "order") is None
