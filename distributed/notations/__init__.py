"""Notations of values: text as numbers and times, and what cannot be read."""
