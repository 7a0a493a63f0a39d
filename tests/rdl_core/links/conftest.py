"""The link task of the nasty database, with its past links."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from relbench.base import RecommendationTask
from relbench.load import RelBenchDataset

from rdl_core.config import LinkConfig
from rdl_core.database import open_dataset
from rdl_core.database.link_tasks import load_link_task
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from rdl_core.links.labels import LinkSplit, read_links
from rdl_core.links.pair_statistics import PairStatistics
from rdl_core.links.past_links import find_past_links
from tests.nasty_database import write_nasty_database
from tests.nasty_tasks import VISITS, add_link_task


@dataclass
class Visits:
    """The task and what is read for it."""

    dataset: RelBenchDataset
    store: Store
    task: RecommendationTask
    statistics: PairStatistics
    agreement: float
    splits: dict[str, LinkSplit] = field(default_factory=dict)

    def split(self, name: str) -> LinkSplit:
        if name not in self.splits:
            self.splits[name] = read_links(self.task, name, "rolling", self.store.test_timestamp_s)
        return self.splits[name]


@pytest.fixture(scope="package")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Visits:
    folder: Path = tmp_path_factory.mktemp("visits")
    add_link_task(write_nasty_database(folder / "nasty"))
    dataset = open_dataset(folder / "nasty")
    store, task = materialize(dataset, folder / "stores"), load_link_task(dataset, VISITS)
    train = read_links(task, "train", "rolling", store.test_timestamp_s).learnable
    links, agreement = find_past_links(store, train, "teams", "teams")
    statistics = PairStatistics(links=links, window_s=train.window_s, config=LinkConfig())
    return Visits(dataset, store, task, statistics, agreement)
