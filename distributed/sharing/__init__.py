"""A model given away, from the command line (rdl_core/sharing does it)."""
