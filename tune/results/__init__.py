"""What a sweep keeps and shows: ledger, tables, pictures."""
