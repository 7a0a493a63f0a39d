"""Small databases with the classic traps: what is certain is exactly what is true, and what only may be true is likely."""

from __future__ import annotations

import datetime
from pathlib import Path

from tests.distributed.inference.small_sources import Table, fkeys, pkeys, proposed, time_cols, write_csv

DAY = datetime.date(2020, 1, 1)


def day(number: int) -> datetime.date:
    return DAY + datetime.timedelta(days=number)


IDS_EVERYWHERE: dict[str, Table] = {
    "people": (
        "id name active level num_purchases birth_year",
        [(i, f"p{i}", i % 2, 1 + i % 5, i % 9, 1950 + i % 50) for i in range(1, 61)],
    ),
    "item": ("id label price year", [(i, f"item {i}", 3.5 * i, 2000 + i) for i in range(1, 21)]),
    "purchases": (
        "id person_id item_id quantity year rating paid month at",
        [
            (i, 1 + i % 60, 1 + i % 20, 1 + i % 7, 2001 + i % 19, 1 + i % 5, i % 2, 1 + i % 12, day(i))
            for i in range(1, 301)
        ],
    ),
    "years": ("year rainfall", [(1950 + i, 10.5 * i) for i in range(75)]),
}


def test_small_numbers_booleans_years_and_counts_are_no_keys_where_every_table_has_an_id(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", IDS_EVERYWHERE))
    assert pkeys(proposal, "certain") == {"people": "id", "item": "id", "purchases": "id"}
    assert pkeys(proposal, "likely") == {"years": "year"}
    assert fkeys(proposal, "certain") == {"purchases.person_id -> people.id", "purchases.item_id -> item.id"}
    assert fkeys(proposal, "likely") == {
        "purchases.year -> years.year",
        "item.year -> years.year",
    }
    assert fkeys(proposal, "unlikely") == set()
    assert time_cols(proposal, "certain") == {"purchases": "at"}


ROLES: dict[str, Table] = {
    "teams": ("team_id name", [(i, f"t{i}") for i in range(1, 13)]),
    "matches": (
        "match_id home_team_id away_team_id home_goals away_goals played_on",
        [(i, 1 + i % 12, 1 + (i + 5) % 12, i % 4, i % 3, day(i)) for i in range(1, 200)],
    ),
    "employees": (
        "emp_no surname manager_emp_no team_id",
        [(i, f"e{i}", "" if i < 4 else 1 + i % 3, 1 + i % 12) for i in range(1, 41)],
    ),
    "categories": ("category_id title parent_id", [(i, f"c{i}", "" if i < 7 else 1 + i % 6) for i in range(1, 31)]),
    "tasks": ("task_id done_by reports category", [(i, i % 5, i % 3, 1 + i % 30) for i in range(1, 91)]),
}


def test_two_keys_to_one_parent_and_references_within_a_table_are_certain(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", ROLES))
    assert fkeys(proposal, "certain") == {
        "matches.home_team_id -> teams.team_id",
        "matches.away_team_id -> teams.team_id",
        "employees.manager_emp_no -> employees.emp_no",
        "employees.team_id -> teams.team_id",
        "categories.parent_id -> categories.category_id",
    }
    assert pkeys(proposal, "certain") == {
        "teams": "team_id",
        "matches": "match_id",
        "employees": "emp_no",
        "categories": "category_id",
        "tasks": "task_id",
    }


def test_a_column_named_like_a_table_but_without_a_word_for_key_is_only_likely_among_small_numbers(
    tmp_path: Path,
) -> None:
    assert fkeys(proposed(write_csv(tmp_path / "in", ROLES)), "likely") == {"tasks.category -> categories.category_id"}


COMPOSITE: dict[str, Table] = {
    "orders": ("order_id ordered_at shipped_at", [(1000 + 3 * i, day(i), day(i + 2)) for i in range(80)]),
    "products": ("sku title price", [(f"SKU-{i:03d}", f"product {i}", 2.5 * i) for i in range(40)]),
    "order_items": (
        "order_id line_no sku quantity",
        [(1000 + 3 * i, line, f"SKU-{(i * 7 + line) % 40:03d}", line) for i in range(80) for line in range(1, 4)],
    ),
}


def test_a_line_number_within_an_order_is_a_composite_key(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", COMPOSITE))
    assert pkeys(proposal, "certain") == {"orders": "order_id", "products": "sku", "order_items": "order_id+line_no"}
    assert fkeys(proposal, "certain") == {
        "order_items.order_id -> orders.order_id",
        "order_items.sku -> products.sku",
    }
    assert fkeys(proposal, "likely") == set()


CODES: dict[str, Table] = {
    "countries": ("code name", [(f"{chr(65 + i)}{chr(65 + j)}", f"land {i}{j}") for i in range(6) for j in range(6)]),
    "airports": ("iata city country_code", [(f"{chr(65 + i)}QX", f"c{i}", f"A{chr(65 + i % 6)}") for i in range(26)]),
    "flights": (
        "flight_id origin destination departed_at carrier",
        [(i, f"{chr(65 + i % 26)}QX", f"{chr(65 + i * 7 % 26)}QX", day(i), "AABB"[i % 4]) for i in range(1, 121)],
    ),
    "passengers": (
        "passenger_id country gender",
        [(f"P{i:04d}", f"{chr(65 + i % 6)}{chr(65 + i % 5)}", "FM"[i % 2]) for i in range(60)],
    ),
}


def test_codes_as_text_keys_are_certain_with_a_name_and_likely_without(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", CODES))
    assert fkeys(proposal, "certain") == {
        "airports.country_code -> countries.code",
        "passengers.country -> countries.code",
    }
    assert fkeys(proposal, "likely") == {
        "flights.origin -> airports.iata",
        "flights.destination -> airports.iata",
    }


NO_KEYS: dict[str, Table] = {
    "readings": ("sensor value read_at", [(f"s{i % 3}", i % 10, day(i // 3)) for i in range(90)]),
    "remarks": ("remark written_at", [("good" if i % 2 else "bad", day(i // 2)) for i in range(40)]),
}


def test_where_there_is_no_key_none_is_proposed(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", NO_KEYS))
    assert (proposal.primary_keys, proposal.foreign_keys) == ((), ())
    assert time_cols(proposal, "certain") == {"readings": "read_at", "remarks": "written_at"}


def with_orphans(num_orphans: int) -> dict[str, Table]:
    visited = [1 + i for i in range(100 - num_orphans)] + [901 + i for i in range(num_orphans)]
    return {
        "patients": ("patient_id sex", [(i, "FM"[i % 2]) for i in range(1, 101)]),
        "visits": ("visit_id patient_id visited_at", [(i, visited[i % 100], day(i)) for i in range(300)]),
    }


def test_two_percent_of_orphans_make_a_key_likely_and_the_remedy_is_said(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", with_orphans(2)))
    assert fkeys(proposal, "likely") == {"visits.patient_id -> patients.patient_id"}
    assert fkeys(proposal, "certain") == set()
    (key,) = proposal.foreign_keys
    assert (key.num_distinct, key.num_found, key.inclusion) == (100, 98, 0.98)
    assert "2 of 100 values have no parent" in key.why and "--dangling null" in key.why


def test_a_key_of_which_a_third_is_lost_is_unlikely_and_said(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", with_orphans(33)))
    assert fkeys(proposal, "unlikely") == {"visits.patient_id -> patients.patient_id"}


def test_a_key_in_another_notation_is_unlikely_and_its_notation_is_named(tmp_path: Path) -> None:
    tables: dict[str, Table] = {
        "clients": ("client_id town", [(f"{i:06d}", "Oslo") for i in range(1, 51)]),
        "calls": ("call_id client_id called_at", [(i, 1 + i % 50, day(i)) for i in range(100)]),
    }
    (key,) = [k for k in proposed(write_csv(tmp_path / "in", tables)).foreign_keys if k.column == "client_id"]
    assert key.verdict == "unlikely" and "leading zeros" in key.why and "50 of the 50 distinct values" in key.why


SPELLINGS: dict[str, Table] = {
    "tblKunde": ("KundeID Ort", [(100 + 7 * i, f"o{i % 4}") for i in range(30)]),
    "tblRechnung": ("RechnungsNr KundeID Datum", [(9000 + i, 100 + 7 * (i % 30), day(i)) for i in range(90)]),
    "dim_stores": ("storeid region", [(i, f"r{i % 3}") for i in range(1, 11)]),
    "fact_sales": (
        "sale_key fk_store ship_to_storeid date amount",
        [(f"S{i}", 1 + i % 10, 1 + i % 9, day(i), i) for i in range(200)],
    ),
}


def test_camel_case_glued_words_and_prefixes_are_read(tmp_path: Path) -> None:
    proposal = proposed(write_csv(tmp_path / "in", SPELLINGS))
    assert fkeys(proposal, "certain") == {
        "tblRechnung.KundeID -> tblKunde.KundeID",
        "fact_sales.fk_store -> dim_stores.storeid",
        "fact_sales.ship_to_storeid -> dim_stores.storeid",
    }
    assert set(pkeys(proposal, "certain").items()) >= {("tblKunde", "KundeID"), ("dim_stores", "storeid")}


def test_of_two_tables_with_one_key_the_one_that_is_named_is_the_parent_and_the_other_its_child(tmp_path: Path) -> None:
    tables: dict[str, Table] = {
        "customers": ("customer_id town", [(i, "Oslo") for i in range(1, 51)]),
        "customer_details": ("customer_id phone", [(i, f"555-{i:04d}") for i in range(1, 51)]),
        "orders": ("order_id customer_id at", [(i, 1 + i % 50, day(i)) for i in range(100)]),
    }
    proposal = proposed(write_csv(tmp_path / "in", tables))
    assert fkeys(proposal, "certain") == {
        "orders.customer_id -> customers.customer_id",
        "customer_details.customer_id -> customers.customer_id",
    }
    assert pkeys(proposal, "certain") == {"customers": "customer_id", "orders": "order_id"}


def test_two_tables_that_are_as_good_a_parent_make_a_key_likely(tmp_path: Path) -> None:
    tables: dict[str, Table] = {
        "stock": ("part_no place", [(f"A-{i:04d}", "x") for i in range(30)]),
        "prices": ("part_no price", [(f"A-{i:04d}", 2.5) for i in range(30)]),
        "uses": ("use_id part_no used_at", [(i, f"A-{i % 30:04d}", day(i)) for i in range(90)]),
    }
    proposal = proposed(write_csv(tmp_path / "in", tables))
    assert "uses.part_no" not in {f"{k.table}.{k.column}" for k in proposal.foreign_keys if k.verdict == "certain"}
    (key,) = [k for k in proposal.foreign_keys if k.table == "uses"]
    assert key.verdict == "likely" and key.runner_up is not None and "as good a parent" in key.why
