"""Rows, keys, times and cells of a database: the relational entity graph in memory, and the store that holds it on disk.

Statistics, vocabularies and donors are fitted on rows up to the cutoff; rows without a time get the time from which they exist.
"""

from rdl_core.graph.existence import existence_times
from rdl_core.graph.features import TableFeatures
from rdl_core.graph.materialization import materialize, store_name
from rdl_core.graph.reg import ALWAYS, EdgeType, RelationalEntityGraph, build_graph, reverse
from rdl_core.graph.schema import ColumnSchema, Schema, TableSchema, fit_columns
from rdl_core.graph.store import Store, open_store

__all__ = [
    "ALWAYS",
    "ColumnSchema",
    "EdgeType",
    "RelationalEntityGraph",
    "Schema",
    "Store",
    "TableFeatures",
    "TableSchema",
    "build_graph",
    "existence_times",
    "fit_columns",
    "materialize",
    "open_store",
    "reverse",
    "store_name",
]
