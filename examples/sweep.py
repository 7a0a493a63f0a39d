"""A sweep on a cluster: `ray submit cluster.yaml examples/sweep.py -- --data /mnt/shared/data/shop --runs-dir /mnt/shared/runs --name shop`.

Trials go wherever the cluster has CPUs. Its options are those of `python -m tune sweep`; the same command goes on with a sweep that was interrupted.
"""

from __future__ import annotations

import os
import sys

from tune.__main__ import main

if __name__ == "__main__":
    os.environ.setdefault("RAY_ADDRESS", "auto")
    sys.exit(main(["sweep", *sys.argv[1:]]))
