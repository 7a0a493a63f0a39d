"""Tests; the folders mirror the source. `REPOSITORY` is the checkout, `own_environment` what processes of tests start with."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def own_environment(**more: str) -> dict[str, str]:
    """Returns this process's environment without Ray's variables (but its workers' niceness), with our packages, and with `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") or k == "RAY_worker_niceness"}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **more}
