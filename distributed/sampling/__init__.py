"""Ray Data around the core's samplers."""
