"""Keys and times that a source does not declare, inferred from names and values: each with its evidence, none taken in silence."""
