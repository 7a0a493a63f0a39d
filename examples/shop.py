"""A made-up web shop as a SQLite database: the embedded example, and a test bed with a known answer.

In: a path, a seed, a number of customers. Out: a SQLite file, two years of trade in seven tables with real types,
foreign keys and source keys that are no row numbers (C-00017, SKU-0042, integers with gaps); about 56,000 rows for
2,000 customers; the same rows for the same seed. Cost: about a second.

What is planted. Every product has a hidden quality (half of it its brand's), every customer a hidden taste over the top
categories and a hidden loyalty. Nothing of that is stored. After each order, a customer stays or leaves by chance,
    P(leave) = sigmoid(-5 - 5 x mean quality of the order's products - 0.25 x loyalty),
and one who has left orders at 3 % of the former rate, deciding anew at each order. So `customer-churn` (shop_tasks/) is
read off customer -> order -> line -> product -> reviews by OTHER customers, and hardly off the customer's own row.
Spend is rate x basket x price level of the favoured categories: read off earlier orders and views.

LightGBM on 1,338 training labels, mean of three seeds, val / test. Churn, AUROC: customer columns 0.52 / 0.52; with
recency, frequency and spend 0.69 / 0.73; with mean stars of what was bought 0.84 / 0.89; with the hidden values 0.86 /
0.90. Spend, MAE: median 140 / 155, then in the same order 140 / 155, 128 / 141, 120 / 132 and 115 / 127.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from examples.shop_simulation import (
    DAY_S,
    NUM_DAYS,
    NUM_PRODUCTS,
    START,
    TREE,
    Ints,
    Sales,
    Shop,
    choose_products,
    make_shop,
    simulate,
)

VAL_TIMESTAMP, TEST_TIMESTAMP = "2024-08-30", "2024-10-31"
TASKS = Path(__file__).parent / "shop_tasks"

ADJECTIVES = ("Classic", "Compact", "Nordic", "Urban", "Light", "Grand", "Little", "Solid", "Café", "Blue")
GOOD = ("works perfectly", "great quality", "very happy with it", "sturdy and well made", "would buy again", "lovely")
BAD = ("broke after a week", "poor quality", "sent it back", "not as described", "very disappointed", "cheap plastic")
PLAIN = ("does what it should", "okay for the price", "delivery took a while", "a present for my sister", "average")

SCHEMA = """
CREATE TABLE customers (customer_id TEXT PRIMARY KEY, signup_time TIMESTAMP NOT NULL, country TEXT NOT NULL,
    birth_year INTEGER, channel TEXT);
CREATE TABLE categories (category_id INTEGER PRIMARY KEY, name TEXT NOT NULL,
    parent_id INTEGER REFERENCES categories (category_id));
CREATE TABLE products (product_id TEXT PRIMARY KEY, name TEXT NOT NULL, brand TEXT NOT NULL, price REAL NOT NULL,
    category_id INTEGER NOT NULL REFERENCES categories (category_id));
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers (customer_id),
    time TIMESTAMP NOT NULL, payment_method TEXT NOT NULL, coupon TEXT);
CREATE TABLE order_lines (line_id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (order_id),
    product_id TEXT NOT NULL REFERENCES products (product_id), quantity INTEGER NOT NULL, price REAL NOT NULL);
CREATE TABLE reviews (review_id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers (customer_id),
    product_id TEXT NOT NULL REFERENCES products (product_id), time TIMESTAMP NOT NULL, stars INTEGER NOT NULL,
    text TEXT);
CREATE TABLE events (event_id INTEGER PRIMARY KEY, customer_id TEXT NOT NULL REFERENCES customers (customer_id),
    product_id TEXT REFERENCES products (product_id), time TIMESTAMP NOT NULL, kind TEXT NOT NULL);
"""


UNTIL = """
DELETE FROM events WHERE time >= :until;
DELETE FROM reviews WHERE time >= :until;
DELETE FROM order_lines WHERE order_id IN (SELECT order_id FROM orders WHERE time >= :until);
DELETE FROM orders WHERE time >= :until;
DELETE FROM customers WHERE signup_time >= :until;
"""


def write_shop(path: Path, *, seed: int = 0, customers: int = 2000, until: str | None = None) -> Path:
    """Write the database; an existing file is replaced when the new one is complete.

    Args:
        path: the SQLite file.
        seed: everything random follows from it.
        customers: number of customers; orders, reviews and events grow with it, products do not.
        until: only rows before this time, such as "2024-11-01": the same shop as it was then; products and categories have no time.

    Returns:
        `path`.
    """
    rng = np.random.default_rng(seed)
    shop = make_shop(rng, customers)
    sales = simulate(rng, shop)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    connection = sqlite3.connect(partial)
    try:
        connection.executescript("PRAGMA foreign_keys = ON;" + SCHEMA)
        with connection:
            for table, rows in _tables(rng, shop, sales):
                connection.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
            for statement in UNTIL.split(";\n") if until is not None else ():
                connection.execute(statement, {"until": until})
    finally:
        connection.close()
    os.replace(partial, path)
    return path


def _tables(rng: np.random.Generator, shop: Shop, sales: Sales) -> Iterable[tuple[str, list[tuple[Any, ...]]]]:
    """Rows of every table, parents first."""
    customer_id = _ids(rng, len(shop.rate), "C-{:05d}")
    product_id = _ids(rng, NUM_PRODUCTS, "SKU-{:04d}")
    yield "customers", _customers(rng, shop, customer_id)
    yield "categories", _categories()
    yield "products", _products(rng, shop, product_id)
    order_id = _ids(rng, len(sales.time_s), None, first=100_003)
    payment = _pick(rng, ("card", "paypal", "invoice", "voucher"), len(order_id), (0.5, 0.3, 0.15, 0.05))
    coupon = _pick(rng, (None, "WELCOME10", "SPRING", "VIP"), len(order_id), (0.8, 0.1, 0.07, 0.03))
    customer = _take(customer_id, sales.customer)
    yield "orders", list(zip(order_id, customer, _iso(sales.time_s), payment, coupon, strict=True))
    bought = _take(product_id, sales.line_product)
    paid = np.round(shop.price[sales.line_product] * rng.choice([1.0, 0.9, 0.8], len(bought), p=[0.8, 0.15, 0.05]), 2)
    line_id, order = _ids(rng, len(bought), None), _take(order_id, sales.line_order)
    yield "order_lines", list(zip(line_id, order, bought, sales.line_quantity.tolist(), paid.tolist(), strict=True))
    yield "reviews", _reviews(rng, shop, sales, customer_id, product_id)
    yield "events", _events(rng, shop, sales, customer_id, product_id)


def _customers(rng: np.random.Generator, shop: Shop, customer_id: Sequence[Any]) -> list[tuple[Any, ...]]:
    size = len(customer_id)
    years, is_unknown = rng.integers(1945, 2006, size).tolist(), rng.random(size) < 0.2
    born = [None if unknown else year for year, unknown in zip(years, is_unknown, strict=True)]
    country = _pick(rng, ("CZ", "DE", "AT", "PL", "FR"), size, (0.4, 0.25, 0.1, 0.15, 0.1))
    channel = _pick(rng, ("search", "social", "friend", "newsletter", None), size, (0.35, 0.25, 0.15, 0.1, 0.15))
    return list(zip(customer_id, _iso(shop.signup_s), country, born, channel, strict=True))


def _categories() -> list[tuple[Any, ...]]:
    """Three levels below each other: 6 top, 12 middle, 24 leaf; ids 1000, 1100, 1110, ..."""
    rows: list[tuple[Any, ...]] = []
    for i, (top, (_, middles)) in enumerate(TREE.items(), start=1):
        rows.append((1000 * i, top, None))
        for j, (middle, leaves) in enumerate(middles.items(), start=1):
            rows.append((1000 * i + 100 * j, middle, 1000 * i))
            rows += [(1000 * i + 100 * j + 10 * k, leaf, 1000 * i + 100 * j) for k, leaf in enumerate(leaves, start=1)]
    return rows


def _products(rng: np.random.Generator, shop: Shop, product_id: Sequence[Any]) -> list[tuple[Any, ...]]:
    parents = {parent for _, _, parent in _categories()}
    leaves = [(category_id, name) for category_id, name, _ in _categories() if category_id not in parents]
    adjective = _pick(rng, ADJECTIVES, NUM_PRODUCTS)
    return [
        (product_id[i], f"{adjective[i]} {leaves[leaf][1].lower()} {i % 97}", f"Brand {shop.brand[i]:02d}",
         float(shop.price[i]), leaves[leaf][0])
        for i, leaf in enumerate(shop.leaf)
    ]  # fmt: skip


def _reviews(
    rng: np.random.Generator, shop: Shop, sales: Sales, customer_id: Sequence[Any], product_id: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Three to twenty days after the order; stars follow quality, words follow stars, both with noise."""
    line = np.flatnonzero(rng.random(len(sales.line_order)) < 0.35)
    time_s = sales.time_s[sales.line_order[line]] + rng.integers(3 * DAY_S, 20 * DAY_S, len(line))
    line, time_s = _by_time(line, time_s)
    product = sales.line_product[line]
    stars = np.round(3.3 + 1.1 * shop.quality[product] + 0.8 * rng.standard_normal(len(line))).clip(1, 5).astype(int)
    mood = np.where(rng.random(len(line)) < 0.2, 3, stars)
    words = [rng.choice(GOOD if star > 3 else BAD if star < 3 else PLAIN, 2, replace=False) for star in mood]
    text = [None if lost else ", ".join(pair) for lost, pair in zip(rng.random(len(line)) < 0.1, words, strict=True)]
    customer = _take(customer_id, sales.customer[sales.line_order[line]])
    return list(
        zip(_ids(rng, len(line), None), customer, _take(product_id, product), _iso(time_s), stars.tolist(), text,
            strict=True)
    )  # fmt: skip


def _events(
    rng: np.random.Generator, shop: Shop, sales: Sales, customer_id: Sequence[Any], product_id: Sequence[Any]
) -> list[tuple[Any, ...]]:
    """Views by taste and searches before an order, carts of what is bought, support calls for what was bad."""
    order = np.repeat(np.arange(len(sales.time_s)), rng.poisson(0.6, len(sales.time_s)))
    viewed = choose_products(rng, shop, sales.customer[order])
    viewed[rng.random(len(order)) < 0.25] = -1  # a search has no product
    cart = np.flatnonzero(rng.random(len(sales.line_order)) < 0.15)
    is_bad = rng.random(len(sales.line_order)) < 0.25 / (1 + np.exp(1.0 + 2.0 * shop.quality[sales.line_product]))
    support = np.flatnonzero(is_bad)
    kind = np.repeat([0, 1, 2], [len(order), len(cart), len(support)])
    at = np.concatenate([order, sales.line_order[cart], sales.line_order[support]])
    product = np.concatenate([viewed, sales.line_product[cart], sales.line_product[support]])
    earliest, latest = np.array([[-3 * DAY_S, -900], [-900, -30], [4 * DAY_S, 15 * DAY_S]]).T
    time_s = np.maximum(
        sales.time_s[at] + rng.integers(earliest[kind], latest[kind]), shop.signup_s[sales.customer[at]]
    )
    row, time_s = _by_time(np.arange(len(at)), time_s)
    names = [("search" if product[i] < 0 else "view", "cart", "support")[kind[i]] for i in row]
    seen = [None if product[i] < 0 else product_id[product[i]] for i in row]
    customer = _take(customer_id, sales.customer[at[row]])
    return list(zip(_ids(rng, len(row), None), customer, seen, _iso(time_s), names, strict=True))


def _by_time(rows: Ints, time_s: Ints) -> tuple[Ints, Ints]:
    """Rows before the end of the two years, by time."""
    order = np.argsort(time_s, kind="stable")
    order = order[time_s[order] < NUM_DAYS * DAY_S]
    return rows[order], time_s[order]


def _ids(rng: np.random.Generator, size: int, pattern: str | None, first: int = 3) -> list[Any]:
    """Growing ids with gaps, as integers or by a pattern."""
    numbers = (first + rng.integers(1, 4, size).cumsum()).tolist()
    return numbers if pattern is None else [pattern.format(number) for number in numbers]


def _pick(
    rng: np.random.Generator, values: Sequence[str | None], size: int, p: Sequence[float] | None = None
) -> list[str | None]:
    return [values[i] for i in rng.choice(len(values), size, p=p)]


def _take(values: Sequence[Any], positions: Ints) -> list[Any]:
    return [values[i] for i in positions]


def _iso(time_s: Ints) -> list[str]:
    text: list[str] = np.char.replace(np.datetime_as_string(START + time_s.astype("m8[s]")), "T", " ").tolist()
    return text


def main() -> None:
    """`python -m examples.shop --out shop.db`"""
    parser = argparse.ArgumentParser(description="Write a made-up web shop as a SQLite database.")
    parser.add_argument("--out", type=Path, required=True, help="the SQLite file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--customers", type=int, default=2000)
    parser.add_argument("--until", help="only rows before this time, such as 2024-11-01: the shop as it was then")
    options = parser.parse_args()
    print(write_shop(options.out, seed=options.seed, customers=options.customers, until=options.until))


if __name__ == "__main__":
    main()
