"""Compiled kernels: a process that compiles says so once; one that finds them in the cache says nothing and never runs another state's code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY

DRAW = "from rdl_core.random_streams import permuted, stream; permuted([0, 1], 10, stream(3)); stream(4)"


def run(code: str, path: Path, **environment: str) -> tuple[str, str]:
    """(stdout, stderr) of a fresh interpreter that imports rdl_core from a folder."""
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=path,
        env=kept | {"PYTHONPATH": str(path)} | environment,
    )
    return done.stdout.strip(), done.stderr.strip()


def test_one_line_says_that_kernels_are_compiled_and_none_where_they_are_cached(tmp_path: Path) -> None:
    assert run(DRAW, REPOSITORY, NUMBA_CACHE_DIR=str(tmp_path)) == (
        "",
        "compiling kernels, once per machine and version: up to 10 seconds",
    )
    assert run(DRAW, REPOSITORY, NUMBA_CACHE_DIR=str(tmp_path)) == ("", "")


def test_kernels_of_others_are_compiled_without_our_line(tmp_path: Path) -> None:
    code = "import numba, rdl_core.kernel_cache; numba.njit(lambda x: x + 1)(1)"
    assert run(code, REPOSITORY, NUMBA_CACHE_DIR=str(tmp_path)) == ("", "")


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A folder with a copy of rdl_core."""
    shutil.copytree(REPOSITORY / "rdl_core", tmp_path / "rdl_core", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def cache_folder(core: Path) -> str:
    return run("import numba, rdl_core.kernel_cache; print(numba.config.CACHE_DIR)", core)[0]


@pytest.mark.parametrize("kernels", ["random_streams.py", "sampling/hg_kernels.py", "kernels/dropout_mask.py"])
def test_a_change_in_any_kernel_file_changes_the_cache_folder(core: Path, kernels: str) -> None:
    """numba looks at a kernel's own file only; a change in a file whose kernels it inlines must not leave old code in use."""
    before = cache_folder(core)
    with (core / "rdl_core" / kernels).open("a") as file:
        file.write("# a kernel may have changed\n")
    assert cache_folder(core) != before


def test_a_new_kernel_deep_in_a_new_package_changes_the_cache_folder_and_other_code_does_not(core: Path) -> None:
    before = cache_folder(core)
    deep = core / "rdl_core" / "model" / "layers"
    deep.mkdir(parents=True)
    (deep / "planted.py").write_text("def plain(): pass\n")
    assert cache_folder(core) == before
    (deep / "planted.py").write_text("from rdl_core.kernel_cache import kernel\n")
    assert cache_folder(core) != before
