"""The end of a command at Ctrl-C. Nothing is imported here: Ctrl-C may come while a command's modules are loaded."""

import sys

INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended: 128 + SIGINT, as shells have it."""


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Prints one line, with what the interrupt says if it says something, and returns the exit status."""
    text = f"interrupted {interrupt}" if interrupt.args else "interrupted; the same command starts again"
    print(text, file=sys.stderr, flush=True)
    return INTERRUPTED
