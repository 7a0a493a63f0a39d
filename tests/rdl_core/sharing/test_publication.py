"""A model is sent only if it is said what becomes of the values in it; with these hidden, it reads the same data to the same bits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from relbench.load import RelBenchDataset

from rdl_core.checkpoint_files import OWN_FILES, WEIGHTS, verify
from rdl_core.config import ResNetRows, StoreConfig, contrast
from rdl_core.graph.materialization import materialize
from rdl_core.graph.measures import measures
from rdl_core.graph.schema import ColumnSchema, Schema
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.model.checkpoint import Checkpoint, cpu_weights, from_pretrained, save_pretrained
from rdl_core.model.fitting import new_encoder
from rdl_core.problems import InputError
from rdl_core.sharing.publication import copy_to_send, push_to_hub
from rdl_core.sharing.vocabulary import hidden_columns, holds_values, vocabularies, with_hidden_values


@pytest.fixture(scope="module")
def folder(nasty_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    backbone = dataclasses.replace(contrast().pretraining.backbone, channels=8, rows=ResNetRows(num_layers=1))
    checkpoint = Checkpoint(
        weights={f"encoder.{n}": w for n, w in cpu_weights(new_encoder(nasty_store, backbone)).items()},
        backbone=backbone,
        schema=nasty_store.schema,
        edge_types=nasty_store.graph.edge_types,
        kind="pretrained",
        about={"store": nasty_store.content_hash},
    )
    names = [m.average(t) for t, s in nasty_store.schema.tables.items() for m in measures(s)]
    assert any(" = " in name for name in names)
    extra = {"heads/linear.json": json.dumps({"columns": names}).encode(), "heads/linear.safetensors": b"\x00\xff = "}
    return save_pretrained(tmp_path_factory.mktemp("model") / "model", checkpoint, extra=extra)


def columns(schema: Schema) -> list[tuple[str, ColumnSchema]]:
    return [(f"{t.name}.{c.name}", c) for t in schema.tables.values() for c in t.columns]


def test_values_of_the_data_are_those_of_vocabularies_and_no_small_numbers_or_booleans(nasty_store: Store) -> None:
    found = vocabularies(nasty_store.schema)
    assert found
    for name, column in columns(nasty_store.schema):
        is_told = (
            bool(column.categories) and not column.is_ordinal and not {"true", "false"}.issuperset(column.categories)
        )
        assert found.get(name) == (len(column.categories) if is_told else None), name


def test_a_model_with_values_is_refused_with_its_columns_before_anything_is_sent(folder: Path) -> None:
    with pytest.raises(InputError, match=r"nothing was sent(?s:.*)--hash-vocabularies(?s:.*)--publish-vocab") as error:
        push_to_hub(folder, "acme/nasty")
    for column, number in vocabularies(from_pretrained(folder).schema).items():
        assert f"  {column}: {number:,} values" in str(error.value)
    with pytest.raises(ValueError, match="exclude each other"):
        push_to_hub(folder, "acme/nasty", publish_vocabularies=True, hash_vocabularies=True)


def words(value: Any) -> Iterator[str]:
    """All strings in JSON."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from words(inner)


def test_hidden_values_are_nowhere_in_what_is_sent(folder: Path, tmp_path: Path) -> None:
    sent = copy_to_send(folder, tmp_path / "sent", hash_vocabularies=True)
    verify(sent)
    before, after = from_pretrained(folder), from_pretrained(sent)
    assert vocabularies(after.schema) == {}
    assert hidden_columns(after.schema) == list(vocabularies(before.schema))
    small = {value for _, c in columns(before.schema) if not holds_values(c) for value in c.categories}
    told = {value for _, c in columns(before.schema) if holds_values(c) for value in c.categories} - small
    whole, kept = (json.loads((path / "schema.json").read_text(encoding="utf-8")) for path in (folder, sent))
    assert told <= set(words(whole))
    assert told.isdisjoint(words(kept))
    assert (sent / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    for name in hidden_columns(after.schema):
        assert f"`{name}`" in (sent / "README.md").read_text(encoding="utf-8")


def test_names_of_generated_columns_hide_values_as_the_hidden_schema_names_them(folder: Path, tmp_path: Path) -> None:
    after = from_pretrained(copy_to_send(folder, tmp_path / "sent", hash_vocabularies=True))
    names = [m.average(t) for t, s in after.schema.tables.items() for m in measures(s)]
    assert json.loads(after.extra("heads/linear.json"))["columns"] == names
    assert after.extra("heads/linear.safetensors") == from_pretrained(folder).extra("heads/linear.safetensors")


def test_a_further_file_that_tells_a_value_in_another_way_is_refused(folder: Path, tmp_path: Path) -> None:
    checkpoint = from_pretrained(folder)
    name = next(iter(vocabularies(checkpoint.schema)))
    path = save_pretrained(tmp_path / "model", checkpoint, extra={"notes.txt": f"{name} = ***".encode()})
    with pytest.raises(InputError, match=rf"notes.txt tells values of {name}"):
        copy_to_send(path, tmp_path / "sent", hash_vocabularies=True)


@pytest.mark.parametrize("column", ["Größe", 'the "kind"', "back\\slash", "plain"])
def test_names_of_generated_columns_are_hidden_whatever_a_column_is_called(
    folder: Path, tmp_path: Path, column: str
) -> None:
    checkpoint = from_pretrained(folder)
    table, told = next((t, c) for t in checkpoint.schema.tables.values() for c in t.columns if holds_values(c))
    renamed = dataclasses.replace(told, name=column, categories=("Łódź", "it's", "Brno"))
    swapped = dataclasses.replace(table, columns=tuple(renamed if c is told else c for c in table.columns))
    schema = dataclasses.replace(checkpoint.schema, tables={**checkpoint.schema.tables, table.name: swapped})
    checkpoint = dataclasses.replace(checkpoint, schema=schema)

    def names(schema: Schema) -> list[str]:
        return [m.average(table.name) for m in measures(schema.tables[table.name])]

    ours = json.dumps({"columns": names(schema)}).encode()
    path = save_pretrained(tmp_path / "model", checkpoint, extra={"heads/linear.json": ours})
    after = from_pretrained(copy_to_send(path, tmp_path / "sent", hash_vocabularies=True))
    kept = json.loads(after.extra("heads/linear.json"))["columns"]
    assert kept == names(after.schema) != names(schema)
    assert not any("Brno" in name for name in kept)
    by_hand = json.dumps({"columns": names(schema)}, ensure_ascii=False).encode()
    path = save_pretrained(tmp_path / "model", checkpoint, extra={"heads/linear.json": by_hand})
    if by_hand != ours:
        with pytest.raises(InputError, match="tells values of"):
            copy_to_send(path, tmp_path / "sent again", hash_vocabularies=True)


def of_classes(folder: Path, out: Path, classes: list[str], target: str = "town") -> Path:
    """The model as if it predicted these classes, without a vocabulary in its schema."""
    checkpoint = from_pretrained(folder)
    tables = {n: dataclasses.replace(t, columns=()) for n, t in checkpoint.schema.tables.items()}
    about = {"task": "towns", "question": {"target": target}, "target_scale": {"is_binary": False, "classes": classes}}
    schema = dataclasses.replace(checkpoint.schema, tables=tables)
    changed = dataclasses.replace(checkpoint, schema=schema, about=about, kind="finetuned", extras={})
    return save_pretrained(out, changed)


@pytest.mark.parametrize(
    ("classes", "target"),
    [(["Brno", "Plzeň"], "town"), (["1", "Brno"], "town"), (["17", "4711"], "town_id"), ([*map(str, range(11))], "n")],
)
def test_names_of_classes_are_values_that_are_never_sent_hidden(
    folder: Path, tmp_path: Path, classes: list[str], target: str
) -> None:
    path = of_classes(folder, tmp_path / "model", classes, target)
    assert vocabularies(from_pretrained(path).schema) == {}
    with pytest.raises(InputError, match=rf"nothing was sent(?s:.*)classes of the task towns: {len(classes)} values"):
        push_to_hub(path, "acme/towns")
    with pytest.raises(InputError, match=r"classes of its task 'towns'.*cannot be hidden, and nothing was sent"):
        push_to_hub(path, "acme/towns", hash_vocabularies=True)
    assert not (tmp_path / "sent").exists()
    sent = copy_to_send(path, tmp_path / "sent", hash_vocabularies=False)
    card = (sent / "README.md").read_text(encoding="utf-8")
    assert f"names of the {len(classes)} classes that the model predicts" in card
    assert "pipeline_tag: tabular-classification" in card


def test_a_few_small_integers_are_classes_that_tell_nothing(folder: Path, tmp_path: Path) -> None:
    path = of_classes(folder, tmp_path / "model", ["-1", "0", "1"])
    sent = copy_to_send(path, tmp_path / "sent", hash_vocabularies=True)
    assert "names of the" not in (sent / "README.md").read_text(encoding="utf-8")


def test_hiding_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    sent = [copy_to_send(folder, tmp_path / name, hash_vocabularies=True) for name in ("first", "second")]
    again = copy_to_send(sent[0], tmp_path / "again", hash_vocabularies=True)
    for name in (*OWN_FILES, "heads/linear.json"):
        assert len({(path / name).read_bytes() for path in (*sent, again)}) == 1, name


def test_equal_values_of_two_columns_or_models_are_hidden_differently(nasty_store: Store) -> None:
    tables = {}
    for name, table in nasty_store.schema.tables.items():
        same = (dataclasses.replace(c, categories=("x", "y")) if holds_values(c) else c for c in table.columns)
        tables[name] = dataclasses.replace(table, columns=tuple(same))
    schema = dataclasses.replace(nasty_store.schema, tables=tables)
    hidden = [c.categories for key in "ab" for _, c in columns(with_hidden_values(schema, key)) if c.salt]
    assert len({name for names in hidden for name in names}) == 2 * len(hidden) == 4 * len(vocabularies(schema))


def test_a_hidden_value_is_a_digest_by_which_a_value_is_found() -> None:
    column = ColumnSchema(name="a", stype="categorical", categories=("x", "y"))
    assert set(column.hidden("1").categories).isdisjoint(column.hidden("2").categories)
    assert len(column.hidden("1").categories[0]) == 64
    assert column.hidden("1").category_of("x") == column.hidden("1").categories[0]


def test_a_model_with_hidden_values_accepts_the_store_it_was_trained_on_and_no_other(
    nasty_store: Store, folder: Path, tmp_path: Path
) -> None:
    after = from_pretrained(copy_to_send(folder, tmp_path / "sent", hash_vocabularies=True))
    after.require_same_schema(nasty_store)
    table, column = next((t, c) for t in nasty_store.schema.tables.values() for c in t.columns if holds_values(c))
    other = dataclasses.replace(column, categories=(*column.categories[:-1], "another"))
    swapped = dataclasses.replace(table, columns=tuple(other if c is column else c for c in table.columns))
    schema = dataclasses.replace(nasty_store.schema, tables={**nasty_store.schema.tables, table.name: swapped})
    with pytest.raises(ValueError, match=f"table {table.name}: columns differ: {column.name}"):
        after.require_same_schema(dataclasses.replace(nasty_store, schema=schema))


def test_a_store_is_read_with_hidden_names_where_the_model_s_are_hidden(
    nasty_store: Store, folder: Path, tmp_path: Path
) -> None:
    before = from_pretrained(folder)
    after = from_pretrained(copy_to_send(folder, tmp_path / "sent", hash_vocabularies=True))
    assert before.as_read(nasty_store).schema == nasty_store.schema
    assert columns(after.as_read(nasty_store).schema) == columns(after.schema)


def rows_vectors(encoder: RelationalEncoder, store: Store) -> dict[str, torch.Tensor]:
    encoder.eval()
    rows = {t: np.arange(s.num_rows) for t, s in store.schema.tables.items()}
    with torch.no_grad():
        return encoder.encode_rows({t: f.gather(rows[t]) for t, f in store.features.items()})


def test_a_model_with_hidden_values_reads_data_to_the_same_bits(
    nasty_store: Store, nasty_dataset: RelBenchDataset, folder: Path, tmp_path: Path
) -> None:
    before = from_pretrained(folder)
    after = from_pretrained(copy_to_send(folder, tmp_path / "sent", hash_vocabularies=True))
    by_values = materialize(nasty_dataset, tmp_path / "stores", StoreConfig(), model=before.schema)
    by_hashes = materialize(nasty_dataset, tmp_path / "stores", StoreConfig(), model=after.schema)
    assert by_values.path != by_hashes.path
    arrays = [p.relative_to(by_values.path) for p in sorted(by_values.path.rglob("*.npy"))]
    for name in arrays:
        assert (by_values.path / name).read_bytes() == (by_hashes.path / name).read_bytes(), name
    expected = rows_vectors(before.encoder(), nasty_store)
    for found in (rows_vectors(after.encoder(), store) for store in (nasty_store, by_hashes)):
        for table, vectors in expected.items():
            assert torch.equal(found[table], vectors), table
