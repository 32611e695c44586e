"""Prepared data sets: made, read, checked, embedded."""
