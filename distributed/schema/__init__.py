"""The declarations of a source, the additions of a schema file, and the plan of each table that follows; refusals that name them."""
