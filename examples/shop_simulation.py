"""The events in the made-up shop: its hidden values, and who buys what and when, week by week.

In: a random generator. Out: arrays, one element per product, customer, order or order line; times in seconds since
START. The rule by which customers leave is in `examples.shop`. Cost: some 105 vectorised steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

START = np.datetime64("2023-01-01T00:00:00", "s")
NUM_DAYS = 731
NUM_PRODUCTS, NUM_BRANDS = 600, 36
DAY_S, WEEK_S = 86_400, 7 * 86_400
TREE = {  # top category -> (price level, middle categories -> leaf categories)
    "Kitchen": (25.0, {"Cooking": ("Pans", "Knives"), "Drinks": ("Kettles", "Mugs")}),
    "Garden": (40.0, {"Tools": ("Spades", "Shears"), "Furniture": ("Benches", "Parasols")}),
    "Books": (9.0, {"Fiction": ("Novels", "Thrillers"), "Knowledge": ("History", "Science")}),
    "Electronics": (120.0, {"Audio": ("Headphones", "Speakers"), "Computing": ("Keyboards", "Monitors")}),
    "Sports": (55.0, {"Outdoor": ("Tents", "Boots"), "Fitness": ("Weights", "Mats")}),
    "Toys": (14.0, {"Building": ("Bricks", "Models"), "Games": ("Puzzles", "Board games")}),
}


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Hidden values: quality [products]; taste [customers, tops], loyalty, orders per day, first order [customers]."""

    quality: Floats
    brand: Ints
    leaf: Ints
    price: Floats
    popularity: Floats
    taste: Floats
    loyalty: Floats
    rate: Floats
    first_s: Ints
    signup_s: Ints


@dataclass(frozen=True, kw_only=True)
class Sales:
    """Orders (customer, seconds since START) and their lines (order, product, quantity), orders by time."""

    customer: Ints
    time_s: Ints
    line_order: Ints
    line_product: Ints
    line_quantity: Ints


def make_shop(rng: np.random.Generator, num_customers: int) -> Shop:
    """Draw the hidden values; customers are numbered by their first order."""
    brand = rng.integers(NUM_BRANDS, size=NUM_PRODUCTS)
    leaf = rng.permutation(np.arange(NUM_PRODUCTS) % (4 * len(TREE)))
    quality = 0.7 * rng.standard_normal(NUM_BRANDS)[brand] + 0.7 * rng.standard_normal(NUM_PRODUCTS)
    level = np.array([level for level, _ in TREE.values()])[leaf // 4]
    loyalty = rng.standard_normal(num_customers)
    # More newcomers every month; the last ones two weeks before the end.
    first_s = np.sort((rng.random(num_customers) ** 0.9 * (NUM_DAYS - 14) * DAY_S).astype(np.int64))
    return Shop(
        quality=quality,
        brand=brand,
        leaf=leaf,
        price=np.round(level * np.exp(0.3 * rng.standard_normal(NUM_PRODUCTS)), 2),
        popularity=rng.pareto(4.0, NUM_PRODUCTS) + 0.3,
        taste=rng.dirichlet(np.full(len(TREE), 0.5), num_customers),
        loyalty=loyalty,
        rate=np.exp(np.log(1 / 23) + 0.1 * loyalty + 0.15 * rng.standard_normal(num_customers)),
        first_s=first_s,
        # Accounts are up to years older than their first order here, so their age tells little of who leaves.
        signup_s=first_s - (rng.exponential(250.0, num_customers) * DAY_S).astype(np.int64),
    )


def simulate(rng: np.random.Generator, shop: Shop) -> Sales:
    """Week by week: orders by rate and season, products by taste, then who leaves, by the quality that was bought."""
    has_left = np.zeros(len(shop.rate), dtype=bool)
    parts: list[tuple[NDArray[Any], ...]] = []
    num_orders = 0
    for week_s in range(0, NUM_DAYS * DAY_S, WEEK_S):
        season = 1.0 + 0.12 * np.cos(2 * np.pi * (week_s / DAY_S / 365.25 + 0.06))
        is_new = (shop.first_s >= week_s) & (shop.first_s < week_s + WEEK_S)
        expected = 7 * shop.rate * season * np.where(has_left, 0.03, 1.0) * (shop.first_s < week_s)
        customer = np.repeat(np.arange(len(shop.rate)), np.where(is_new, 1, rng.poisson(expected)))
        time_s = np.maximum(week_s + rng.integers(WEEK_S, size=len(customer)), shop.first_s[customer])
        line_order = np.repeat(
            np.arange(len(customer)), 1 + rng.poisson(np.exp(-0.5 + 0.4 * shop.loyalty[customer])).clip(0, 5)
        )
        product = choose_products(rng, shop, customer[line_order])
        quality = np.bincount(line_order, shop.quality[product], len(customer)) / np.bincount(line_order)
        leaves = rng.random(len(customer)) < 1 / (1 + np.exp(5.0 + 5 * quality + 0.25 * shop.loyalty[customer]))
        has_left[customer] = False  # whoever comes back decides anew
        has_left[customer[leaves]] = True
        parts.append((customer, time_s, line_order + num_orders, product, 1 + rng.poisson(0.3, len(product))))
        num_orders += len(customer)
    customer, time_s, line_order, product, quantity = (np.concatenate(part) for part in zip(*parts, strict=True))
    by_time = np.argsort(time_s, kind="stable")
    position = np.empty_like(by_time)
    position[by_time] = np.arange(len(by_time))
    by_order = np.argsort(position[line_order], kind="stable")
    keep = time_s[by_time] < NUM_DAYS * DAY_S
    last = int(keep.sum())
    line_order, product, quantity = (part[by_order] for part in (position[line_order], product, quantity))
    lines = line_order < last
    return Sales(
        customer=customer[by_time][keep],
        time_s=time_s[by_time][keep],
        line_order=line_order[lines],
        line_product=product[lines],
        line_quantity=quantity[lines],
    )


def choose_products(rng: np.random.Generator, shop: Shop, customer: Ints) -> Ints:
    """A top category by the customer's taste, then a product of it by popularity."""
    top = (rng.random((len(customer), 1)) > shop.taste[customer].cumsum(axis=1)[:, :-1]).sum(axis=1)
    by_top = np.argsort(shop.leaf // 4, kind="stable")
    weight = shop.popularity[by_top].cumsum()
    ends = np.searchsorted((shop.leaf // 4)[by_top], np.arange(len(TREE)), side="right")
    high = weight[ends - 1]
    low = np.concatenate(([0.0], high[:-1]))
    at = low[top] + rng.random(len(customer)) * (high - low)[top]
    chosen: Ints = by_top[np.searchsorted(weight, at, side="right").clip(max=NUM_PRODUCTS - 1)]
    return chosen
