"""materialize --append: the store of an appended import from the one that was there, byte for byte that of a whole --schema-of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distributed.importing.importer import import_database
from rdl_core.database.dataset import open_dataset
from rdl_core.graph import table_writer
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.text import text_embedding
from rdl_core.text.text_embedding import HashedNgramEmbedder
from tests.distributed.appending.test_append import LATER, MONTH, SHOP, change
from tests.distributed.importing.small_imports import config

TEXTS = "".join(f"INSERT INTO line VALUES (10, {i}, 'text {i * i}');" for i in range(3, 60))
LATER_TEXTS = "".join(f"INSERT INTO line VALUES (20, {i}, 'late {i}');" for i in range(40))


@pytest.fixture(autouse=True)
def chunks_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (text_embedding, table_writer):
        monkeypatch.setattr(module, "CHUNK_TEXTS", 10)


def appended(tmp_path: Path) -> tuple[Path, Store]:
    """Returns an appended import and the store of what it was before."""
    path, out = tmp_path / "shop.db", tmp_path / "out"
    import_database(config(change(path, SHOP + TEXTS), out), None)
    earlier = materialize(open_dataset(out), tmp_path / "stores")
    import_database(config(change(path, LATER + LATER_TEXTS), out, append=True, **MONTH), None)
    return out, earlier


def test_the_bytes_are_those_of_a_whole_run_with_the_schema(tmp_path: Path) -> None:
    out, earlier = appended(tmp_path)
    whole = materialize(open_dataset(out), tmp_path / "whole", model=earlier.schema)
    quick = materialize(open_dataset(out), tmp_path / "quick", earlier=earlier)
    assert quick.path.name == whole.path.name and quick.content_hash == whole.content_hash
    names = [sorted(p.relative_to(s.path) for p in s.path.rglob("*")) for s in (quick, whole)]
    assert names[0] == names[1]
    assert all((quick.path / n).read_bytes() == (whole.path / n).read_bytes() for n in names[0] if n.suffix)
    assert quick.schema.tables["line"].num_rows == 3 + 57 + 2 + 40


def test_texts_that_were_there_are_not_embedded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, earlier = appended(tmp_path)
    texts: list[str] = []
    embed = HashedNgramEmbedder.embed

    def watched(self: HashedNgramEmbedder, given: list[str]) -> np.ndarray:
        texts.extend(given)
        return embed(self, given)

    monkeypatch.setattr(HashedNgramEmbedder, "embed", watched)
    materialize(open_dataset(out), tmp_path / "quick", earlier=earlier)
    again = {text for text in texts if text.startswith("text ")}
    assert {text for text in texts if text.startswith("late ")} == {f"late {i}" for i in range(40)}
    assert len(again) < 10  # of the chunk that was not full


def test_cells_that_were_there_are_copied(tmp_path: Path) -> None:
    out, earlier = appended(tmp_path)
    number = list(earlier.schema.tables).index("sale")
    path = earlier.path / "tables" / str(number) / "numerical.npy"
    cells = np.load(path)
    cells[0, 0] = 12345
    np.save(path, cells)
    quick = materialize(open_dataset(out), tmp_path / "quick", earlier=earlier)
    assert quick.features["sale"].arrays["numerical"][0, 0] == 12345


def test_the_store_of_something_else_is_refused(tmp_path: Path) -> None:
    out, earlier = appended(tmp_path)
    other = materialize(open_dataset(out), tmp_path / "other")  # of the rows after the append
    with pytest.raises(ValueError, match="is no store of nasty as it was before rows were appended"):
        materialize(open_dataset(out), tmp_path / "quick", earlier=other)
    renamed = earlier.path.rename(earlier.path.with_name("nasty-0123456789abcdef"))
    with pytest.raises(ValueError, match="is no store of nasty"):
        materialize(open_dataset(out), tmp_path / "quick", earlier=Store(renamed, earlier.schema, earlier.manifest))


def test_a_folder_that_was_changed_after_its_import_is_refused(tmp_path: Path) -> None:
    out, earlier = appended(tmp_path)
    manifest = out / "manifest.yaml"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(ValueError, match="the files of .* have changed since their import"):
        materialize(open_dataset(out), tmp_path / "quick", earlier=earlier)


def test_an_import_without_appended_rows_is_refused(tmp_path: Path) -> None:
    import_database(config(change(tmp_path / "shop.db", SHOP), tmp_path / "out"), None)
    store = materialize(open_dataset(tmp_path / "out"), tmp_path / "stores")
    with pytest.raises(ValueError, match="is no import to which rows were appended"):
        materialize(open_dataset(tmp_path / "out"), tmp_path / "more", earlier=store)
