"""Commands for people with a recording, one file per group: parse, call the Python API, print."""
