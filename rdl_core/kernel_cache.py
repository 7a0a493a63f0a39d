"""The way in which numba compiles the kernels of this package: with which options, into a cache that is never stale, and with one line that says so.

numba's own cache looks at a kernel's own file only: after a change in another file, whose kernels it had inlined, it would run old code. Here the
cache's folder is named by the digest of all files with kernels. NUMBA_CACHE_DIR, where it is set, is left as it is. A process that compiles
something says so once, by a warning of the logger "rdl_core"; one that finds all that it needs in the cache says nothing.
"""

import hashlib
import logging
import os
from functools import partial
from pathlib import Path

import numba
from numba import config
from numba.core.event import Event, Listener, register

__all__ = ["inlined", "kernel", "kernel_part", "njit"]

njit = partial(numba.njit, no_cfunc_wrapper=True)
"""numba's `njit`, without the wrapper for C that nobody calls."""
kernel = njit(cache=True, nogil=True)
"""Decorates a kernel that Python calls; it releases the GIL."""
kernel_part = njit(cache=True, nogil=True, no_cpython_wrapper=True)
"""Decorates a function that only kernels call: a wrapper for Python takes as long to compile as a small kernel."""
inlined = njit(cache=True, nogil=True, inline="always")
"""Decorates a few lines that are compiled as a part of each kernel that calls them."""


def _cache_folder() -> Path:
    """Returns the folder for this state of all kernels."""
    here = Path(__file__).resolve().parent
    sources = [text for path in sorted(here.rglob("*.py")) if b"rdl_core.kernel_cache" in (text := path.read_bytes())]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:16]
    writable = os.access(here, os.W_OK)
    home = here / "__pycache__" if writable else Path.home() / ".cache" / "relational-pretraining"
    return home / f"kernels-{digest}"


class _Announcement(Listener):
    """Says, at the first compilation of one of our kernels, what the process is waiting for."""

    said = False

    def on_start(self, event: Event) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("rdl_core"):
            self.said = True
            logging.getLogger("rdl_core").warning("compiling kernels, once per machine and version: up to 10 seconds")

    def on_end(self, event: Event) -> None:
        pass


if not config.CACHE_DIR:  # type: ignore[attr-defined]
    config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
register("numba:compile", _Announcement())
