"""A SQL database or files to a RelBench folder."""
