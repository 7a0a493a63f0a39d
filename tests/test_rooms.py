"""The rooms: no circle of imports between modules or between packages, floors that only look down, and rooms that are not crowded."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import networkx
import pytest

from tests import REPOSITORY

PACKAGES = ("rdl_core", "distributed", "tune")
CORE_FLOORS = (
    ("config",),
    ("",),
    ("database", "text", "kernels", "heads", "evidence"),
    ("graph",),
    ("statistics", "sharing"),
    ("sampling",),
    ("batches",),
    ("model",),
    ("contrast", "future"),
    ("pretraining", "finetuning"),
    ("tasks",),
    ("prediction", "embedding"),
    ("links",),
    ("api", "explanation"),
)
"""Packages of rdl_core from the ground up, "" its own files: each imports from floors below, and none from another of its own floor."""
DISTRIBUTED_FLOORS = (
    ("",),
    ("schema",),
    ("sources", "notations"),
    ("files", "inference", "selection"),
    ("import_report",),
    ("appending",),
    ("storage", "importing", "sharing"),
    ("cluster",),
    ("sampling", "runs"),
    ("training", "heads"),
    ("finetuning",),
    ("links",),
    ("commands",),
    ("tasks", "embedding", "prediction"),
    ("explanation",),
)
"""As far as is decided; "" its own files but `__main__`."""
BUILDERS = ("rdl_core.config.model", "rdl_core.config.registered")
"""Settings whose `build` imports what it builds when it is called, long before which a setting is read; and names of builders, with their types."""
MAX_FILES = 14


def modules(root: Path, packages: Iterable[str] = PACKAGES) -> dict[str, Path]:
    """{dotted name: file} of all modules; a package is the module of its `__init__`."""
    paths = sorted(path for package in packages for path in (root / package).rglob("*.py"))
    names = [str(path.relative_to(root)).removesuffix(".py").removesuffix("/__init__") for path in paths]
    return dict(zip((name.replace("/", ".") for name in names), paths, strict=True))


def loaded_first(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is loaded: not those in functions, nor under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from loaded_first(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from loaded_first(
                node.body + node.orelse + node.finalbody + [s for h in node.handlers for s in h.body]
            )


def import_graph(files: dict[str, Path], *, anywhere: bool = False) -> networkx.DiGraph:
    """An edge from each module to each of ours that it imports: while it is loaded, or anywhere in it."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(files)
    for name, path in files.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree) if anywhere else loaded_first(tree.body):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [target if target in files else str(node.module) for target in inner]
            else:
                continue
            graph.add_edges_from((name, target) for target in targets if target in files and target != name)
    return graph


def room(name: str, files: dict[str, Path]) -> str:
    """The package that a module is in; a file at the root of rdl_core, distributed or tune is a room of its own."""
    package = name if files[name].name == "__init__.py" else name.rpartition(".")[0]
    return name if package in PACKAGES else package


def circles(graph: networkx.DiGraph) -> list[list[str]]:
    return sorted(sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1)


def room_graph(graph: networkx.DiGraph, files: dict[str, Path]) -> networkx.DiGraph:
    edges = {(room(a, files), room(b, files)) for a, b in graph.edges}
    return networkx.DiGraph((a, b) for a, b in edges if a != b)


def looks_up(
    graph: networkx.DiGraph, files: dict[str, Path], top: str, floors: tuple[tuple[str, ...], ...]
) -> list[str]:
    """Imports within the package `top` that lead to the same floor or one above."""
    floor = {name: number for number, names in enumerate(floors) for name in names}
    wrong = []
    for a, b in graph.edges:
        if a in (f"{top}.__main__", *BUILDERS) or not all(name.partition(".")[0] == top for name in (a, b)):
            continue
        rooms = [room(name, files) for name in (a, b)]
        below_top = ["" if files[r].name != "__init__.py" or r == top else r.removeprefix(f"{top}.") for r in rooms]
        if below_top[0] != below_top[1] and floor[below_top[0]] <= floor[below_top[1]]:
            wrong.append(f"{a} imports {b}")
    return sorted(wrong)


FILES = modules(REPOSITORY)
GRAPH = import_graph(FILES)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(GRAPH) == []


def test_no_packages_import_each_other_in_a_circle() -> None:
    assert circles(room_graph(GRAPH, FILES)) == []


@pytest.mark.parametrize(("top", "floors"), [("rdl_core", CORE_FLOORS), ("distributed", DISTRIBUTED_FLOORS)])
def test_every_floor_imports_from_floors_below_only(top: str, floors: tuple[tuple[str, ...], ...]) -> None:
    assert looks_up(import_graph(FILES, anywhere=True), FILES, top, floors) == []


@pytest.mark.parametrize("name", BUILDERS)
def test_a_setting_imports_what_it_builds_only_in_its_functions(name: str) -> None:
    assert all(room(target, FILES) == room(name, FILES) for target in GRAPH.successors(name))


@pytest.mark.parametrize(("top", "floors"), [("rdl_core", CORE_FLOORS), ("distributed", DISTRIBUTED_FLOORS)])
def test_every_package_is_on_a_floor(top: str, floors: tuple[tuple[str, ...], ...]) -> None:
    packages = {path.parent.name for path in (REPOSITORY / top).glob("*/__init__.py")}
    assert packages == {name for names in floors for name in names} - {""}


def test_no_room_is_crowded() -> None:
    files_per_folder = Counter(str(path.parent.relative_to(REPOSITORY)) for path in FILES.values())
    assert {folder: number for folder, number in files_per_folder.items() if number > MAX_FILES} == {}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A small copy of the house: database below graph below sampling."""
    for name in ("", "database/", "graph/", "sampling/"):
        (tmp_path / "rdl_core" / name).mkdir()
        (tmp_path / "rdl_core" / name / "__init__.py").write_text("")
    (tmp_path / "rdl_core" / "random.py").write_text("import os\n")
    (tmp_path / "rdl_core" / "database" / "dataset.py").write_text("import rdl_core.random\n")
    (tmp_path / "rdl_core" / "graph" / "reg.py").write_text("from rdl_core.database.dataset import x\n")
    (tmp_path / "rdl_core" / "graph" / "store.py").write_text("from rdl_core.graph import reg\n")
    (tmp_path / "rdl_core" / "sampling" / "draw.py").write_text("from rdl_core.graph.store import y\n")
    return tmp_path / "rdl_core"


def found(core: Path) -> tuple[list[list[str]], list[list[str]], list[str]]:
    """(circles of modules, circles of packages, imports upwards)."""
    files = modules(core.parent, ["rdl_core"])
    graph = import_graph(files)
    upwards = looks_up(import_graph(files, anywhere=True), files, "rdl_core", CORE_FLOORS)
    return circles(graph), circles(room_graph(graph, files)), upwards


def test_a_house_in_order_passes(planted: Path) -> None:
    assert found(planted) == ([], [], [])


def test_a_planted_circle_of_modules_in_one_package_is_found(planted: Path) -> None:
    (planted / "graph" / "reg.py").write_text("from rdl_core.graph.store import y\n")
    assert found(planted) == ([["rdl_core.graph.reg", "rdl_core.graph.store"]], [], [])


def test_a_planted_circle_through_the_init_of_a_package_is_found(planted: Path) -> None:
    (planted / "graph" / "__init__.py").write_text("from rdl_core.graph.store import y\n")
    (planted / "graph" / "store.py").write_text("from rdl_core.graph import y\n")
    assert found(planted)[0] == [["rdl_core.graph", "rdl_core.graph.store"]]


def test_a_planted_circle_of_packages_whose_modules_have_none_is_found_and_is_an_import_upwards(planted: Path) -> None:
    (planted / "database" / "tasks.py").write_text("try:\n    import rdl_core.graph.store\nfinally:\n    pass\n")
    upwards = ["rdl_core.database.tasks imports rdl_core.graph.store"]
    assert found(planted) == ([], [["rdl_core.database", "rdl_core.graph"]], upwards)


def test_a_planted_import_upwards_in_a_function_is_found_and_is_no_circle(planted: Path) -> None:
    (planted / "random.py").write_text("def f():\n    from rdl_core.sampling import draw\n")
    assert found(planted) == ([], [], ["rdl_core.random imports rdl_core.sampling.draw"])
