"""Many pretraining settings on one database, on the cores here or on a Ray cluster; the same command goes on after a kill.

Exit status: 0 all trials ended well; 3 some failed or hung (the report says which and why); 1 none gave a loss; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import sys

from distributed.commands.entry import run_words


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    return run_words("python -m tune", __doc__, ["tune.commands"], words)


if __name__ == "__main__":
    sys.exit(main())
