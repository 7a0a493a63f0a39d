"""Names in words: camel case, plurals, key words and roles; and what a name says of a table."""

from __future__ import annotations

import pytest

from distributed.inference.name_match import column_name, entities, similarity_to_parent, similarity_to_self


@pytest.mark.parametrize(
    ("column", "table", "key", "similarity"),
    [
        ("customer_id", "customers", "customer_id", 1.0),
        ("CustomerID", "Customer", "ID", 1.0),
        ("id_customer", "customers", "id", 1.0),
        ("customerid", "customers", "id", 1.0),
        ("category", "categories", "id", 1.0),
        ("address_id", "addresses", "id", 1.0),
        ("person_no", "people", "no", 1.0),
        ("user_id_2", "users", "id", 1.0),
        ("sku", "products", "sku", 0.95),
        ("ship_to_customer_id", "customers", "id", 0.9),
        ("origin_iata", "airports", "iata", 0.9),
        ("cust_id", "customers", "id", 0.7),
        ("category_id", "product_categories", "id", 0.7),
        ("customer_from_id", "customers", "id", 0.6),
        ("customer_name", "customers", "id", 0.0),
        ("paid", "customers", "id", 0.0),
        ("status_id", "customers", "id", 0.0),
        ("num", "numbers", "id", 0.0),
    ],
)
def test_how_much_a_name_says_of_a_parent(column: str, table: str, key: str, similarity: float) -> None:
    assert similarity_to_parent(column, entities([table])[table], key) == similarity


def test_words_that_all_tables_share_say_nothing() -> None:
    shared = entities(["olist_orders_dataset", "olist_order_items_dataset", "olist_sellers_dataset"])
    assert list(shared.values()) == [("order",), ("order", "item"), ("seller",)]
    assert entities(["dim_store", "tbl_orders"]) == {"dim_store": ("store",), "tbl_orders": ("order",)}


def test_a_parent_is_another_row_of_the_same_table_and_a_manager_may_be_one() -> None:
    assert [similarity_to_self(c) for c in ("parent_id", "parent", "manager_id", "manager", "city_id")] == [
        0.8,
        0.8,
        0.5,
        0.0,
        0.0,
    ]


@pytest.mark.parametrize(
    "column", ["num_orders", "order_count", "total_orders", "number_of_orders", "year", "max_order"]
)
def test_counts_and_parts_of_dates_are_measures(column: str) -> None:
    assert column_name(column).is_measure


@pytest.mark.parametrize("column", ["order_no", "order_number", "level_id", "orders"])
def test_keys_are_no_measures(column: str) -> None:
    assert not column_name(column).is_measure
