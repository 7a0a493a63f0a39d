"""Several workers against one."""
