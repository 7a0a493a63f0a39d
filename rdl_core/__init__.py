"""Contrastive pretraining on relational databases, in one process: no Ray, no torch.distributed."""

import hashlib
import os
from pathlib import Path

from numba import config


def _kernel_cache() -> Path:
    """A folder for this state of all compiled kernels.

    numba's cache looks at a kernel's own file only: after a change in another file, whose kernels it had inlined, it would run old code.
    """
    here = Path(__file__).resolve().parent
    sources = [text for path in sorted(here.rglob("*.py")) if b"@njit" in (text := path.read_bytes())]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:16]
    writable = os.access(here, os.W_OK)
    home = here / "__pycache__" if writable else Path.home() / ".cache" / "relational-pretraining"
    return home / f"kernels-{digest}"


if not config.CACHE_DIR:  # type: ignore[attr-defined]
    config.CACHE_DIR = str(_kernel_cache())  # type: ignore[attr-defined]
