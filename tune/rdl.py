"""Contrastive pretraining on relational databases: from a SQL database or files to a pretrained, fine-tuned and compared model.

Every command prints what it did on stderr and, with --json, its result as the last line of stdout.
"""

from __future__ import annotations

import sys

from distributed.commands.interrupted import interrupted


def main() -> int:
    """Runs one command of the words after `rdl` and returns its exit status."""
    try:
        from distributed.commands import command_line, options
        from tune import commands

        return command_line.main("rdl", __doc__, {**options.COMMANDS, **commands.COMMANDS}, sys.argv[1:])
    except KeyboardInterrupt as interrupt:  # while these modules are loaded
        return interrupted(interrupt)


if __name__ == "__main__":
    sys.exit(main())
