"""From a trained checkpoint to one that says what it knows and how sure it is."""
