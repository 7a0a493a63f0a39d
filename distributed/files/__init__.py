"""Files as a source: which of a folder are tables, and how CSV and Parquet are read without a word lost."""
