"""A SQL database or a folder of files, imported as a RelBench folder: all or nothing, and nothing repaired in silence.

`import_database` stands in importer.py, which brings DuckDB, SQLAlchemy and RelBench with it: options need none of them.
"""

from distributed.importing.config import ImportConfig
from distributed.schema.refusals import ImportRefused

__all__ = ["ImportConfig", "ImportRefused"]
