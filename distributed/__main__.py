"""The commands of one database and one run.

Every command prints what it did on stderr, writes result.json into its run folder and, with --json, prints it as the last line of stdout.
"""

from __future__ import annotations

import sys

from distributed.commands.entry import COMMAND_MODULES, run_words


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 1 after a failure, 2 after bad input, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    return run_words("python -m distributed", __doc__, COMMAND_MODULES, words)


if __name__ == "__main__":
    sys.exit(main())
