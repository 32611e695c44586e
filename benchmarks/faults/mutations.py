"""Ways to damage bytes, each a function of the bytes and a source of chance."""

from __future__ import annotations

import random
import struct

# Numbers that programs stumble over.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip_bit(whole: bytes, chance: random.Random) -> bytes:
    """One bit anywhere."""
    changed = bytearray(whole)
    place = chance.randrange(8 * len(changed))
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def mutate(whole: bytes, chance: random.Random) -> bytes:
    """One to eight changes, most of them in the first kilobyte, where headers are."""
    changed = bytearray(whole)
    for _ in range(1 << chance.randrange(4)):
        if not changed:
            break
        reach = min(len(changed), 1024) if chance.random() < 0.6 else len(changed)
        place = chance.randrange(reach)
        chance.choice(_CHANGES)(changed, place, chance)
    return bytes(changed)


def _flip(changed: bytearray, place: int, chance: random.Random) -> None:
    changed[place] ^= 1 << chance.randrange(8)


def _set_byte(changed: bytearray, place: int, chance: random.Random) -> None:
    changed[place] = chance.randrange(256)


def _set_number(changed: bytearray, place: int, chance: random.Random) -> None:
    number = chance.choice(_NUMBERS)
    changed[place : place + 4] = struct.pack(chance.choice("<>") + "I", number)


def _remove(changed: bytearray, place: int, chance: random.Random) -> None:
    del changed[place : place + chance.choice((1, 2, 4, 64, 4096))]


def _repeat(changed: bytearray, place: int, chance: random.Random) -> None:
    changed[place:place] = changed[place : place + chance.choice((1, 2, 4, 64, 4096))]


def _clear(changed: bytearray, place: int, chance: random.Random) -> None:
    n_bytes = min(chance.choice((1, 4, 64, 4096)), len(changed) - place)
    changed[place : place + n_bytes] = bytes(n_bytes)


def _splice(changed: bytearray, place: int, chance: random.Random) -> None:
    start = chance.randrange(len(changed))
    changed[place:place] = changed[start : start + chance.randrange(1, 256)]


def _cut(changed: bytearray, place: int, chance: random.Random) -> None:
    if chance.random() < 0.3:
        del changed[place:]


_CHANGES = (_flip, _set_byte, _set_number, _remove, _repeat, _clear, _splice, _cut)
