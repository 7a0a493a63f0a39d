"""Texts as vectors: embedders, and the hashed n-grams of the one that needs no download."""
