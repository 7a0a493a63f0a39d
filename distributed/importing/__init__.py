"""A SQL database or a folder of files, imported as a RelBench folder: all or nothing, and nothing repaired in silence.

`import_database` brings DuckDB, SQLAlchemy and RelBench with it, so it is loaded when it is first asked for: options need none of them.
"""

from typing import TYPE_CHECKING, Any

from distributed.importing.config import ImportConfig
from distributed.importing.refusals import ImportRefused

if TYPE_CHECKING:
    from distributed.importing.importer import import_database

__all__ = ["ImportConfig", "ImportRefused", "import_database"]


def __getattr__(name: str) -> Any:
    if name == "import_database":
        from distributed.importing.importer import import_database

        return import_database
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
