"""Rows, keys, times and cells: the relational entity graph in memory and on disk."""
