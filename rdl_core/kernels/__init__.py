"""Fused primitives, one autograd operation a file, each beside its plain reference."""
