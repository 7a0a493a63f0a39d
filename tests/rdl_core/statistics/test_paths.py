"""Which key paths there are from a table, on small made-up schemas."""

from __future__ import annotations

import pytest

from rdl_core.statistics.paths import Keys, Path, default_hops, find_paths

SHOP = [
    ("orders", "customer_id", "customers"),
    ("lines", "order_id", "orders"),
    ("lines", "product_id", "products"),
    ("reviews", "product_id", "products"),
    ("reviews", "customer_id", "customers"),
    ("products", "category_id", "categories"),
    ("categories", "parent_id", "categories"),
]


def shown(path: Path, before: str = "") -> list[str]:
    """Every path as the keys it walks: v down, ^ up."""
    found = [before] if before else []
    for (_, column, _), parent in path.parents:
        found += shown(parent, f"{before} ^{column}".strip())
    for (table, _, _), child in path.children:
        found += shown(child, f"{before} v{table}".strip())
    return found


def test_paths_go_down_then_up_and_end_a_key_before_the_statistics_of_the_last_row() -> None:
    assert shown(find_paths(Keys(edge_types=SHOP), "customers", 4)) == [
        "vorders",
        "vorders vlines",
        "vorders vlines ^product_id",
        "vreviews",
        "vreviews ^product_id",
        "vreviews ^product_id ^category_id",
    ]


def test_a_row_s_own_parents_and_theirs_are_walked_to() -> None:
    found = shown(find_paths(Keys(edge_types=SHOP), "lines", 3))
    assert found == ["^order_id", "^order_id ^customer_id", "^product_id", "^product_id ^category_id"]


def test_no_path_goes_back_over_the_key_it_came_by_but_another_key_to_the_same_table_is_walked() -> None:
    matches = [("match", "home_id", "team"), ("match", "away_id", "team")]
    assert shown(find_paths(Keys(edge_types=matches), "team", 3)) == [
        "vmatch",
        "vmatch ^away_id",
        "vmatch",
        "vmatch ^home_id",
    ]


def test_a_self_reference_is_walked_up_and_down_as_far_as_there_are_keys_left() -> None:
    found = shown(find_paths(Keys(edge_types=[("category", "parent_id", "category")]), "category", 3))
    assert found == ["^parent_id", "^parent_id ^parent_id", "vcategory", "vcategory vcategory"]


def test_a_path_with_nothing_new_at_its_end_is_none() -> None:
    assert shown(find_paths(Keys(edge_types=[("visit", "user_id", "user")]), "user", 4)) == []
    assert shown(find_paths(Keys(edge_types=SHOP), "customers", 2)) == ["vorders"]  # reviews have no children


def test_one_hop_is_a_row_s_own_statistics_alone() -> None:
    assert shown(find_paths(Keys(edge_types=SHOP), "customers", 1)) == []


def test_versions_are_walked_up_to_and_never_down_from_or_to() -> None:
    keys = Keys(edge_types=SHOP, versioned=["products"])
    assert keys.down_from("products") == []
    assert ("products", "category_id", "categories") not in keys.down_from("categories")
    assert "vorders vlines ^product_id" in shown(find_paths(keys, "customers", 4))


@pytest.mark.parametrize(("table", "hops"), [("customers", 4), ("products", 3), ("categories", 4)])
def test_by_default_a_path_is_one_key_longer_than_the_way_to_the_farthest_table(table: str, hops: int) -> None:
    assert default_hops(Keys(edge_types=SHOP), table) == hops
    assert default_hops(Keys(edge_types=SHOP[:1]), "customers") == 2
    assert default_hops(Keys(edge_types=[]), "customers") == 1


def test_by_default_no_path_is_longer_than_four_keys() -> None:
    chain = [(f"t{i + 1}", "key", f"t{i}") for i in range(9)]
    assert default_hops(Keys(edge_types=chain), "t0") == 4
