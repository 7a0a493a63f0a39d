"""The sample that --sample-entities asks for; it needs no DuckDB, since options are read without it."""

from __future__ import annotations

from dataclasses import dataclass

from distributed.schema.refusals import ImportRefused


@dataclass(frozen=True, kw_only=True)
class EntitySample:
    """`count` rows of `table`, chosen by a hash with `seed`."""

    table: str
    count: int
    seed: int = 0

    @classmethod
    def parse(cls, text: str, seed: int) -> EntitySample:
        """Reads TABLE:COUNT.

        Raises:
            ImportRefused: It is something else.
        """
        table, _, count = text.rpartition(":")
        if not table or not count.isdecimal() or int(count) < 1:
            raise ImportRefused(
                f"--sample-entities {text!r}: expected TABLE:COUNT with a count of at least 1, such as customers:10000"
            )
        return cls(table=table, count=int(count), seed=seed)
