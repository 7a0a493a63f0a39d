"""A key of which most values have no parent is taken for a notation: the refusal says which, what it would give, and never to null them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.importing.config import ImportRefused
from tests.distributed.importing.small_imports import column, run

SCHEMA = "customers: {pkey: customer_id}\norders: {pkey: order_id, fkeys: {customer_id: customers}, time_col: at}\n"
KEYS = [f"{number}" for number in range(10, 40)]


def source(folder: Path, parents: list[str], children: list[str], schema: str = SCHEMA) -> dict[str, Path]:
    """Writes customers.csv with these keys and orders.csv that refer to them; returns the schema file."""
    (folder / "in").mkdir()
    (folder / "in" / "customers.csv").write_text("customer_id,city\n" + "".join(f"{key},Oslo\n" for key in parents))
    orders = "".join(f"{row},{key},2020-01-{1 + row % 28:02d}\n" for row, key in enumerate(children, start=100))
    (folder / "in" / "orders.csv").write_text("order_id,customer_id,at\n" + orders)
    (folder / "schema.yaml").write_text(schema)
    return {"schema_file": folder / "schema.yaml"}


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(ImportRefused) as refused:
        run(str(folder / "in"), folder / "out", schema_file=folder / "schema.yaml", **options)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "parents", "children"),
    [
        ("decimal point", KEYS, [f"{key}.0" for key in KEYS[:-1]] + ["unknown"]),
        ("leading zeros", KEYS, [key.zfill(6) for key in KEYS]),
        ("leading zeros", [key.zfill(6) for key in KEYS], KEYS),
        ("spaces", [f"c{key}" for key in KEYS], [f"c{key}   " for key in KEYS]),
        ("upper and lower case", [f"ab{key}" for key in KEYS], [f"AB{key}" for key in KEYS]),
        ("quotes", [f"c{key}" for key in KEYS], [f"'c{key}'" for key in KEYS]),
        ("prefix", [f"C-{key}" for key in KEYS], KEYS),
        ("hyphens", [f"no-{key}-x" for key in KEYS], [f"no{key}x" for key in KEYS]),
        ("braces", [f"c{key}" for key in KEYS], [f"{{c{key}}}" for key in KEYS]),
        ("invisible characters", [f"c{key}" for key in KEYS], [f"\u200bc{key}" for key in KEYS]),
        ("invisible characters", [f"\u00e9{key}" for key in KEYS], [f"e\u0301{key}" for key in KEYS]),
        ("thousands", [f"{key}000" for key in KEYS], [f'"{key},000"' for key in KEYS]),
    ],
)
def test_the_notation_is_named_and_not_to_null_them(
    tmp_path: Path, name: str, parents: list[str], children: list[str]
) -> None:
    source(tmp_path, parents, children)
    for dangling in ("error", "null"):
        message = refusal(tmp_path, dangling=dangling)
        assert "table 'orders', column 'customer_id'" in message and name in message
        assert "written alike" in message and "Remedy" in message
        assert "--dangling" not in message


def test_a_notation_of_less_than_half_is_named_as_well(tmp_path: Path) -> None:
    source(tmp_path, [f"ab{key}" for key in KEYS], [f"AB{key}" for key in KEYS[:10]] + [f"ab{key}" for key in KEYS])
    message = refusal(tmp_path)
    assert "upper and lower case" in message and "--dangling" not in message


def test_two_notations_at_once_are_both_named_and_others_are_not(tmp_path: Path) -> None:
    source(tmp_path, [f"ab{key}" for key in KEYS], [f"AB{key}  " for key in KEYS])
    message = refusal(tmp_path)
    assert "(spaces around the values and upper and lower case: 'AB10  ' for 'ab10')" in message
    assert "30 of the 30 distinct values have a parent instead of 0" in message


def test_the_value_that_turns_a_key_to_text_is_named(tmp_path: Path) -> None:
    source(tmp_path, KEYS, [f"{key}.0" for key in KEYS[:-1]] + ["unknown"])
    assert f"text because of 1 of its values, the first in row {len(KEYS) - 1} of the source: 'unknown'" in refusal(
        tmp_path
    )


def test_a_notation_that_makes_two_keys_one_is_no_candidate(tmp_path: Path) -> None:
    parents = [f"ab{key}" for key in KEYS] + [f"aB{key}" for key in KEYS]
    source(tmp_path, parents, [f"AB{key}" for key in KEYS])
    message = refusal(tmp_path)
    assert "case" not in message and "more than half of all keys, however they are written" in message
    assert "--exclude orders.customer_id" in message and "--dangling" not in message


def test_no_key_at_all_with_a_parent_is_refused_even_if_null_is_asked_for(tmp_path: Path) -> None:
    source(tmp_path, KEYS, [f"x{number}y" for number in range(30)])
    assert "however they are written" in refusal(tmp_path, dangling="null")


def test_most_keys_lost_without_a_notation_are_nulled_only_if_asked_for(tmp_path: Path) -> None:
    source(tmp_path, KEYS, KEYS[:10] + [f"{number}" for number in range(500, 520)])
    assert "--dangling" not in refusal(tmp_path)
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml", dangling="null")
    assert column(tmp_path / "out", "orders", "customer_id").count(None) == 20


def test_a_few_orphans_are_orphans_and_may_be_nulled(tmp_path: Path) -> None:
    source(tmp_path, KEYS, [*KEYS, "99"])
    assert "pass --dangling null" in refusal(tmp_path)


def test_whole_numbers_written_with_a_point_are_read_as_the_keys_that_they_are(tmp_path: Path) -> None:
    source(tmp_path, KEYS, [*(f"{key}.0" for key in KEYS), ""])
    run(str(tmp_path / "in"), tmp_path / "out", schema_file=tmp_path / "schema.yaml")
    assert column(tmp_path / "out", "orders", "customer_id").count(None) == 1
