"""`rdl explain`: what predictions and a task's metric owe to tables, keys and columns, as a file, a table and a picture."""
