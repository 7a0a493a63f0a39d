"""Link tasks (recommendation) on a backbone: two towers, and a term on past links."""
