"""Past links: which table they are rows of, and statistics of them against loops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from rdl_core.links.key_path import LinkPath, find_link_paths
from rdl_core.links.pair_statistics import PairStatistics
from rdl_core.links.past_links import PastLinks, find_past_links
from rdl_core.problems import InputError
from tests.nasty_database import TEST, TRAIN_SEEDS
from tests.rdl_core.links.conftest import Visits
from tests.rdl_core.test_leakage import unix

DAY = 86_400


def test_links_are_rows_of_the_table_that_the_train_labels_are_made_of_and_run_in_their_direction(
    visits: Visits,
) -> None:
    assert visits.statistics.links.path.name == "match (home_id; away_id)"
    assert visits.agreement == 1.0
    backwards = PastLinks.along(
        visits.store.graph,
        LinkPath(
            table="match",
            to_source=(("match", "away_id", "teams"),),
            to_destination=(("match", "home_id", "teams"),),
        ),
    )
    assert backwards.agreement(visits.split("train").learnable) < 0.9


def test_paths_lead_up_to_both_tables_by_different_keys() -> None:
    keys = [("lines", "order", "orders"), ("orders", "customer", "customers"), ("lines", "product", "products")]
    (path,) = find_link_paths(keys, "customers", "products")
    assert path == LinkPath(table="lines", to_source=(keys[0], keys[1]), to_destination=(keys[2],))
    assert find_link_paths(keys, "orders", "orders") == []


def test_a_task_whose_tables_nothing_joins_is_refused_with_a_remedy(visits: Visits) -> None:
    with pytest.raises(InputError, match=r"no table has keys that lead to goal and to order.*Remedy: declare"):
        find_past_links(visits.store, visits.split("train"), "goal", "order")


def test_a_link_is_of_the_latest_time_on_its_path(visits: Visits) -> None:
    graph, links = visits.store.graph, visits.statistics.links
    home, away = (graph.key_parent(("match", f"{end}_id", "teams")) for end in ("home", "away"))
    team_s, match_s = graph.table_time("teams"), graph.table_time("match")
    expected = sorted(
        (max(match_s[m], team_s[home[m]], team_s[away[m]]), home[m], away[m])
        for m in range(len(home))
        if home[m] >= 0 and away[m] >= 0 and match_s[m] != np.iinfo(np.int64).max
    )
    assert sorted(zip(links.time_s, links.source, links.destination, strict=True)) == expected
    assert (np.diff(links.time_s) >= 0).all()


def test_statistics_are_those_of_loops_over_the_links_before_the_time(visits: Visits) -> None:
    statistics, before_s = visits.statistics, unix(TEST)
    sources, destinations = np.array([3, -1, 0, 11]), np.array([1, 3, 4, 6])
    found = statistics(sources, destinations, before_s)
    dense = np.zeros((len(sources), len(destinations), statistics.pair_width))
    dense[found.question, found.destination] = found.of_pair
    links = statistics.links
    all_links = list(zip(links.source, links.destination, links.time_s, strict=True))
    for q, source in enumerate(sources):
        own = [(d, before_s - t) for s, d, t in all_links if s == source and t < before_s]
        assert found.of_source[q] == pytest.approx(of_end([age for _, age in own], statistics), abs=1e-5)
        for p, destination in enumerate(destinations):
            ages = [age for d, age in own if d == destination]
            share = len(ages) / len(own) if own else 0.0
            assert dense[q, p] == pytest.approx([*of_group(ages, statistics), share], abs=1e-5)
    for p, destination in enumerate(destinations):
        ages = [before_s - t for _, d, t in all_links if d == destination and t < before_s]
        assert found.of_destination[p] == pytest.approx(of_end(ages, statistics), abs=1e-5)


def of_group(ages: list[int], statistics: PairStatistics) -> list[float]:
    window_s, config = statistics.window_s, statistics.config
    counts = [math.log1p(sum(age <= w * window_s for age in ages)) for w in config.windows]
    recency = 1 / (1 + min(ages) / window_s) if ages else 0.0
    periods = {(age - 1) // window_s for age in ages if (age - 1) // window_s < config.periods}
    return [*counts, math.log1p(len(ages)), recency, len(periods) / config.periods]


def of_end(ages: list[int], statistics: PairStatistics) -> list[float]:
    days = [math.log1p(age / DAY) for age in ((min(ages), max(ages)) if ages else (0, 0))]
    return [*of_group(ages, statistics), *days]


@pytest.mark.parametrize("time", TRAIN_SEEDS[1:])
def test_links_at_or_after_the_time_change_no_bit(visits: Visits, time: object) -> None:
    before_s = unix(time)  # type: ignore[arg-type]
    links, everyone = visits.statistics.links, np.arange(12)
    past = links.time_s < before_s
    cut = dataclasses.replace(
        links, source=links.source[past], destination=links.destination[past], time_s=links.time_s[past]
    )
    assert 0 < len(cut) < len(links)
    of_all = visits.statistics(everyone, everyone, before_s)
    of_cut = dataclasses.replace(visits.statistics, links=cut, _kept={})(everyone, everyone, before_s)
    for name in ("of_source", "of_destination", "question", "destination", "of_pair"):
        assert getattr(of_all, name).tobytes() == getattr(of_cut, name).tobytes(), name
