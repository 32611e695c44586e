"""Which mixtures a training sees, in which order, and where they come from."""
