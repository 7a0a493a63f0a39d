"""What a source declares, what a schema file adds, and the plan of each table that follows; refusals that name them."""
