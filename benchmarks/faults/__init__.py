"""Fault injection: what damage, kills, full disks and hostile input do, as counted attempts.

`python -m benchmarks.faults` (or `make fuzz`) runs the parts; docs/robustness.md has what they printed.
"""
