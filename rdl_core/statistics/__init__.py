"""Exact statistics of a row's past, strictly before a time, and the columns that are composed of them along key paths."""

from rdl_core.statistics.columns import Columns
from rdl_core.statistics.key_statistics import KeyStatistics, windows_s

__all__ = ["Columns", "KeyStatistics", "windows_s"]
