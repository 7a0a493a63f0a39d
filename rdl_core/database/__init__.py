"""A RelBench folder, opened, and refused before any work starts where later stages could not use it.

All problems of a folder or a task's labels are found together, each with table, column, row, expected, got and remedy.
"""

from rdl_core.database.column_checks import DatabaseError, Problem
from rdl_core.database.dataset import check_excluded_columns, open_dataset, read_table
from rdl_core.database.tasks import load_task

__all__ = [
    "DatabaseError",
    "Problem",
    "check_excluded_columns",
    "load_task",
    "open_dataset",
    "read_table",
]
