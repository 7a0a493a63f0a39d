"""The Python interface on the nasty database: models that are pretrained, fine-tuned, written, read and asked."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from relbench.load import RelBenchDataset

import rdl_core
from rdl_core import finetune, load_model, load_task, materialize, pretrain
from rdl_core.api import Finetuned, FinetunedModel, PretrainedModel
from rdl_core.config import BackboneConfig, HGSamplingConfig, LinearRows, contrast
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import from_pretrained
from rdl_core.prediction import Predictor
from tests import REPOSITORY

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = replace(
    contrast().pretraining,
    sampling=HGSamplingConfig(seeds_per_sample=4, rows_per_hop=4),
    backbone=BackboneConfig(channels=8, num_layers=2, rows=LinearRows()),
    validation_interval_steps=2,
    validation_samples=2,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def pretrained(nasty_store: Store, folder: Path) -> PretrainedModel:
    return pretrain(nasty_store, SMALL, max_steps=2, out=folder / "pretrained", on_report=None)


@pytest.fixture(scope="module")
def finetuned(
    nasty_store: Store, nasty_dataset: RelBenchDataset, pretrained: PretrainedModel, folder: Path
) -> Finetuned:
    task, before = (
        load_task(nasty_dataset, "team-points"),
        pretrained.encoder.state_dict()["row_encoders.0.linear.bias"].clone(),
    )
    made = finetune(
        pretrained, nasty_store, task, preset="contrast", max_steps=3, out=folder / "finetuned", on_validation=None
    )
    assert torch.equal(before, pretrained.encoder.state_dict()["row_encoders.0.linear.bias"])  # it stays as it is
    return made


def test_a_fine_tuned_regression_keeps_the_residuals_that_intervals_are_made_of(
    finetuned: Finetuned, folder: Path
) -> None:
    kept = from_pretrained(folder / "finetuned").about["heads"]["of"]["network"]
    assert kept["val"] == finetuned.val
    assert kept["intervals"]["num_labels"] == (finetuned.predictions["split"] == "val").sum()


def test_importing_the_package_loads_nothing_heavy_and_shows_its_names() -> None:
    code = (
        "import sys, rdl_core; names = dir(rdl_core); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'pydantic', 'relbench') if m in sys.modules], set(rdl_core.__all__) <= set(names))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout == "[] True\n"


def test_every_name_of_the_package_is_there_and_typed_and_another_is_refused_with_those_that_are() -> None:
    stub = (REPOSITORY / "rdl_core" / "__init__.pyi").read_text()
    for name in rdl_core.__all__:
        assert callable(getattr(rdl_core, name))
        assert f'    "{name}",\n' in stub
    with pytest.raises(
        AttributeError, match="module 'rdl_core' has no attribute 'train'; it has Explainer, Predictor, finetune"
    ):
        rdl_core.train  # type: ignore[attr-defined]  # noqa: B018


def test_a_folder_is_read_as_the_module_that_was_written_and_writes_the_same_bytes(
    nasty_store: Store, pretrained: PretrainedModel, finetuned: Finetuned, folder: Path, tmp_path: Path
) -> None:
    for name, model, kind in (
        ("pretrained", pretrained, PretrainedModel),
        ("finetuned", finetuned.model, FinetunedModel),
    ):
        read = load_model(folder / name)
        assert type(read) is kind and not read.training
        batch = read.sample(nasty_store, "teams", [0, 3, 9])
        with torch.no_grad():
            assert torch.equal(read(batch), model(batch))
        read.save_pretrained(tmp_path / name)
        written, again = ({p.name: p.read_bytes() for p in (at / name).iterdir()} for at in (folder, tmp_path))
        assert written == again


def test_weights_that_are_trained_further_are_what_is_saved(nasty_store: Store, folder: Path, tmp_path: Path) -> None:
    model = load_model(folder / "finetuned").train()
    batch = model.sample(nasty_store, "teams", [0, 3, 9])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    (model(batch) ** 2).sum().backward()
    optimizer.step()
    before = load_model(folder / "finetuned")(batch)
    after = load_model(model.save_pretrained(tmp_path / "further"))(batch)
    assert not torch.allclose(before, after)
    assert torch.equal(after, model.eval()(batch))


def test_forward_gives_the_predictions_of_the_run_and_of_the_predictor(
    nasty_store: Store, nasty_dataset: RelBenchDataset, finetuned: Finetuned, folder: Path
) -> None:
    predictions = finetuned.predictions
    assert set(predictions["split"]) == {"val", "test"}
    assert np.isfinite([finetuned.val, finetuned.test]).all() and finetuned.metric == "mae"
    batch = finetuned.model.sample(nasty_store, "teams", predictions["entity"], predictions["time"])
    with torch.no_grad():
        found = finetuned.model(batch).numpy()
    np.testing.assert_allclose(found, predictions["prediction"], rtol=1e-6)
    predictor = Predictor.load(folder / "finetuned", nasty_dataset.dataset_dir, store=nasty_store.path)
    is_there = (
        predictions["entity"] != 11
    ).to_numpy()  # which the Predictor refuses at validation's time: it has no row yet
    of_some = predictions[is_there]
    asked = predictor.predict(of_some["entity"].tolist(), of_some["time"])
    np.testing.assert_allclose(found[is_there], asked["prediction"], rtol=1e-6)


def test_progress_is_printed_unless_it_is_turned_off(
    nasty_store: Store, nasty_dataset: RelBenchDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    model = pretrain(nasty_store, SMALL, max_steps=2)
    assert "step     2  validation row " in capsys.readouterr().out
    task = load_task(nasty_dataset, "team-points")
    finetune(model, nasty_store, task, preset="contrast", max_steps=2)
    assert "step     2  validation " in capsys.readouterr().out
    seen: list[int] = []
    pretrain(nasty_store, SMALL, max_steps=2, on_report=lambda state, metrics, is_best: seen.append(state.step))
    finetune(None, nasty_store, task, preset="contrast", max_steps=2, on_validation=None)
    assert seen == [0, 2]
    assert capsys.readouterr().out == ""


def test_labels_that_leave_figures_to_chance_are_warned_of(nasty_store: Store, nasty_dataset: RelBenchDataset) -> None:
    with pytest.warns(UserWarning, match="(?s)team-wins, val: expected at least 10 positives.*team-wins, test: "):
        made = finetune(None, nasty_store, load_task(nasty_dataset, "team-wins"), max_steps=2, on_validation=None)
    assert repr(made).startswith("Finetuned(team-wins, scratch: roc_auc 0.")


def test_what_cannot_go_together_is_refused_before_work(
    nasty_store: Store, nasty_dataset: RelBenchDataset, pretrained: PretrainedModel, tmp_path: Path
) -> None:
    task = load_task(nasty_dataset, "team-points")
    (tmp_path / "file").write_text("")
    refused = [
        (lambda: pretrain(nasty_store, "best"), "no preset 'best'; expected one of 'robust', 'paper', 'contrast'"),  # type: ignore[arg-type]
        (lambda: pretrain(nasty_store, SMALL, out=tmp_path / "file"), "file' is a file; a model is a folder"),
        (lambda: finetune(pretrained, nasty_store, task, arm="scratch"), "starts fresh and takes no"),
        (lambda: finetune(None, nasty_store, task, arm="frozen"), "arm 'frozen' needs"),
        (lambda: pretrained.sample(nasty_store, "team", [0]), "no table 'team'; expected one of categories, teams"),
        (lambda: pretrained.sample(nasty_store, "teams", [99]), "entities must be rows 0 to 11 of 'teams', got 99"),
        (lambda: pretrained.sample(nasty_store, "teams", [0], ["2020-01-01"] * 2), "2 times for 1 keys"),
    ]
    for call, message in refused:
        with pytest.raises(ValueError, match=message):
            call()


def test_new_data_is_read_by_a_models_schema(
    nasty_dataset: RelBenchDataset, nasty_store: Store, pretrained: PretrainedModel, tmp_path: Path
) -> None:
    read = materialize(nasty_dataset, tmp_path, schema=pretrained.schema)
    assert read.path.name != nasty_store.path.name
    batch, expected = (pretrained.sample(store, "teams", [0, 3, 9]) for store in (read, nasty_store))
    with torch.no_grad():
        torch.testing.assert_close(pretrained(batch), pretrained(expected))
