"""`prepare`: data sets from videos and from sounds, and the list of what was rejected."""
