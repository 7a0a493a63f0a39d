"""Subgraphs and temporal trees, drawn from a whole graph or from one in shares."""
