"""Ray Train around the core's loop."""
