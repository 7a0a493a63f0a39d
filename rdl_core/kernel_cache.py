"""`njit` for the kernels of this package: numba's, with a cache that is never stale.

numba's own cache looks at a kernel's own file only: after a change in another file, whose kernels it had inlined, it would run old code. Here the
cache's folder is named by the digest of all files with kernels. NUMBA_CACHE_DIR, where it is set, is left as it is.
"""

import hashlib
import os
from pathlib import Path

from numba import config, njit

__all__ = ["njit"]


def _cache_folder() -> Path:
    """Returns the folder for this state of all kernels."""
    here = Path(__file__).resolve().parent
    sources = [text for path in sorted(here.rglob("*.py")) if b"@njit" in (text := path.read_bytes())]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:16]
    writable = os.access(here, os.W_OK)
    home = here / "__pycache__" if writable else Path.home() / ".cache" / "relational-pretraining"
    return home / f"kernels-{digest}"


if not config.CACHE_DIR:  # type: ignore[attr-defined]
    config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
