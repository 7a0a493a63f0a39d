"""Vectors of all rows of a table, as of any time, in a folder of Parquet parts; and the rows nearest to one.

Owns the promises that a vector sees rows strictly before the time that it is asked for, and that the same job writes the same bytes however often it
is stopped and by however many processes.
"""

from rdl_core.embedding.folder import AboutEmbeddings, EmbeddingsFolder
from rdl_core.embedding.job import Embedding, EmbeddingJob
from rdl_core.embedding.nearest import Neighbour, nearest_rows
from rdl_core.embedding.row_embedder import RowEmbedder

__all__ = [
    "AboutEmbeddings",
    "Embedding",
    "EmbeddingJob",
    "EmbeddingsFolder",
    "Neighbour",
    "RowEmbedder",
    "nearest_rows",
]
