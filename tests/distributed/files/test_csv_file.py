"""CSV files: every row is read as it stands, or named with the remedy."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distributed.files import csv_file
from distributed.files.csv_file import CsvTable
from distributed.schema.declared_table import DeclaredTable
from distributed.schema.refusals import ImportRefused


def read(path: Path, **declared: Any) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Returns all values by column, and the notes."""
    table = CsvTable("orders", [path], DeclaredTable(**declared))
    schema = table.schema()
    rows = [row for batch in table.batches(schema.columns) for row in batch.to_pylist()]
    return {column: [row[column] for row in rows] for column in schema.columns}, schema.notes


ROWS = {"id": ["1", "2"], "town": ["Brno", "Žďár, nad"]}


@pytest.mark.parametrize(
    ("content", "declared", "note"),
    [
        ('id,town\n1,Brno\n2,"Žďár, nad"\n'.encode(), {}, None),
        ('id,town\r\n1,Brno\r\n\r\n2,"Žďár, nad"'.encode(), {}, None),
        ('\n\nid,town\n1,Brno\n2,"Žďár, nad"\n'.encode(), {}, None),
        ('"id","town"\n"1","Brno"\n"2","Žďár, nad"\n'.encode("utf-8-sig"), {}, None),
        ('id,town\n1,Brno\n2,"Žďár, nad"\n'.encode("utf-16"), {}, "is read as UTF-16"),
        ('id,town\n1,Brno\n2,"Žďár, nad"\n'.encode("utf-16-be"), {"encoding": "utf-16-be"}, None),
        ('id,town\n1,Brno\n2,"Žďár, nad"\n'.encode("cp1250"), {"encoding": "cp1250"}, None),
        ("id;town\n1;Brno\n2;Žďár, nad\n".encode(), {}, "separated by ';'"),
        ("id\ttown\n1\tBrno\n2\tŽďár, nad\n".encode(), {}, "separated by '\\t'"),
        ("id|town\n1|Brno\n2|Žďár, nad\n".encode(), {}, "separated by '|'"),
        ("id~town\n1~Brno\n2~Žďár, nad\n".encode(), {"delimiter": "~"}, None),
        (',id,town\n0,1,Brno\n1,2,"Žďár, nad"\n'.encode(), {}, "column 1 of orders.csv has no name"),
        ('id,town,\n1,Brno,\n2,"Žďár, nad",\n'.encode(), {}, "column 3 of orders.csv has no name"),
    ],
)
def test_the_same_rows_are_read_from_every_dialect(
    tmp_path: Path, content: bytes, declared: dict[str, Any], note: str | None
) -> None:
    (tmp_path / "orders.csv").write_bytes(content)
    rows, notes = read(tmp_path / "orders.csv", **declared)
    assert rows == ROWS
    assert [note in line for line in notes] == [True] if note else not notes


@pytest.mark.parametrize("press", [gzip.compress, bz2.compress])
def test_compressed_files_are_read(tmp_path: Path, press: Any) -> None:
    path = tmp_path / f"orders.csv.{'gz' if press is gzip.compress else 'bz2'}"
    path.write_bytes(press('id,town\n1,Brno\n2,"Žďár, nad"\n'.encode()))
    assert read(path) == (ROWS, ())


@pytest.mark.parametrize(
    ("content", "declared", "message"),
    [
        (b"", {}, "the file is empty; expected a header line"),
        (b"\n\n", {}, "no column has a name"),
        (b",,\n1,2,3\n", {}, "no column has a name"),
        (b"id,x\0y\n1,2\n", {}, "the header holds a NUL byte"),
        (b"id,town,id\n1,2,3\n", {}, r"columns \[1, 3\] are all named 'id'; rename"),
        (
            b"id,town\n1,Brno\n2,Zlin,x\n",
            {},
            r"row 1 \(line 3\): 3 fields, the header has 2; \['2', 'Zlin', 'x'\]; put",
        ),
        (b"id,town\n1,Brno\n2\n", {}, r"row 1 \(line 3\): 1 fields, the header has 2"),
        (b'id,town\n1,"a\nb"\n\n2\n', {}, r"row 1 \(line 5\): 1 fields"),
        (b"id,town\n1,Brno,\n2,Zlin,\n", {}, r"row 0 .*3 fields, the header has 2.*it ends with a ',': take that away"),
        (b"id,town,\n1,Brno\n2,Zlin\n", {}, r"row 0 .*2 fields, the header has 3.*the header ends with a ','"),
        (b"id,town\n1;Brno\n", {}, r'row 0 .*1 fields.*`orders: \{delimiter: ";"\}`'),
        (b"id;town|x\n1;Brno|y\n", {}, "';' and '|' may all separate its fields; .*delimiter: \";\""),
        (
            b"id,town\n1,Brno\n2,Zl\xedn\n",
            {},
            r"row 1, column 'town': byte 19 is 0xed, which is no UTF-8; .*encoding: cp1252",
        ),
        (b"id,t\xf8wn\n1,Brno\n", {}, "header: byte 4 is 0xf8, which is no UTF-8"),
        (
            "id,town\n1,Žďár\n".encode("utf-16-le"),
            {},
            r"as in UTF-16 without a mark; .*`orders: \{encoding: utf-16-le\}`",
        ),
        (
            "id,town\n1,Žďár\n".encode(),
            {"encoding": "ascii"},
            "row 0, column 'town': byte 10 is 0xc5, which is no ASCII",
        ),
        (b'id,town\n1,"Brno\n2,Zlin\n', {}, r"row 0 \(from line 2 on\): .*a quote is not closed"),
        (b'id,town\n1,Brno\n2,"Zlin\n3,"Brno"\n', {}, r"row 1 \(from line 3 on\): .*a quote is not closed"),
    ],
)
def test_a_row_that_is_none_is_named_with_the_remedy(
    tmp_path: Path, content: bytes, declared: dict[str, Any], message: str
) -> None:
    (tmp_path / "orders.csv").write_bytes(content)
    with pytest.raises(ImportRefused, match=r"table 'orders', file orders.csv.*" + message):
        read(tmp_path / "orders.csv", **declared)


@pytest.mark.parametrize("content", [b"id,town", b"id,town\n", b"\xef\xbb\xbfid,town\r\n\r\n"])
def test_a_header_alone_is_a_table_without_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "orders.csv").write_bytes(content)
    assert read(tmp_path / "orders.csv")[0] == {"id": [], "town": []}


def test_null_and_the_empty_text_differ(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text('id,a,b\n1,,""\n')
    assert read(tmp_path / "orders.csv")[0] == {"id": ["1"], "a": [None], "b": [""]}


@pytest.mark.parametrize(
    "value",
    [
        "a\nb",
        "a\r\nb",
        'say "x"',
        '"',
        "a,b",
        "'",
        "  x ",
        "NA",
        "#1",
        "\\N",
        "a\\",
        "\u2028",
        "\ufeff",
        "\x00",
        "𝔘",
        "=1+1",
    ],
)
def test_every_value_that_python_writes_comes_back(tmp_path: Path, value: str) -> None:
    with (tmp_path / "orders.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "x"], ["1", value], ["2", "y"]])
    assert read(tmp_path / "orders.csv")[0] == {"id": ["1", "2"], "x": [value, "y"]}


def test_rows_over_many_blocks_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 64)
    frame = pd.DataFrame({"id": range(1000), "x": [f"line {i}\nof {i}" for i in range(1000)]})
    frame.to_csv(tmp_path / "orders.csv", index=False)
    rows, _ = read(tmp_path / "orders.csv")
    assert rows == {"id": [str(i) for i in range(1000)], "x": frame.x.tolist()}


def test_a_row_longer_than_a_block_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 1 << 20)
    (tmp_path / "orders.csv").write_text("id,x\n1," + "x" * (3 << 20) + "\n")
    with pytest.raises(ImportRefused, match="file orders.csv: .*a row may take 1 MiB"):
        read(tmp_path / "orders.csv")


def test_parts_are_one_table_whatever_the_order_of_their_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,town\n1,Brno\n")
    (tmp_path / "b.csv").write_text("town,id\nZlin,2\n")
    table = CsvTable("orders", [tmp_path / "a.csv", tmp_path / "b.csv"], DeclaredTable())
    rows = [row for batch in table.batches({"town": "text", "id": "text"}) for row in batch.to_pylist()]
    assert rows == [{"town": "Brno", "id": "1"}, {"town": "Zlin", "id": "2"}]
    (tmp_path / "b.csv").write_text("town,no\nZlin,2\n")
    with pytest.raises(ImportRefused, match=r"b.csv: the header is \['town', 'no'\], that of a.csv \['id', 'town'\]"):
        CsvTable("orders", [tmp_path / "a.csv", tmp_path / "b.csv"], DeclaredTable())


SCRAPS = ["a", "1", ",", ";", '"', '""', "\n", "\r\n", "\r", " ", "é", "\t", "|", "\x00", ".", "\ufeff", "'", "\\"]


def spoiled_csv(draw: random.Random) -> bytes:
    """Returns a CSV file that Python wrote, with up to two characters taken away or put in, and perhaps one byte that is no UTF-8."""
    text, width = io.StringIO(newline=""), draw.randint(1, 4)
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(
        text, delimiter=draw.choice(",,;\t"), quoting=quoting, lineterminator=draw.choice(["\n", "\r\n"])
    )
    writer.writerow([f"c{number}" for number in range(width)])
    for _ in range(draw.randint(0, 5)):
        writer.writerow(["".join(draw.choices(SCRAPS, k=draw.randint(0, 3))) for _ in range(width)])
    characters = list(text.getvalue())
    for _ in range(draw.choice([0, 1, 1, 2])):
        place = draw.randrange(len(characters))
        characters[place : place + draw.randint(0, 1)] = draw.choice([[], [draw.choice(SCRAPS)]])
    written, place = "".join(characters).encode(), draw.randrange(len(characters))
    return written[:place] + b"\xe9" * (draw.random() < 0.1) + written[place:]


def test_a_spoiled_file_is_read_as_python_reads_it_or_refused(tmp_path: Path) -> None:
    draw, num_read = random.Random(0), 0
    for _ in range(400):
        content = spoiled_csv(draw)
        (tmp_path / "orders.csv").write_bytes(content)
        try:
            table = CsvTable("orders", [tmp_path / "orders.csv"], DeclaredTable())
            batches = list(table.batches(dict.fromkeys(table.columns, "text")))
        except ImportRefused:
            continue
        found = [[value or "" for value in row.values()] for batch in batches for row in batch.to_pylist()]
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
        header, *rows = [row for row in csv.reader(text, delimiter=table.delimiter) if row]
        assert found == [[row[i] for i, name in enumerate(header) if name] for row in rows], content
        num_read += 1
    assert num_read > 100


@pytest.mark.parametrize("field", [r'"5\" pipe"', '"a"b', '""a', r'"say \"hi\""'])
def test_a_quote_that_is_no_csv_is_refused_and_never_dropped(tmp_path: Path, field: str) -> None:
    (tmp_path / "orders.csv").write_text(f"id,note\n1,fine\n2,{field}\n3,fine\n")
    with pytest.raises(ImportRefused, match=r"orders.csv, row 1 .*a quote is not closed, or text follows"):
        read(tmp_path / "orders.csv")


def test_quotes_within_a_field_stay(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text('id,note\n1,5" pipe\n2,"a ""b"" c"\n3,"x,""y"" z"\n')
    assert read(tmp_path / "orders.csv")[0]["note"] == ['5" pipe', 'a "b" c', 'x,"y" z']


def test_a_compressed_file_that_is_cut_names_its_table(tmp_path: Path) -> None:
    whole = gzip.compress(b"id,note\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(9_000)))
    for content in (whole[:-200], b"id,note\n1,2\n"):
        (tmp_path / "orders.csv.gz").write_bytes(content)
        with pytest.raises(ImportRefused, match=r"table 'orders', file orders.csv.gz: .*write the file anew"):
            read(tmp_path / "orders.csv.gz")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("1,2023-01-01 00:00:00,Brno", "2 of its 3 names look like values, such as '1'"),
        ("id,2019,2020", "2 of its 3"),
        ("id,at,town2", ""),
    ],
)
def test_a_first_line_that_looks_like_a_row_is_said_to_be_taken_for_the_header(
    tmp_path: Path, header: str, said: str
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f"{header}\n2,2023-01-02,Most\n")
    _, notes = read(path)
    assert any(said in note for note in notes) if said else not notes
