"""Runnable examples; `examples.run` is `make run`."""
