"""report.html: one file without a script or anything from elsewhere, whatever the tables are called; bounded; it says all that was found."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from relbench.manifest import DatasetManifest

from distributed.import_report.html_page import write_page
from distributed.import_report.report import (
    ColumnReport,
    Finding,
    ImportReport,
    KeyReport,
    RowsOverTime,
    TableReport,
    TaskLabels,
)
from distributed.import_report.rows_over_time import NUM_BINS
from distributed.import_report.schema_diagram import draw_schema
from distributed.importing.importer import import_database
from rdl_core.database.label_checks import SplitLabels
from tests.distributed.importing.small_imports import config, sqlite_file

VOID = {"meta", "link", "img", "br", "hr", "input", "area", "base", "embed", "source", "col", "wbr", "track"}


class Page(HTMLParser):
    """The elements, attributes and text of a page, and whether its elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data


def table(**changes: Any) -> TableReport:
    known: dict[str, Any] = {
        "num_rows": 10,
        "num_columns": 2,
        "pkey_col": "id",
        "time_col": "at",
        "fkey_col_to_pkey_table": {},
        "null_fkeys": {},
        "dangling_fkeys": {},
        "left_out": {},
    }
    return TableReport(**known | changes)


def page(tmp_path: Path, tables: dict[str, TableReport], **changes: Any) -> Page:
    report = ImportReport(manifest=tmp_path / "manifest.yaml", tables=tables, **changes)
    manifest = DatasetManifest(name="library", val_timestamp="2020-01-01", test_timestamp="2020-02-01")
    write_page(report.page, report, manifest)
    return Page(report.page.read_text(encoding="utf-8"))


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert('&amp;')",
    "Žofie ☃ 名前",
    "a\tb & c",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_texts_of_the_data_are_shown_and_never_run(tmp_path: Path, name: str) -> None:
    of_it = table(
        pkey_col=name,
        time_col=name,
        fkey_col_to_pkey_table={name: name},
        dangling_fkeys={name: 1},
        left_out={name: name},
        columns={name: ColumnReport(kind=name, num_null=3, evidence=name, null_spellings={name: 3}, renamed_from=name)},
    )
    rows = RowsOverTime(start_s=0, bin_s=9, val_timestamp_s=5, test_timestamp_s=8, counts={name: (1,) * NUM_BINS})
    finding = Finding(kind="filled_in_later", table=name, column=name, num_rows=2, text=name, remedy=name)
    labels = TaskLabels(
        task_type="binary_classification",
        entity_table=name,
        target_col=name,
        splits={"val": SplitLabels(num_rows=4, classes={name: 4})},
    )
    key = KeyReport(role="foreign key", table=name, columns=(name,), parent=name, origin="inferred", evidence=name)
    found = page(
        tmp_path,
        {name: of_it},
        notes=(name,),
        leaks=(finding,),
        label_findings=(dataclasses.replace(finding, kind="labels", task=name, split="val"),),
        labels={name: labels},
        keys=(key,),
        rows_over_time=dataclasses.replace(rows, num_outside={name: 0}),
    )
    harmless = {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    assert not harmless & set(found.tags)
    assert not [
        a for a, value in found.attributes if a.startswith("on") or a in ("href", "src", "action", "xlink:href")
    ]
    assert found.text.count(name) >= 10


def test_a_page_loads_nothing(tmp_path: Path) -> None:
    page(tmp_path, {"loans": table()})
    text = (tmp_path / "report.html").read_text()
    assert "http" not in text.replace("http://www.w3.org/", "") and "url(" not in text and "@import" not in text


def test_the_page_of_a_hundred_tables_is_small(tmp_path: Path) -> None:
    columns = {
        f"a column with a long name {i}": ColumnReport(kind="timestamp[ns]", num_null=i, evidence="all values fit")
        for i in range(40)
    }
    tables = {
        f"table {i}": table(
            fkey_col_to_pkey_table={f"key_{k}": f"table {(i + k) % 100}" for k in range(1, 6)}, columns=columns
        )
        for i in range(100)
    }
    rows = RowsOverTime(
        start_s=0,
        bin_s=1,
        val_timestamp_s=1,
        test_timestamp_s=2,
        counts=dict.fromkeys(tables, (7,) * NUM_BINS),
        num_outside=dict.fromkeys(tables, 0),
    )
    findings = tuple(
        Finding(
            kind="later_time", table=name, column="c", num_rows=1, text="lies after " * 20, remedy="leave it out " * 20
        )
        for name in tables
    )
    page(tmp_path, tables, leaks=findings * 30, notes=("a note",) * 10_000, rows_over_time=rows)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_of_two_thousand_columns_those_that_tell_something_are_listed(tmp_path: Path) -> None:
    columns = {f"c{i}": ColumnReport(kind="double", num_null=int(i == 9_000)) for i in range(10_000)}
    found = page(tmp_path, {"wide": table(columns=columns)})
    assert (
        "c9000" in found.text
        and "c17 " not in found.text
        and "9,999 more columns, of which import.json tells" in found.text
    )


def test_keys_in_a_circle_and_to_their_own_table_are_drawn() -> None:
    tables = {
        "a": table(fkey_col_to_pkey_table={"b": "b", "self": "a"}),
        "b": table(fkey_col_to_pkey_table={"a": "a"}),
        "c": table(fkey_col_to_pkey_table={"a": "a", "gone": "not imported"}, time_col=None),
    }
    svg = ElementTree.fromstring(draw_schema(tables, {"c"}))
    titles = sorted(str(path.findtext("title")) for path in svg.findall("path"))
    assert titles == ["a.b → b", "a.self → a", "b.a → a", "c.a → a"]
    boxes = {str(group.findtext("text")): group for group in svg.findall("g")}
    assert boxes["c"].get("class") == "table undated doubted" and boxes["a"].get("class") == "table dated"
    places = [(box.find("rect").get("x"), box.find("rect").get("y")) for box in boxes.values()]  # type: ignore[union-attr]
    assert len(set(places)) == 3


def test_an_import_writes_its_page_and_says_where(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    lines: list[str] = []
    report = import_database(config(source, tmp_path / "out"), lines.append)
    assert report.page == tmp_path / "out" / "report.html" and str(report.page) in lines[-1]
    found = Page(report.page.read_text())
    for text in (
        "photo",
        "type BLOB is not supported",
        "order_time",
        "from order time",
        "order: 1 rows have no order time",
        "badge",
    ):
        assert text in found.text


def test_a_second_import_says_where_the_page_lies(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "nasty.db")
    import_database(config(source, tmp_path / "out"), None)
    lines: list[str] = []
    import_database(config(source, tmp_path / "out"), lines.append)
    assert "already imported" in lines[0] and "report.html" in lines[0]
