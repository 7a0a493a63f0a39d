"""Checkpoints: bits come back, nothing is pickled, a crash leaves the old one, another schema is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from relbench.load import RelBenchDataset
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import rdl_core.model.checkpoint
from rdl_core.batches.tree_batch import collate_trees
from rdl_core.checkpoint_files import OWN_FILES, write_checksums
from rdl_core.config import ResNetRows, StoreConfig, TemporalSamplingConfig, contrast
from rdl_core.graph.materialization import materialize
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, from_pretrained, save_pretrained
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.problems import InputError
from rdl_core.sampling.temporal_sampling import TemporalSampling
from rdl_core.sharing.vocabulary import vocabularies


@pytest.fixture(scope="module")
def model(nasty_store: Store) -> PretrainingModel:
    torch.manual_seed(3)
    config = contrast().pretraining
    rows = ResNetRows(num_layers=1, dropout=0.1)
    backbone = dataclasses.replace(config.backbone, channels=8, num_layers=3, aggregation="sum", rows=rows)
    return PretrainingModel(nasty_store, dataclasses.replace(config, backbone=backbone))


@pytest.fixture
def checkpoint(nasty_store: Store, model: PretrainingModel) -> Checkpoint:
    return Checkpoint(
        weights=cpu_weights(model),
        backbone=model.encoder.config,
        schema=nasty_store.schema,
        edge_types=nasty_store.graph.edge_types,
        kind="pretrained",
        about={"store": nasty_store.content_hash, "best": {"validation/row": 0.25}},
    )


def vectors(encoder: RelationalEncoder, store: Store) -> Tensor:
    before_s = np.full(12, store.schema.cutoff_s)
    sampling = TemporalSampling(store.graph, TemporalSamplingConfig(num_neighbors=(4, 4, 2)), seed=0)
    trees = sampling.sample("teams", np.arange(12), before_s, epoch=0)
    batch = collate_trees(trees, before_s, store.graph, store.features)
    encoder.eval()
    with torch.no_grad():
        x = {t: v[batch.index[t]] for t, v in encoder.encode_rows(batch.frames).items()}
        x = encoder.add_relative_time(x, batch.age_days)
        return encoder.propagate(x, batch.edges, batch.num_nodes_per_hop)["teams"]


def test_all_of_a_checkpoint_comes_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    read = from_pretrained(path, kind="pretrained")
    assert read.weights.keys() == checkpoint.weights.keys()
    for name, weight in checkpoint.weights.items():
        assert torch.equal(read.weights[name], weight), name
        assert read.weights[name].dtype == weight.dtype
    for field in dataclasses.fields(Checkpoint):
        if field.name != "weights":
            assert getattr(read, field.name) == getattr(checkpoint, field.name), field.name


def test_a_loaded_model_gives_the_same_vectors(
    nasty_store: Store, model: PretrainingModel, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    encoder = from_pretrained(save_pretrained(tmp_path / "model", checkpoint)).encoder()
    expected = vectors(model.encoder, nasty_store)
    assert torch.equal(vectors(encoder, nasty_store), expected)
    assert expected.std() > 0


def test_a_checkpoint_holds_no_pickle(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    assert sorted(p.name for p in path.rglob("*")) == sorted(OWN_FILES)
    for name in ("config.json", "schema.json", "checksums.json"):
        assert isinstance(json.loads((path / name).read_text()), dict), name
    with safe_open(path / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(checkpoint.weights)


def test_a_checkpoint_carries_schema_and_cutoff(nasty_store: Store, checkpoint: Checkpoint, tmp_path: Path) -> None:
    written = json.loads((save_pretrained(tmp_path / "model", checkpoint) / "schema.json").read_text())
    assert written["cutoff_s"] == nasty_store.schema.cutoff_s == 1_590_969_600  # 2020-06-01
    assert [tuple(e) for e in written.pop("edge_types")] == list(nasty_store.graph.edge_types)
    assert Schema.from_json(written) == nasty_store.schema


def test_saving_does_not_tie_the_checkpoint_to_the_model(model: PretrainingModel) -> None:
    kept = cpu_weights(model)
    name, parameter = next(iter(model.named_parameters()))
    before = kept[name].clone()
    with torch.no_grad():
        parameter += 1.0
    assert torch.equal(kept[name], before)
    with torch.no_grad():
        parameter.copy_(before)


def test_a_checkpoint_already_there_is_replaced_as_a_whole(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    (path / "stray").write_text("of the old one")
    save_pretrained(path, dataclasses.replace(checkpoint, about={"run": 2}))
    assert from_pretrained(path).about == {"run": 2}
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(["model", *OWN_FILES])


class Crash(Exception):
    """A process that dies here."""


def crash(*args: Any, **kwargs: Any) -> None:
    raise Crash


def crash_after_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    path.write_bytes(b"half of it")
    raise Crash


@pytest.mark.parametrize("dying", [crash, crash_after_weights])
def test_a_crash_while_writing_leaves_the_old_checkpoint(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dying: Callable[..., None]
) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(rdl_core.model.checkpoint, "save_file", dying)
        with pytest.raises(Crash):
            save_pretrained(path, dataclasses.replace(checkpoint, about={"run": 2}))
    assert from_pretrained(path).about == checkpoint.about
    save_pretrained(path, dataclasses.replace(checkpoint, about={"run": 3}))
    assert from_pretrained(path).about == {"run": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_crash_between_the_two_renames_loses_nothing(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    path.rename(tmp_path / "model.old")  # as a crash right after the first rename leaves it
    assert from_pretrained(path).about == checkpoint.about
    with monkeypatch.context() as patch:
        patch.setattr(rdl_core.model.checkpoint, "save_file", crash)
        with pytest.raises(Crash):
            save_pretrained(path, dataclasses.replace(checkpoint, about={"run": 2}))
    assert from_pretrained(path).about == checkpoint.about


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere.*config\.json"):
        from_pretrained(tmp_path / "nowhere")


def test_the_folder_of_a_run_is_told_from_its_model(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "run" / "model", checkpoint)
    (tmp_path / "run" / "config.json").write_text("{}")  # as runs have it
    with pytest.raises(FileNotFoundError, match=f"the folder of a run; its model is {path}$"):
        from_pretrained(tmp_path / "run")


def test_a_checkpoint_of_another_kind_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    with pytest.raises(InputError, match="is pretrained, expected one that is finetuned"):
        from_pretrained(path, kind="finetuned")


def resealed(path: Path, name: str, content: bytes) -> None:
    """Changes a file as somebody would who knows of the checksums."""
    (path / name).write_bytes(content)
    write_checksums(path)


@pytest.mark.parametrize("text", [b'{"kind": ', b"[]", b'{"format_version": 4}'])
def test_a_damaged_description_is_refused(checkpoint: Checkpoint, tmp_path: Path, text: bytes) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    resealed(path, "config.json", text)
    with pytest.raises(ValueError, match="has a damaged config.json: "):
        from_pretrained(path)


def changed_config(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    description = json.loads((path / "config.json").read_text())
    change(description)
    resealed(path, "config.json", json.dumps(description).encode())


def test_a_backbone_that_is_none_is_refused_by_field(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    changed_config(path, lambda description: description["backbone"]["rows"].update(depth=3))
    with pytest.raises(
        ValueError, match="config.json: backbone.rows.depth is unknown; ResNetRows has the fields num_layers"
    ):
        from_pretrained(path)


def test_a_checkpoint_of_another_format_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    changed_config(path, lambda description: description.update(format_version=99))
    with pytest.raises(ValueError, match="has format 99, expected 4; train it again"):
        from_pretrained(path)


def as_format_3(path: Path, checkpoint: Checkpoint, version: int = 3) -> Path:
    """A folder as it was before there were cards and checksums."""
    path.mkdir()
    description = {
        "format_version": version,
        "kind": checkpoint.kind,
        "backbone": dataclasses.asdict(checkpoint.backbone),
        "edge_types": checkpoint.edge_types,
        "about": checkpoint.about,
        "schema": checkpoint.schema.to_json(),
    }
    (path / "model.json").write_text(json.dumps(description))
    save_file(checkpoint.weights, path / "model.safetensors")
    return path


def test_a_model_of_format_3_is_read_and_an_older_one_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    read = from_pretrained(as_format_3(tmp_path / "earlier", checkpoint))
    assert read.schema == checkpoint.schema
    assert read.about == checkpoint.about
    for name, weight in checkpoint.weights.items():
        assert torch.equal(read.weights[name], weight), name
    with pytest.raises(ValueError, match="has format 2, expected 4; train it again"):
        from_pretrained(as_format_3(tmp_path / "older", checkpoint, version=2))


EXTRA = {"heads/linear.json": b'{"a": 1}', "heads/trees.txt": b"tree\n"}


def test_a_model_saved_loaded_and_saved_again_is_the_same_bytes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    first = save_pretrained(tmp_path / "first", checkpoint, extra=EXTRA)
    second = save_pretrained(tmp_path / "second", from_pretrained(first))
    names = [p.relative_to(first) for p in sorted(first.rglob("*")) if p.is_file()]
    assert [p.relative_to(second) for p in sorted(second.rglob("*")) if p.is_file()] == names
    assert len(names) == len(OWN_FILES) + len(EXTRA)
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_further_files_stay_with_a_model_and_are_named_when_one_is_missing(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint, extra=EXTRA)
    read = from_pretrained(path)
    assert read.extra("heads/trees.txt") == b"tree\n"
    with pytest.raises(
        FileNotFoundError, match="keeps no file 'heads/gone'; it has heads/linear.json, heads/trees.txt"
    ):
        read.extra("heads/gone")
    other = save_pretrained(tmp_path / "other", read, extra={"heads/linear.json": b"{}"})
    assert dict(from_pretrained(other).extras) == EXTRA | {"heads/linear.json": b"{}"}


@pytest.mark.parametrize("name", ["config.json", "../outside", "/etc/x", "", ".hidden", "a/../b", "a//b"])
def test_a_further_file_of_a_reserved_name_is_refused(checkpoint: Checkpoint, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot keep a further file of the name"):
        save_pretrained(tmp_path / "model", checkpoint, extra={name: b""})
    assert not list(tmp_path.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [*sorted(set(OWN_FILES) - {"checksums.json"}), "heads/linear.json"])
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (cut, r"expected [\d,]+ bytes, got [\d,]+"),
        (flip, r"expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"),
        (Path.unlink, "expected a file, got none|no checkpoint at .*no config.json"),
    ],
)
def test_a_file_that_is_cut_changed_or_missing_is_named(
    checkpoint: Checkpoint, tmp_path: Path, name: str, harm: Callable[[Path], None], told: str
) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint, extra=EXTRA)
    harm(path / name)
    with pytest.raises((InputError, FileNotFoundError), match=told) as error:
        from_pretrained(path)
    assert name in str(error.value)
    assert name == "config.json" and harm is Path.unlink or "Remedy: copy or download" in str(error.value)


def test_a_file_that_was_added_is_named_but_not_the_hub_s_own(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    (path / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (path / ".cache").mkdir()
    (path / ".cache" / "x").write_text("")
    from_pretrained(path)
    (path / "stray.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"stray\.bin: expected no such file, got one"):
        from_pretrained(path)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"files": {"config.json": 3}}', b'{"files": {}}'])
def test_checksums_that_are_missing_or_damaged_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, content: bytes | None
) -> None:
    path = save_pretrained(tmp_path / "model", checkpoint)
    (path / "checksums.json").unlink()
    if content is not None:
        (path / "checksums.json").write_bytes(content)
    with pytest.raises(InputError, match=r"(?s)has no checksums|damaged checksums|config.json: expected no such file"):
        from_pretrained(path)


def test_the_card_says_data_figures_limits_and_whose_values_are_in_it(
    nasty_store: Store, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    about = {**checkpoint.about, "first_validation": {"validation/row": 0.5}, "validation": {"validation/row": 0.25}}
    path = save_pretrained(tmp_path / "model", dataclasses.replace(checkpoint, about=about), extra=EXTRA)
    card = (path / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "relational-pretraining"
    assert "2020-06-01" in card and nasty_store.content_hash in card
    assert "| validation/row | 0.5 | 0.25 |" in card
    assert "`heads/linear.json`" in card
    found = vocabularies(nasty_store.schema)
    assert found
    for column, number in found.items():
        assert f"- `{column}`: {number:,} values" in card


def test_the_store_it_was_trained_on_is_accepted(nasty_store: Store, checkpoint: Checkpoint, tmp_path: Path) -> None:
    from_pretrained(save_pretrained(tmp_path / "model", checkpoint)).require_same_schema(nasty_store)


def test_a_store_with_other_columns_is_refused_naming_them(
    nasty_dataset: RelBenchDataset, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    other = materialize(nasty_dataset, tmp_path, StoreConfig(exclude_columns=("match.score", "match.tags")))
    with pytest.raises(ValueError, match=r"(?s)'nasty'.*table match: columns differ: score, tags\nRemedy"):
        checkpoint.require_same_schema(other)


def test_a_store_with_another_table_or_key_is_refused_naming_it(nasty_store: Store, checkpoint: Checkpoint) -> None:
    tables = {t: s for t, s in nasty_store.schema.tables.items() if t != "goal"}
    smaller = dataclasses.replace(checkpoint, schema=dataclasses.replace(nasty_store.schema, tables=tables))
    with pytest.raises(ValueError, match="table goal: only in the store"):
        smaller.require_same_schema(nasty_store)
    with pytest.raises(ValueError, match="set of foreign keys differs"):
        dataclasses.replace(checkpoint, edge_types=checkpoint.edge_types[::-1]).require_same_schema(nasty_store)


def test_a_store_with_texts_of_another_embedder_is_refused(nasty_store: Store, checkpoint: Checkpoint) -> None:
    schema = dataclasses.replace(nasty_store.schema, text_embedder="sentence-transformers:of-the-same-width")
    with pytest.raises(ValueError, match="text embedder.*sentence-transformers:of-the-same-width"):
        dataclasses.replace(checkpoint, schema=schema).require_same_schema(nasty_store)


def test_a_store_with_another_time_column_is_refused(nasty_store: Store, checkpoint: Checkpoint) -> None:
    order = dataclasses.replace(nasty_store.schema.tables["order"], time_col="delivered")
    schema = dataclasses.replace(nasty_store.schema, tables={**nasty_store.schema.tables, "order": order})
    with pytest.raises(ValueError, match="table order: .*time column.*delivered.*placed_at"):
        dataclasses.replace(checkpoint, schema=schema).require_same_schema(nasty_store)
