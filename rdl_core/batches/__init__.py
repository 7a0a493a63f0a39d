"""Samples as tensors: cells, corruption and the layout of a step, for both views."""
