"""A part of a source: the rows that a condition keeps, and a sample of entities with all that belongs to them."""
