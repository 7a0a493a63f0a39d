"""A RelBench folder, written into a database with declared keys and imported again, gives the folder's graph: every link, time and cell."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from relbench.manifest import DatasetManifest

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from examples.shop import write_shop
from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
from tests.distributed.sources.written import write_database


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    source = f"sqlite:///{write_shop(folder / 'shop.db', customers=100)}"
    cutoffs = {"val_timestamp": "2024-07-01", "test_timestamp": "2024-09-01"}
    import_database(ImportConfig(source=source, out=folder / "shop", name="shop", **cutoffs), None)
    return folder / "shop"


@pytest.fixture
def rel_f1(data_root: Path, tmp_path: Path) -> Path:
    """rel-f1 with its tables and keys in the order of their names, as an import has them; a store numbers them by their order."""
    folder = tmp_path / "rel-f1"
    folder.mkdir()
    (folder / "db").symlink_to((data_root / "rel-f1" / "db").resolve())
    manifest = DatasetManifest.load(data_root / "rel-f1" / "manifest.yaml")
    tables = {
        n: dataclasses.replace(t, fkeys=dict(sorted(t.fkeys.items()))) for n, t in sorted(manifest.tables.items())
    }
    dataclasses.replace(manifest, tables=tables).save(folder / "manifest.yaml")
    return folder


def check_round_trip(folder: Path, source: str, tmp_path: Path) -> None:
    """Asserts that an import of what `folder` holds, written to `source`, has the same store."""
    write_database(folder, source)
    manifest = DatasetManifest.load(folder / "manifest.yaml")
    config = ImportConfig(
        source=source,
        out=tmp_path / "out",
        name=manifest.name,
        val_timestamp=manifest.val_timestamp,
        test_timestamp=manifest.test_timestamp,
        time_cols={name: table.time_col for name, table in manifest.tables.items() if table.time_col},
    )
    import_database(config, None)
    stores = [
        materialize(open_dataset(path), tmp_path / "stores" / str(number), workers=1)
        for number, path in enumerate((folder, tmp_path / "out"))
    ]
    assert stores[0].schema == stores[1].schema
    arrays = [{path.relative_to(store.path): path for path in store.path.rglob("*.npy")} for store in stores]
    assert sorted(arrays[0]) == sorted(arrays[1])
    different = [str(name) for name, path in arrays[0].items() if path.read_bytes() != arrays[1][name].read_bytes()]
    assert arrays[0] and different == []


def test_the_shop_from_sqlite(shop_folder: Path, tmp_path: Path) -> None:
    check_round_trip(shop_folder, f"sqlite:///{tmp_path}/shop.db", tmp_path)


def test_the_shop_from_duckdb(shop_folder: Path, tmp_path: Path) -> None:
    check_round_trip(shop_folder, f"duckdb:///{tmp_path}/shop.duckdb", tmp_path)


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_the_shop_from_a_server(shop_folder: Path, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check_round_trip(shop_folder, request.getfixturevalue(kind), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_rel_f1_from_a_file(rel_f1: Path, kind: str, tmp_path: Path) -> None:
    check_round_trip(rel_f1, f"{kind}:///{tmp_path}/f1.db", tmp_path)


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_rel_f1_from_a_server(rel_f1: Path, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    check_round_trip(rel_f1, request.getfixturevalue(kind), tmp_path)
