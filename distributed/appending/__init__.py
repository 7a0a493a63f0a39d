"""A later import of the same source, appended to an earlier one: --append."""
