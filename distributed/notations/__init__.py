"""How values are written: text as numbers and times, and what cannot be read."""
