"""The training step beside RelBench's modules."""
