"""Options, the work that they ask for, and what people see of it."""
