"""The PostgreSQL server of the tests of sources."""

from tests.distributed.sources.conftest import postgresql, postgresql_server

__all__ = ["postgresql", "postgresql_server"]
