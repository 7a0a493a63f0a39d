"""The commands embed and nearest: a table's vectors as a folder or in a database, by as many processes as are asked for."""
