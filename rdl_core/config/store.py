"""Settings by which a store is made from a database."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rdl_core.config.decoding import checked


@checked
class StoreConfig:
    """Settings by which a store is made from a database."""

    text_embedder: Annotated[str, Field(pattern=r"^(hashed-ngram:[1-9]\d*|sentence-transformers:.+)$")] = (
        "hashed-ngram:128"
    )
    """'hashed-ngram:CHANNELS' or 'sentence-transformers:MODEL'."""
    timeless_rows: Literal["first_reference", "always"] = "first_reference"
    """From when on a row without a time exists: its 'first_reference', or 'always' (RelBench's rule, which leaks)."""
    exclude_columns: tuple[str, ...] = ()
    """Attributes to leave out, as table.column: what a task's label is made of."""
