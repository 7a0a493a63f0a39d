"""Runs that would hang are refused before they start, with the arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.cannot_run import CannotRun
from distributed.cluster.preflight import (
    check_object_store,
    check_own_package,
    check_places,
    check_shared,
    needed_cpus,
)
from distributed.cluster.session import start_ray


def install(folder: Path, name: str) -> None:
    """A package's metadata, as pip leaves it."""
    info = folder / f"{name}-2025.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2025.1.0\n")


def test_an_environment_without_dask_is_fine() -> None:
    check_own_package()


@pytest.mark.parametrize("refuse", [check_own_package, lambda: start_ray(1, 1)], ids=["alone", "before Ray starts"])
def test_dasks_package_of_the_same_import_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: object
) -> None:
    install(tmp_path, "distributed")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CannotRun, match=r"'distributed' \(2025.1.0\).*\nRemedy: .*pip uninstall distributed"):
        refuse()  # type: ignore[operator]


def test_packages_of_other_names_are_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "distributed_things")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_own_package()


@pytest.mark.parametrize(("workers", "samplers", "cpus"), [(0, 2, 3), (1, 1, 3), (2, 1, 4), (4, 3, 8)])
def test_needed_cpus_leave_one_for_the_driver(workers: int, samplers: int, cpus: int) -> None:
    assert needed_cpus(workers, samplers) == cpus


GB = 1e9


@pytest.mark.parametrize(
    "nodes", [[(2, 8)], [(1, 8), (1, 8)], [(1.5, 2), (1.5, 2)]], ids=["one node", "two nodes", "fractions"]
)
def test_workers_with_a_place_each_are_let_in(nodes: list[tuple[float, float]]) -> None:
    check_places([{"CPU": cpus, "memory": memory * GB} for cpus, memory in nodes], 2)


@pytest.mark.parametrize(
    ("nodes", "line"),
    [
        ([(1.5, 8), (0.5, 8)], "node 0: 1.5 CPUs, 8.0 GB: 1 workers"),
        ([(4, 2), (4, 1)], "node 1: 4 CPUs, 1.0 GB: 0 workers"),
    ],
    ids=["whole CPUs in sum only", "memory"],
)
def test_workers_without_a_place_are_refused_with_each_nodes_arithmetic(
    nodes: list[tuple[float, float]], line: str
) -> None:
    with pytest.raises(CannotRun, match=f"(?s)2 workers of 1 CPU and 1.5 GB each, but there is place for 1;.*{line}"):
        check_places([{"CPU": cpus, "memory": memory * GB} for cpus, memory in nodes], 2)


def test_blocks_that_the_object_stores_have_room_for_are_let_in() -> None:
    check_object_store([{"object_store_memory": 1 * GB}, {"object_store_memory": 0.6 * GB}], 200_000_000, 2, 2)


def test_blocks_that_the_object_stores_have_no_room_for_are_refused_with_the_arithmetic() -> None:
    with pytest.raises(
        CannotRun,
        match=r"4 blocks .* \(one per worker .*, one per sampler .*\) of up to 200 MB take 0.80 GB; Ray Data may use 0.75 GB, 50% .* of 2 nodes",
    ):
        check_object_store([{"object_store_memory": 1 * GB}, {"object_store_memory": 0.5 * GB}], 200_000_000, 2, 2)


@pytest.mark.ray
def test_a_folder_that_is_another_one_on_a_node_is_refused(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_shared(tmp_path / "same")
    assert list((tmp_path / "same").iterdir()) == []
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotRun, match="is not the same folder on 1 of 1 nodes"):
        check_shared(Path("/proc/self/cwd"))  # of each process another
