"""One trial: its session, its processes, and when it has to end."""
