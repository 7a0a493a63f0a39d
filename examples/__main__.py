"""`python -m examples` is examples/run.py, which Ctrl-C ends with one line, also while it loads."""

import sys

from distributed.commands.entry import interrupted

if __name__ == "__main__":
    try:
        from examples.run import main

        main()
    except KeyboardInterrupt as interrupt:
        sys.exit(interrupted(interrupt))
