"""The file that --propose writes: it reads back as what is certain, whatever the names are, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.importing.config import ImportConfig, ImportRefused
from distributed.importing.importer import import_database, propose_schema
from distributed.schema.schema_file import read_schema_file
from tests.distributed.importing.small_imports import files
from tests.distributed.inference.small_sources import Table, proposed, write_csv
from tests.distributed.inference.test_traps import CODES, COMPOSITE, day, with_orphans

ODD: dict[str, Table] = {
    "no": ("id on", [(100 + 3 * i, i % 2) for i in range(20)]),
    "1": ("id no_id at", [(f"x{i}", 100 + 3 * (i % 20), day(i)) for i in range(60)]),
}


def accepted(folder: Path, out: Path, **options: object) -> list[str]:
    lines: list[str] = []
    import_database(ImportConfig(source=str(folder), out=out, name="x", **{"accept": True, **options}), lines.append)  # type: ignore[arg-type]
    return lines


@pytest.mark.parametrize("tables", [COMPOSITE, CODES, ODD], ids=["composite", "codes", "odd names"])
def test_an_import_with_the_file_equals_one_that_accepts(tmp_path: Path, tables: dict[str, Table]) -> None:
    folder = write_csv(tmp_path / "in", tables)
    times = proposed(folder).timestamps
    assert times is not None
    accepted(folder, tmp_path / "accepted")
    with_file = {"accept": False, "schema_file": tmp_path / "proposed.yaml"}
    accepted(
        folder,
        tmp_path / "declared",
        val_timestamp=times.val_timestamp,
        test_timestamp=times.test_timestamp,
        **with_file,
    )
    # The pages tell how the keys were found.
    first, second = files(tmp_path / "accepted"), files(tmp_path / "declared")
    assert {p: b for p, b in first.items() if p != "report.html"} == {
        p: b for p, b in second.items() if p != "report.html"
    }


def test_what_is_likely_is_commented_out_and_can_be_taken_in(tmp_path: Path) -> None:
    proposed(write_csv(tmp_path / "in", with_orphans(2)))
    text = (tmp_path / "proposed.yaml").read_text()
    assert "  # fkeys:" in text and "    # patient_id: patients  # likely: 2 of 100 values have no parent" in text
    assert read_schema_file(tmp_path / "proposed.yaml")["visits"].fkeys == ()
    (tmp_path / "changed.yaml").write_text(text.replace("# fkeys", "fkeys").replace("# patient_id: p", "patient_id: p"))
    (key,) = read_schema_file(tmp_path / "changed.yaml")["visits"].fkeys
    assert (key.columns, key.table) == (("patient_id",), "patients")


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    write_csv(tmp_path / "in", COMPOSITE)
    (tmp_path / "proposed.yaml").write_text("mine")
    with pytest.raises(FileExistsError, match="changed by hand"):
        proposed(tmp_path / "in")
    assert (tmp_path / "proposed.yaml").read_text() == "mine"


def test_a_proposal_writes_nothing_but_its_file(tmp_path: Path) -> None:
    propose_schema(ImportConfig(source=str(write_csv(tmp_path / "in", COMPOSITE)), propose=tmp_path / "s.yaml"), None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "s.yaml"]
    assert len(list((tmp_path / "in").iterdir())) == len(COMPOSITE)


def test_how_values_were_read_is_said_with_the_proposal(tmp_path: Path) -> None:
    rows = [(i, "NA" if i == 3 else 1.5 * i, day(i)) for i in range(40)]
    folder, lines = write_csv(tmp_path / "in", {"sales": ("sale_id amount at", rows)}), []
    propose_schema(ImportConfig(source=str(folder), propose=tmp_path / "s.yaml"), lines.append)
    assert "sales.amount: 1 values count as null: 'NA' (1)" in lines


def test_likely_keys_are_listed_and_not_taken(tmp_path: Path) -> None:
    lines = accepted(write_csv(tmp_path / "in", with_orphans(2)), tmp_path / "out")
    (line,) = [line for line in lines if "foreign key visits.patient_id" in line and line.startswith("not taken")]
    assert "98 of 100 distinct values found" in line
    assert any("--propose" in line and "--schema-file" in line for line in lines)
    assert any(line.startswith("warning: no table refers to another one") for line in lines)


def test_what_is_given_is_not_proposed_and_timestamps_without_times_are_asked_for(tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "in", {name: COMPOSITE[name] for name in ("products",)})
    with pytest.raises(ImportRefused, match="--val-timestamp: not given, and the rows have no times"):
        accepted(folder, tmp_path / "out")
    with pytest.raises(ImportRefused, match="--val-timestamp and --test-timestamp: not given"):
        ImportConfig(source=str(folder), out=tmp_path / "out", name="x")
    with pytest.raises(ImportRefused, match="--out and --name and --val-timestamp and"):
        ImportConfig(source=str(folder))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("files/my clinic", "my clinic"),
        ("sqlite:///some/shop.db", "shop"),
        ("postgresql+psycopg://me:secret@host:5432/crm?sslmode=require", "crm"),
        ("store.duckdb", "store"),
    ],
)
def test_accept_alone_names_the_database_as_its_source_is_and_writes_below_data(source: str, name: str) -> None:
    found = ImportConfig(source=source, accept=True).named()
    assert (found.name, found.out) == (name, Path("data") / name)
    assert ImportConfig(source=source, accept=True, name="x").named().out == Path("data/x")
    assert ImportConfig(source=source, accept=True, out=Path("y")).named().out == Path("y")


def test_a_source_without_a_name_is_asked_for_one() -> None:
    with pytest.raises(ImportRefused, match="--name: not given"):
        ImportConfig(source="postgresql://host/", accept=True)
