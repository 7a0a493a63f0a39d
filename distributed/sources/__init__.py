"""Sources of an import: SQL databases and folders of files, as declared tables and batches of rows."""
