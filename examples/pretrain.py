"""Pretraining on a cluster: `ray submit cluster.yaml examples/pretrain.py -- --data /mnt/shared/data/shop --runs-dir /mnt/shared/runs --workers 2`.

What `ray submit` runs on the head joins the cluster that runs there; without one Ray's own error ends it, instead of training on the head.
Its options are those of `python -m distributed pretrain`; the same command goes on with a run that was interrupted.
"""

from __future__ import annotations

import os
import sys

from distributed.__main__ import main

if __name__ == "__main__":
    os.environ.setdefault("RAY_ADDRESS", "auto")
    sys.exit(main(["pretrain", *sys.argv[1:]]))
