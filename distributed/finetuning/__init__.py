"""The view that people have of a fine-tuning run, besides its table: the curve of its training, and in words what its figures are worth."""

from distributed.finetuning.verdict import figure_text, verdict_lines

__all__ = ["figure_text", "verdict_lines"]
