"""Databases whose keys are known, as CSV that declares none: every key is proposed, and none that is not there is certain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from relbench.manifest import DatasetManifest

from distributed.inference.evidence import Proposal
from examples.shop import write_shop
from tests.distributed.inference.small_sources import fkeys, pkeys, proposed, time_cols, to_csv, write_csv


def true_fkeys(manifest: DatasetManifest) -> set[str]:
    return {
        f"{table}.{column} -> {parent}.{manifest.tables[parent].pkey}"
        for table, spec in manifest.tables.items()
        for column, parent in spec.fkeys.items()
    }


def precision_and_recall(proposal: Proposal, truth: set[str]) -> tuple[float, float]:
    """Of the certain foreign keys."""
    certain = fkeys(proposal, "certain")
    return len(certain & truth) / len(certain), len(certain & truth) / len(truth)


@pytest.mark.parametrize(("name", "num_fkeys"), [("rel-f1", 13), pytest.param("rel-retail", 5, marks=pytest.mark.slow)])
def test_all_keys_of_a_real_database_are_certain_and_no_others(
    data_root: Path, tmp_path: Path, name: str, num_fkeys: int
) -> None:
    if not (data_root / name / "manifest.yaml").exists():
        pytest.skip(f"no {name} below {data_root}")
    manifest = DatasetManifest.load(data_root / name / "manifest.yaml")
    proposal = proposed(to_csv(data_root / name, tmp_path / "in"))
    truth = true_fkeys(manifest)
    assert len(truth) == num_fkeys
    assert precision_and_recall(proposal, truth) == (1.0, 1.0)
    assert fkeys(proposal, "likely", "unlikely") == set()
    assert pkeys(proposal, "certain") == {t: spec.pkey for t, spec in manifest.tables.items() if spec.pkey}
    assert pkeys(proposal, "likely", "unlikely") == {}
    assert time_cols(proposal, "certain") == {t: spec.time_col for t, spec in manifest.tables.items() if spec.time_col}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], set[str]]:
    """The shop as CSV, its primary keys and its foreign keys as the database declares them."""
    folder = tmp_path_factory.mktemp("shop")
    primary, foreign, tables = {}, set(), {}
    with closing(sqlite3.connect(write_shop(folder / "shop.db", customers=300))) as con:
        for (table,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = con.execute(f"PRAGMA table_info({table})").fetchall()
            primary[table] = "+".join(row[1] for row in columns if row[5])
            links = con.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            foreign |= {f"{table}.{link[3]} -> {link[2]}.{link[4]}" for link in links}
            rows = con.execute(f"SELECT * FROM {table}").fetchall()
            tables[table] = (" ".join(row[1] for row in columns), rows)
    return write_csv(folder / "in", tables), primary, foreign


def test_all_keys_of_the_shop_are_certain_and_no_others(shop: tuple[Path, dict[str, str], set[str]]) -> None:
    source, primary, foreign = shop
    proposal = proposed(source)
    assert len(foreign) == 9
    assert precision_and_recall(proposal, foreign) == (1.0, 1.0)
    assert pkeys(proposal, "certain") == primary
    assert time_cols(proposal, "certain") == {
        "customers": "signup_time",
        "orders": "time",
        "reviews": "time",
        "events": "time",
    }
