"""Where a data set lies: a folder of this machine, or an address with a cache."""
