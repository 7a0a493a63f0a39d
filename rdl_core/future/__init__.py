"""The future level of pretraining: fresh (row, time) questions, their answers up to the cutoff, and the loss that they make."""
