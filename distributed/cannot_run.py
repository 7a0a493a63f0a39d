"""The error of a command that cannot run here and now, though its options are right."""


class CannotRun(RuntimeError):
    """The machines, or another process, do not allow the work; nothing of it was begun.

    Its text is for people and says the remedy: commands show it without a traceback, while other RuntimeErrors are bugs and show theirs.
    """
