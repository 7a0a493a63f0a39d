"""Measurements: each program prints a table with its conditions; peers run in the same process."""
