"""Everything in a run's folder: configuration, journal, checkpoints, status, tracking."""
