"""CSV files as a table: one file, or the parts of one, each with the same header.

In: paths, and what the schema file says of delimiter and encoding. Out: the columns, all text, and Arrow batches in the files' order; types are
inferred later over all rows. Promises: a field that Arrow would read as something else than what stands there is refused with file, row and remedy:
rows with more or fewer fields than the header, quotes that are not closed (they swallow the rows after them), bytes that are no text in the
encoding. A delimiter other than the comma is taken only if it is the only one that fits the first rows, and is said. Cost: one pass; files whose
fields hold line breaks, or quotes where none belongs, are read a second time, in Python, for their quotes.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from distributed.schema.declared_table import DeclaredTable
from distributed.schema.refusals import ImportRefused
from distributed.schema.source_table import Kind, SourceTable

DELIMITERS = (",", ";", "\t", "|")
_BLOCK_BYTES = 1 << 24
"""A row must fit into one block."""
_VALUE = re.compile(r"[+-]?\d+([.,]\d+)?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?")
"""A number or a day: hardly the name of a column."""
_SAMPLE_CHARACTERS = 1 << 16
_SAMPLE_ROWS = 100
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}

csv.field_size_limit(2**31 - 1)


class CsvTable:
    """A table in CSV files.

    Args:
        name: Name of the table.
        paths: Its files, in order; compressed ones by their endings (.gz, .bz2, .zst).
        declared: What the schema file says of it.

    Raises:
        ImportRefused: A file has no header, none that agrees with the first file's, or cannot be read as text.
    """

    def __init__(self, name: str, paths: Sequence[Path], declared: DeclaredTable) -> None:
        self.name, self.paths = name, tuple(paths)
        self.notes: list[str] = []
        self._encoding: dict[Path, str] = {}
        self._headers: dict[Path, list[str]] = {}
        self.delimiter = declared.delimiter or ""
        for path in paths:
            try:
                self._encoding[path] = self._encoding_of(path, declared.encoding)
                self.delimiter = self.delimiter or self._detected(path)
                self._headers[path] = self._header(path)
            except (pa.ArrowException, OSError) as error:
                raise ImportRefused(f"{self._where(path)}: {error}; write the file anew") from error
        self.columns = [column for column in self._headers[paths[0]] if column]
        for path, header in self._headers.items():
            if {column for column in header if column} != set(self.columns):
                raise ImportRefused(
                    f"{self._where(path)}: the header is {header[:20]}, that of {paths[0].name} {self.columns[:20]}; expected "
                    "the same columns in every part; move the parts that are another table into a folder of their own"
                )

    def schema(self) -> SourceTable:
        """Returns the table's columns, all text."""
        return SourceTable(
            name=self.name,
            columns=dict.fromkeys(self.columns, "text"),
            text_types="all",
            declares_keys=False,
            notes=tuple(self.notes),
        )

    def batches(self, kinds: Mapping[str, Kind]) -> Iterator[pa.RecordBatch]:
        """Yields the columns `kinds`, as text, in the files' order.

        Raises:
            ImportRefused: A file is no CSV of its header's width, in its encoding.
        """
        for path in self.paths:
            must_check = False
            positions = [self._headers[path].index(column) for column in kinds]
            try:
                for batch in self._open(path):
                    # Arrow ends a quoted field that nothing ends at the end of the file, without a word.
                    must_check = must_check or any(_has_line_break(column) for column in batch.columns)
                    yield pa.RecordBatch.from_arrays([batch.column(i) for i in positions], names=list(kinds))
                if must_check or self._has_odd_quotes(path):
                    self._refuse_bad_rows(path)
            except (pa.ArrowException, UnicodeError, OSError) as error:
                with contextlib.suppress(OSError):  # of a compressed file, which is told below
                    self._refuse_bad_rows(path)
                hint = f"; a row may take {_BLOCK_BYTES >> 20} MiB" if "straddling" in str(error) else ""
                raise ImportRefused(f"{self._where(path)}: {error}{hint}; correct or write the file anew") from error

    def _where(self, path: Path) -> str:
        part = path.name if len(self.paths) == 1 else f"{path.parent.name}/{path.name}"
        return f"table {self.name!r}, file {part}"

    def _open(self, path: Path) -> Iterator[pa.RecordBatch]:
        """Opens the rows below the header, columns named by their positions."""
        header = self._headers[path]
        names = [str(position) for position in range(len(header))]
        if not self._has_rows(path):
            return iter(())
        return iter(
            pa_csv.open_csv(
                pa.input_stream(str(path)),
                read_options=pa_csv.ReadOptions(
                    block_size=_BLOCK_BYTES,
                    column_names=names,
                    skip_rows=self._blank_lines(path),
                    skip_rows_after_names=1,
                    encoding=_arrow_encoding(self._encoding[path]),
                ),
                parse_options=pa_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        )

    def _text(self, path: Path, errors: str = "strict") -> IO[str]:
        return io.TextIOWrapper(_bytes_of(path), encoding=self._encoding[path], errors=errors, newline="")

    def _encoding_of(self, path: Path, declared: str | None) -> str:
        with _bytes_of(path) as file:
            start = file.read(4096)
        if not start:
            raise ImportRefused(
                f"{self._where(path)}: the file is empty; expected a header line. Remove it, or leave the table out: --tables "
                "with the others"
            )
        marked = next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)
        if marked == "utf-16" and declared is None:
            self.notes.append(f"{self.name}: {path.name} is read as UTF-16, by the mark at its beginning")
        if marked is None and declared is None and start.count(0) * 4 > len(start):
            raise ImportRefused(
                f"{self._where(path)}: a quarter of its bytes are 0, as in UTF-16 without a mark; say which in the schema "
                f"file: `{self.name}: {{encoding: utf-16-le}}`"
            )
        return declared or marked or "utf-8"

    def _detected(self, path: Path) -> str:
        """Returns the delimiter of a file that the schema file says nothing of."""
        with self._text(path, "replace") as file:
            text = file.read(_SAMPLE_CHARACTERS)
        widths = {d: _widths(text, d, is_whole=len(text) < _SAMPLE_CHARACTERS) for d in DELIMITERS}
        possible = [d for d, found in widths.items() if found and found[0] > 1]
        fitting = [d for d in possible if len(set(widths[d])) == 1]
        remedy = f'say it in the schema file: `{self.name}: {{delimiter: "{";" if ";" in possible else ","}"}}`'
        if len(fitting) > 1 or (not fitting and len(possible) > 1 and "," not in possible):
            raise ImportRefused(
                f"{self._where(path)}: {' and '.join(map(repr, fitting or possible))} may all separate its fields; {remedy}"
            )
        delimiter = fitting[0] if fitting else possible[0] if len(possible) == 1 else ","
        if delimiter != ",":
            self.notes.append(f"{self.name}: the fields of {path.name} are separated by {delimiter!r}")
        return delimiter

    def _header(self, path: Path) -> list[str]:
        """Returns the names of the columns, "" for nameless ones, which are left out and said."""
        try:
            with self._text(path, "surrogateescape") as file:
                header = next((row for row in csv.reader(file, delimiter=self.delimiter) if row), [])
        except (UnicodeError, csv.Error):
            self._refuse_bad_rows(path)
            raise
        header = [name.removeprefix("\ufeff") if number == 0 else name for number, name in enumerate(header)]
        if any(_is_undecoded(name) for name in header):
            self._refuse_bad_rows(path)
        if nul := [name for name in header if "\0" in name]:
            raise ImportRefused(f"{self._where(path)}: the header holds a NUL byte, in {nul[0]!r}; take it away")
        named = [name for name in header if name]
        if twice := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
            places = [number for number, name in enumerate(header, start=1) if name == twice[0]]
            raise ImportRefused(f"{self._where(path)}: columns {places} are all named {twice[0]!r}; rename all but one")
        if not named:
            raise ImportRefused(f"{self._where(path)}: no column has a name; expected a header line; add one")
        for number in [number for number, name in enumerate(header, start=1) if not name]:
            self.notes.append(
                f"{self.name}: column {number} of {path.name} has no name (pandas writes its index so) and is left out; to keep "
                "it, name it in the file"
            )
        if values := [name for name in named if _VALUE.fullmatch(name.strip())]:
            self.notes.append(
                f"{self.name}: the first line of {path.name} is taken for its header, though {len(values)} of its "
                f"{len(named)} names look like values, such as {values[0]!r}; if the file has no header, write one into it"
            )
        return header

    def _blank_lines(self, path: Path) -> int:
        with self._text(path) as file:
            return next((number for number, line in enumerate(file) if line.strip("\r\n\ufeff")), 0)

    def _has_rows(self, path: Path) -> bool:
        with self._text(path, "surrogateescape") as file:
            rows = (row for row in csv.reader(file, delimiter=self.delimiter) if row)
            return next(rows, None) is not None and next(rows, None) is not None

    def _has_odd_quotes(self, path: Path) -> bool:
        """Returns whether text may follow a closing quote, as in "5\\" pipe": Arrow drops such quotes without a word."""
        delimiter = re.escape(self.delimiter)
        outside, inside = f"{delimiter}\r\n", f'{delimiter}\r\n"'
        odd = re.compile(f'(?<=[^{inside}])"(?:"")*(?=[^{inside}])|(?<=[{outside}])(?:"")+(?=[^{inside}])')
        with self._text(path, "surrogateescape") as file:
            end = ""
            while text := file.read(_SAMPLE_CHARACTERS):
                if ('"' in text or '"' in end) and odd.search(end + text):
                    return True
                end = text[-64:]
        return False

    def _refuse_bad_rows(self, path: Path) -> None:
        """Refuses the first row that is no row of this file's width and encoding; returns if there is none."""
        where, width = self._where(path), len(self._headers.get(path, ()))
        with self._text(path, "surrogateescape") as file:
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            row_number = -2  # the header is -1
            begin = 1
            while True:
                try:
                    row = next(reader, None)
                except UnicodeError as error:
                    raise ImportRefused(f"{where}, row {row_number + 1}: {error}; {self._of_encoding(path)}") from error
                except csv.Error as error:
                    raise ImportRefused(
                        f"{where}, row {row_number + 1} (from line {begin} on): {error}: a quote is not closed, or text follows "
                        'a closing one; close it, and write quotes within a field twice (""), not as \\"'
                    ) from error
                if row is None:
                    return
                row_number, line, begin = row_number + bool(row), begin, reader.line_num + 1
                if bad := [number for number, field in enumerate(row) if _is_undecoded(field)]:
                    self._refuse_undecoded(path, row_number, bad[0])
                if row and width and len(row) != width:
                    self._refuse_ragged(path, row, row_number, line)

    def _refuse_undecoded(self, path: Path, row_number: int, position: int) -> None:
        header = self._headers.get(path, [])
        column = f", column {header[position]!r}" if position < len(header) else ""
        row = f"row {row_number}" if row_number >= 0 else "header"
        at, value = _first_bad_byte(path, self._encoding[path])
        raise ImportRefused(
            f"{self._where(path)}, {row}{column}: byte {at} is 0x{value:02x}, which is no {self._encoding[path].upper()}; "
            f"{self._of_encoding(path)}"
        )

    def _of_encoding(self, path: Path) -> str:
        return (
            f"save the file as UTF-8, or name its encoding in the schema file: `{self.name}: {{encoding: cp1252}}` "
            "(Windows; latin-1, utf-16, ...)"
        )

    def _refuse_ragged(self, path: Path, row: list[str], row_number: int, line: int) -> None:
        width, count = len(self._headers[path]), len(row)
        remedy = "put fields that hold the delimiter in quotes, or give the row its missing fields"
        if count == width + 1 and not row[-1]:
            remedy = f"it ends with a {self.delimiter!r}: take that away, or let the header end with one, too"
        elif count == width - 1 and not self._headers[path][-1]:
            remedy = f"the header ends with a {self.delimiter!r}: take that away"
        elif count == 1 and width > 1:
            other = next((d for d in DELIMITERS if d != self.delimiter and row[0].count(d) == width - 1), None)
            remedy += (
                f', or name the delimiter in the schema file: `{self.name}: {{delimiter: "{other}"}}`' if other else ""
            )
        raise ImportRefused(
            f"{self._where(path)}, row {row_number} (line {line}): {count} fields, the header has {width}; {row[:4]!r:.120}; {remedy}"
        )


def _bytes_of(path: Path) -> Any:
    return io.BufferedReader(pa.input_stream(str(path)))


def _arrow_encoding(encoding: str) -> str:
    return "utf8" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding


def _widths(text: str, delimiter: str, *, is_whole: bool) -> list[int]:
    """Returns the number of fields of the first rows; the last row of a sample may be cut, so it does not count."""
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    return [len(row) for row in (rows if is_whole else rows[:-1])[:_SAMPLE_ROWS]]


def _has_line_break(column: pa.Array) -> bool:
    found = pc.any(pc.match_substring_regex(column, "[\r\n]")).as_py()
    return bool(found)


def _is_undecoded(field: str) -> bool:
    """Returns whether a field holds a byte that is no text, which surrogateescape keeps as a lone surrogate."""
    return not field.isascii() and any("\udc80" <= character <= "\udcff" for character in field)


def _first_bad_byte(path: Path, encoding: str) -> tuple[int, int]:
    """Returns the place and the value of the first byte that cannot be decoded."""
    decoder, begin = codecs.getincrementaldecoder(encoding)(), 0
    with _bytes_of(path) as file:
        while block := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                at = begin - pending + error.start
                return at, error.object[error.start]
            begin += len(block)
    return begin, 0
