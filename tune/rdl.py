"""Contrastive pretraining on relational databases: from a SQL database or files to a pretrained, fine-tuned and compared model.

Every command prints what it did on stderr and, with --json, its result as the last line of stdout.
"""

from __future__ import annotations

import sys

from distributed.commands.entry import COMMAND_MODULES, run_words


def main() -> int:
    """Runs one command of the words after `rdl` and returns its exit status."""
    return run_words("rdl", __doc__, (*COMMAND_MODULES, "tune.commands"), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
