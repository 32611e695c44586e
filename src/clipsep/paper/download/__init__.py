"""The clips of the public data sets, fetched from where they lie, at a bounded rate."""
