"""Separation: a recording in, its parts out."""
