"""Exact statistics of a row's past, strictly before a time, and the columns that are composed of them along key paths."""
