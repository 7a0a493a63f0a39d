"""The training step, the loop around it, validation and the state of a run."""
