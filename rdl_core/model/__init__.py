"""Cells to row vectors to messages: the backbone, and its checkpoints."""
