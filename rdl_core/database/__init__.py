"""A RelBench folder, opened, and refused before work where later stages could not use it."""
