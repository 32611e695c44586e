"""Many recordings at once, and the journal by which finished ones are known."""
