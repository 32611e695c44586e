"""`prepare`: data sets from videos and from sounds."""
