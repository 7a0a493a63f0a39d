"""Shared fixtures: the nasty database with its store, real data if it is there, one Ray session for all Ray tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from relbench.load import RelBenchDataset

from rdl_core.database.dataset import open_dataset
from rdl_core.graph.materialization import materialize
from rdl_core.graph.store import Store
from tests import REPOSITORY
from tests.nasty_database import write_nasty_database

os.environ.setdefault(
    "RAY_worker_niceness", "0"
)  # Ray's 15 lets its workers starve on a machine that does other work, too


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with rel-f1 and rel-retail; skips where there is none."""
    root = Path(os.environ.get("RDL_DATA") or REPOSITORY / ".." / "shared" / "data")
    if not (root / "rel-f1" / "manifest.yaml").exists():
        pytest.skip(f"no rel-f1 below {root}: set RDL_DATA to a folder that holds rel-f1 and rel-retail")
    return root


@pytest.fixture(scope="session")
def nasty_dataset(tmp_path_factory: pytest.TempPathFactory) -> RelBenchDataset:
    """The nasty database, opened and validated."""
    return open_dataset(write_nasty_database(tmp_path_factory.mktemp("nasty") / "nasty"))


@pytest.fixture(scope="session")
def nasty_store(nasty_dataset: RelBenchDataset, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of the nasty database."""
    return materialize(nasty_dataset, tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="session")
def f1_store(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The store of rel-f1."""
    return materialize(open_dataset(data_root / "rel-f1"), tmp_path_factory.mktemp("f1_stores"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray session, as `start_ray` makes it, for all tests marked ray."""
    import ray

    from distributed.cluster.session import start_ray

    start_ray(workers=3, samplers=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread, for tests that compare bits (more threads may split sums differently) or compute tiny products, which are slow in many."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
