"""From a model and queries to masks, and from masks to a filtered recording."""
