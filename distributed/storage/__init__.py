"""URLs to local copies, and stores made in parallel."""
