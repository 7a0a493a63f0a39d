"""tune -> distributed -> rdl_core, never the other way; the core runs where there is no Ray."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import ray.train.torch

from tests import REPOSITORY


def sources(package: Path) -> list[Path]:
    """All Python files of a package, in all its folders."""
    return sorted(package.rglob("*.py"))


CORE = sources(REPOSITORY / "rdl_core")
DISTRIBUTED = sources(REPOSITORY / "distributed")
TUNE = sources(REPOSITORY / "tune")


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def dotted(path: Path) -> str:
    """The name that a file is imported by."""
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


PROGRAM = """
import dataclasses
import importlib
import sys
from pathlib import Path

modules = sys.argv[2:]
for module in modules:
    importlib.import_module(module)
print(len(modules), sorted(m for m in sys.modules if m.split(".")[0] in ("ray", "distributed", "tune")))
sys.modules["ray"] = None
import torch
from tests.nasty_database import write_nasty_database
from rdl_core.contrast import effective_rank
from rdl_core.communicator import SingleProcess
from rdl_core.config import HGSamplingConfig, contrast
from rdl_core.database.dataset import open_dataset
from rdl_core.sampling.hg_sampling import HGSampling
from rdl_core.pretraining import fit, local_steps
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.pretraining.validation import Validation
from rdl_core.graph.materialization import materialize

folder = Path(sys.argv[1])
store = materialize(open_dataset(write_nasty_database(folder / "nasty")), folder)
config = dataclasses.replace(
    contrast().pretraining, sampling=HGSamplingConfig(seeds_per_sample=4, rows_per_hop=4), max_steps=2,
    validation_interval_steps=2, validation_samples=2)
sampler = HGSampling(store.graph, config.sampling, seed=0, before_s=store.schema.cutoff_s + 1)
torch.manual_seed(0)
model = PretrainingModel(store, config)
state = fit(model, torch.optim.Adam(model.parameters()), local_steps(sampler, config), store, config,
            Validation(store, config, sampler, SingleProcess()))
print(state.step, state.finished)
"""


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, `from a import b` as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def below(names: set[str], *packages: str) -> list[str]:
    return sorted(n for n in names if any(n == p or n.startswith(f"{p}.") for p in packages))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Lines printed by PROGRAM in a fresh interpreter."""
    paths = [str(REPOSITORY), str(REPOSITORY / "tests")]
    program = f"import sys; sys.path[:0] = {paths!r}\n{PROGRAM}"
    modules = [dotted(path) for path in CORE]
    command = [sys.executable, "-c", program, str(tmp_path_factory.mktemp("program")), *modules]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout.splitlines()


def test_the_list_of_sources_reaches_files_in_packages_of_packages() -> None:
    for package, paths in (("rdl_core", CORE), ("distributed", DISTRIBUTED), ("tune", TUNE)):
        tracked = subprocess.run(
            ["git", "ls-files", package], check=True, capture_output=True, text=True, cwd=REPOSITORY
        ).stdout.split()
        there = {name for name in tracked if name.endswith(".py") and (REPOSITORY / name).exists()}
        assert there <= set(map(relative, paths))
        assert len({path.parent for path in paths}) > 1, f"{package}: only one folder is seen"


def test_a_planted_import_of_ray_deep_in_the_core_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "rdl_core" / "model" / "layers"
    deep.mkdir(parents=True)
    (deep / "planted.py").write_text("def f():\n    import ray.data\n")
    (path,) = sources(tmp_path / "rdl_core")
    assert below(imported(path), "ray") == ["ray.data"]


def test_the_detector_of_imports_sees_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("import ray.data as d\ndef f():\n    from torch import distributed\n    from ray import tune\n")
    assert below(imported(path), "ray.data") == ["ray.data"]
    assert below(imported(path), "torch.distributed") == ["torch.distributed"]
    assert below(imported(path), "ray.tune", "tune") == ["ray.tune"]


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_imports_neither_ray_nor_torch_distributed_nor_a_layer_above(path: Path) -> None:
    above = ("ray", "torch.distributed", "distributed", "tune", "examples", "tests", "benchmarks")
    assert below(imported(path), *above) == []


@pytest.mark.parametrize("path", CORE, ids=relative)
def test_the_core_names_torch_distributed_nowhere_in_its_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "distributed"), f"line {node.lineno}"


@pytest.mark.parametrize("path", DISTRIBUTED, ids=relative)
def test_distributed_imports_neither_tune_nor_what_uses_it(path: Path) -> None:
    assert below(imported(path), "tune", "ray.tune", "examples", "tests", "benchmarks") == []


RAY_INTERNALS = REPOSITORY / "distributed" / "cluster" / "ray_internals.py"


def private_parts_of_ray(path: Path) -> list[str]:
    """Imports from Ray's private packages, and uses of an attribute with an underscore of anything but self, cls and os (`os._exit` is public)."""
    names = [name for name in imported(path) if name.split(".")[0] == "ray"]
    found = [n for n in names if n.startswith("ray.core") or any(part.startswith("_") for part in n.split("."))]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = ast.unparse(node.value)
            found += [f"{owner}.{node.attr}"] if owner not in ("self", "cls", "os") else []
    return sorted(found)


def overridden_private_methods(cls: type) -> list[str]:
    """Methods of Ray's classes with an underscore that a class of ours defines anew."""
    theirs = {name for base in cls.__mro__ if base.__module__.split(".")[0] == "ray" for name in vars(base)}
    own = [name for name, value in vars(cls).items() if name.startswith("_") and callable(value)]
    return sorted(name for name in own if name in theirs and not name.endswith("__"))


@pytest.mark.parametrize("path", [p for p in DISTRIBUTED + TUNE if p != RAY_INTERNALS], ids=relative)
def test_only_ray_internals_reaches_into_rays_private_parts(path: Path) -> None:
    assert private_parts_of_ray(path) == []
    module = importlib.import_module(dotted(path))
    classes = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    assert [name for cls in classes for name in overridden_private_methods(cls)] == []


def test_reaches_into_rays_private_parts_are_found(tmp_path: Path) -> None:
    path = tmp_path / "planted.py"
    path.write_text(
        "import ray.core.generated\nfrom ray.train.v2._internal import exceptions\n"
        "def f(scheduler):\n    ray._private.worker()\n    return scheduler._brackets\n"
    )
    assert private_parts_of_ray(path) == [
        "ray._private",
        "ray.core.generated",
        "ray.train.v2._internal.exceptions",
        "scheduler._brackets",
    ]
    trainer = type("Planted", (ray.train.torch.TorchTrainer,), {"_register_sigint_handler": print, "_own": print})
    assert overridden_private_methods(trainer) == ["_register_sigint_handler"]


@pytest.mark.parametrize("path", CORE + DISTRIBUTED + TUNE, ids=relative)
def test_every_file_opens_with_what_it_is(path: Path) -> None:
    assert (ast.get_docstring(ast.parse(path.read_text())) or "").strip()


def test_importing_the_whole_core_loads_no_ray(output: list[str]) -> None:
    assert output[0] == f"{len(CORE)} []"


def test_pretraining_runs_where_importing_ray_raises(output: list[str]) -> None:
    assert output[1:] == ["2 max_steps"]


@pytest.mark.parametrize("path", CORE + DISTRIBUTED + TUNE, ids=relative)
def test_every_kernel_is_compiled_with_our_cache(path: Path) -> None:
    """Kernels take `njit` from rdl_core.kernel_cache, and all of them lie where it looks for them."""
    if relative(path) != "rdl_core/kernel_cache.py":
        assert below(imported(path), "numba.njit", "numba.jit", "numba.vectorize", "numba.guvectorize") == []
    if path not in CORE:
        assert "@njit" not in path.read_text()


def test_configurations_are_described_without_loading_torch() -> None:
    code = "import sys, rdl_core.config; print([m for m in %r if m in sys.modules])"
    heavy = ["torch", "torch_geometric", "torch_frame", "relbench", "pandas", "numpy", "ray", "numba"]
    command = [sys.executable, "-c", code % heavy]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout == "[]\n"
