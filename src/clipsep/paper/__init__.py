"""What reproduces Dong et al. (ICLR 2023) and nothing else: only the command line imports it."""
