"""Ways to damage bytes, each a function of the bytes and a source of chance."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Iterator

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


# Texts that parsers stumble over.
_TEXTS = (
    *("", "0", "-1", "nan", "inf", "-inf", "1e999", "9" * 400, "null", "true", "\x00", "\x1b[31m"),
    *("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "\u202e", "=1+1", '"', "'", ","),
    *(";", "\n", "\r", "[", "]", "{", "}", ":", "*a", "&a ", "<<: ", "!!int ", "!!timestamp "),
    *("!!python/object:os.system ", "2020-13-45", "../../etc/passwd", "x" * 5000, "[" * 3000),
)
_VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 256, 1e5, 10**9, 10**30, 0.5, -0.0, 1e-300, 1e308),
    *(float("nan"), float("inf"), "", "x", "x" * 10_000, "\x1b[31m", "\ud800", [], {}, [[]]),
    *([1] * 1000, {"a": {"b": 1}}),
)


def mutate_text(whole: bytes, chance: random.Random) -> bytes:
    """Texts put in, swapped or taken out; sometimes bytes."""
    if chance.random() < 0.2:
        return mutate(whole, chance)
    text = whole.decode("latin-1")
    for _ in range(1 << chance.randrange(3)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 0, 1, 4, 16)))
        text = text[:start] + chance.choice(_TEXTS) + text[end:]
    return text.encode("latin-1", "replace")


def mutate_json(whole: bytes, chance: random.Random) -> bytes:
    """Values replaced, keys taken out or added; sometimes bytes."""
    if chance.random() < 0.15:
        return mutate(whole, chance)
    try:
        content = json.loads(whole)
    except (ValueError, RecursionError):  # a bomb that is not JSON, or deeper than Python reads
        return mutate(whole, chance)
    for _ in range(1 << chance.randrange(3)):
        parent, key = chance.choice(list(_places(content)))
        kind = chance.random()
        if kind < 0.1 and isinstance(parent, dict):
            del parent[key]
        elif kind < 0.2 and isinstance(parent, dict):
            parent[chance.choice(("", "x", "kind", "extra"))] = chance.choice(_VALUES)
        elif kind < 0.6 and type(parent[key]) in (int, float):
            parent[key] = type(parent[key])(
                parent[key] * chance.choice((0, -1, 2, 3, 0.5, 10, 1e4))
            )
        else:
            parent[key] = copy.deepcopy(chance.choice(_VALUES))
    return json.dumps(content).encode()


def _places(content: object) -> Iterator[tuple[dict | list, object]]:
    if isinstance(content, dict):
        keys = list(content)
    elif isinstance(content, list):
        keys = list(range(len(content)))
    else:
        return
    for key in keys:
        yield content, key
        yield from _places(content[key])
