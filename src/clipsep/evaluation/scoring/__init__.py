"""Estimates and scores of one mixture: by a model, by anybody's files, by masks that know the sources."""
