"""Numbers as text, integers that are long, booleans, and text that stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distributed.schema.refusals import ImportRefused
from tests.distributed.importing.small_imports import column
from tests.distributed.notations.small_columns import imported_folder, typed, write_csv

INF = float("inf")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2", "NA"], [1, 2, None]),
        (["1", " 2", "-3 "], [1, 2, -3]),
        (["1.5", "NaN", "2"], [1.5, None, 2.0]),
        (["1.5", "inf", "-Infinity"], [1.5, INF, -INF]),
        (["1e5", "-2.5E-1", ".5"], [1e5, -0.25, 0.5]),
        (["1,5", "2", "1.234,25"], [1.5, 2.0, 1234.25]),
        (["1,234.5", "2", "1,234,567"], [1234.5, 2.0, 1234567.0]),
        (["1 234,5", "2", "0,25"], [1234.5, 2.0, 0.25]),
        (["1'234.5", "2", "0.25"], [1234.5, 2.0, 0.25]),
        (["1 234", "2"], [1234.0, 2.0]),
        (["007", "123", "12"], ["007", "123", "12"]),
        (["+4712345678", "+4712345679"], ["+4712345678", "+4712345679"]),
        (["9007199254740993", "9223372036854775807"], [9007199254740993, 9223372036854775807]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["true", "FALSE", "NULL"], [True, False, None]),
        (["yes", "no", "No"], [True, False, False]),
        (["t", "f", "n/a"], [True, False, None]),
        (["NA", "NO", "SE"], ["NA", "NO", "SE"]),  # Namibia
        (["None", "some", ""], ["None", "some", ""]),
        (["NA", "NA"], ["NA", "NA"]),
        (["1_000", "0x1F"], ["1_000", "0x1F"]),
        (["12-34", "56-78"], ["12-34", "56-78"]),
    ],
)
def test_a_column_is_read_by_all_its_values(values: list[str], expected: list[Any]) -> None:
    found, lines = typed(values)
    assert [(type(v), v) for v in found] == [(type(v), v) for v in expected]
    spelled = [value for value, read_as in zip(values, expected, strict=True) if read_as is None and value]
    assert all(f"t.x: 1 values count as null: {value!r} (1)" in lines for value in spelled)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("$12", r"'\$12': 20 of 20 values are numbers with a currency"),
        ("12%", "percent sign"),
        ("twelve", "row 19 of the source.*'twelve' is none of the numbers that 19 of 20 values are"),
        ("1_000", "'1_000' is none of the"),
        ("12 kg", "'12 kg' is none of the"),
    ],
)
def test_a_column_that_is_nearly_numbers_is_refused(odd: str, message: str) -> None:
    with pytest.raises(ImportRefused, match=message) as refused:
        typed([*[f"{i}.5" for i in range(19)], odd])
    for remedy in ("--null-values t.x=VALUE", "formats: {x: text}", "--exclude t.x"):
        assert remedy in str(refused.value)
    assert typed([*[f"{i}.5" for i in range(19)], odd], formats={"x": "text"})[0][-1] == odd


def test_a_column_of_which_half_are_numbers_is_said_to_stay_text() -> None:
    _, lines = typed(["1.5", "2.5", "three"])
    assert "t.x: 2 of 3 values are numbers, the others are not; it stays text" in lines


def test_commas_that_may_be_decimal_or_thousands_are_refused_and_declared() -> None:
    values = ["1,234", "5,678", "7"]
    with pytest.raises(
        ImportRefused, match=r"'1,234' is 1.234 with a decimal comma and 1234.0 with a comma between thousands"
    ):
        typed(values)
    assert typed(values, formats={"x": "1.234,5"})[0] == [1.234, 5.678, 7.0]
    assert typed(values, formats={"x": "1,234.5"})[0] == [1234.0, 5678.0, 7.0]
    assert typed(values, decimal=",")[0] == [1.234, 5.678, 7.0]
    assert typed(values, decimal=".")[0] == [1234.0, 5678.0, 7.0]
    assert typed(["1.234", "5.678"], decimal=",")[0] == [1234.0, 5678.0]


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        (("-999",), ["1", "-999"], [1, None]),
        (("-999",), ["1.5", "-999.0"], [1.5, None]),
        (("t.x=unknown",), ["1", "unknown"], [1, None]),
        (("unknown",), ["a", "unknown"], ["a", None]),
        (("t.id=unknown",), ["a", "unknown"], ["a", "unknown"]),
    ],
)
def test_what_the_user_calls_null_is_null_and_counted(
    tmp_path: Path, options: tuple[str, ...], values: list[str], expected: list[Any]
) -> None:
    found, lines = typed(values, nulls=options)
    assert found == expected
    assert any("1 values count as null" in line for line in lines) == (None in expected)


def test_a_null_value_of_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ImportRefused, match=r"--null-values 't.y=0': no column 't.y'"):
        typed(["1"], nulls=["t.y=0"])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["1.0", "NA", "2.0"], [1, None, 2]),
        (["1", "null", "2"], [1, None, 2]),
        (["1", "\\N", "2"], [1, None, 2]),
        (["12345678901234567890", "-"], ["12345678901234567890", None]),
        (["a1", "NA", "12"], ["a1", "NA", "12"]),
    ],
)
def test_keys_are_integers_or_text(keys: list[str], expected: list[Any]) -> None:
    assert typed(keys, key="x")[0] == expected


def test_keys_that_were_rounded_as_floats_are_refused() -> None:
    with pytest.raises(ImportRefused, match=r"column 'x', row 0 .*floats beyond 2\^53 are rounded"):
        typed(["9007199254740994.0", "1.0"], key="x")


def test_na_is_a_text_key_where_a_parent_has_it_and_null_where_none_has(tmp_path: Path) -> None:
    write_csv(tmp_path / "in", "a", [("NA",), ("NO",)], "id")
    write_csv(tmp_path / "in", "t", [(0, "NA", "2024-01-02"), (1, "None", "2024-01-03")], "id,a,at")
    lines = imported_folder(tmp_path, "a: {pkey: id}\nt: {pkey: id, fkeys: {a: a}}\n")
    assert column(tmp_path / "out", "t", "a") == [0, None]
    assert "t.a: 1 keys are 'None', which no parent is, and count as null" in lines


def test_long_integers_with_a_point_stay_exact_and_beside_fractions_are_said() -> None:
    values, lines = typed(["1234567890123456789.0", "1234567890123456790.0"])
    assert values == [1234567890123456789, 1234567890123456790]
    assert any("floats would lose the last digits of 2 values" in line for line in lines)
    assert any("1 integers beyond 2^53" in line for line in typed(["9007199254740993", "0.5"])[1])
    with pytest.raises(ImportRefused, match="was a float when it was written"):
        typed(["9007199254740993.0"], key="x")


def test_points_where_the_schema_file_says_comma_are_refused() -> None:
    with pytest.raises(
        ImportRefused, match=r"column 'x', row 0 .*numbers with a decimal point, though the schema file"
    ):
        typed(["0.5", "1.5"], decimal=",")
    assert typed(["0.5", "1.5"], decimal=",", formats={"x": "number"})[0] == [0.5, 1.5]


def test_floats_of_parquet_count_nan_as_null_and_say_what_is_infinite_or_inexact() -> None:
    values, lines = typed([float("nan"), float("inf"), 2.0**60, 1.5], kind="float", text_types="declared")
    assert values == [None, float("inf"), 2.0**60, 1.5]
    assert "t.x: 1 values count as null: 'NaN' (1)" in lines
    assert any("1 values are infinite" in line for line in lines) and any(
        "1 numbers are 2^53" in line for line in lines
    )


def test_times_of_day_are_said_to_stay_text() -> None:
    assert typed(["05:00", "17:30"])[1] == ["t.x: 2 of 2 values are times of day, which stay text"]


@pytest.mark.parametrize("values", [["−1", "−2"], ["1,5", "1.5"]])
def test_numbers_with_another_minus_or_two_decimal_marks_are_refused(values: list[str]) -> None:
    with pytest.raises(ImportRefused, match="column 'x', row 0 .*2 of 2 values are numbers with a currency"):
        typed(values)
