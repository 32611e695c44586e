from __future__ import annotations


def run_hostile(folder, times, seed):
    yield from ()
