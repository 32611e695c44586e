"""BERT's tokenizer: text to word pieces, as Hugging Face's `tokenizers` makes them of tokenizer.json.

Written out here because that package installs a hub client and its ten dependencies, which a program
that reads one vocabulary can do without. A test holds both to the same tokens.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

_UNKNOWN, _START, _END = "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100  # characters; a longer word counts as unknown
# Scripts that write no spaces between words: each sign is a word of its own.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieceTokenizer:
    """Lower-cases, drops accents, splits at spaces and punctuation, then into the longest known pieces.

    Source: Devlin et al., "BERT" (2019); Wu et al., "Google's neural machine translation system" (2016).

    Args:
        content: a tokenizer.json that holds a WordPiece model without case.
        max_tokens: longer texts are cut, the end token included.
    """

    def __init__(self, content: bytes, max_tokens: int):
        self._pieces: dict[str, int] = json.loads(content)["model"]["vocab"]
        self._max_tokens = max_tokens

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text, between the start and the end token."""
        ids = [self._pieces[_START]]
        for word in _words(_normalize(text)):
            ids += self._ids(word)
        return [*ids[: self._max_tokens - 1], self._pieces[_END]]

    def _ids(self, word: str) -> list[int]:
        """Take the longest piece from the left, again and again; one unknown token if that gets stuck."""
        unknown = [self._pieces[_UNKNOWN]]
        if len(word) > _LONGEST_WORD:
            return unknown
        ids, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = self._pieces.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return unknown
            ids.append(piece)
            start = end
        return ids


def _normalize(text: str) -> str:
    """Without control characters and accents, in lower case, ideographs as words of their own."""
    spaced = "".join(
        f" {char} " if _is_ideograph(char) else " " if char.isspace() else char
        for char in text
        if not _is_control(char)
    )
    letters = unicodedata.normalize("NFD", spaced)
    # Character by character: `lower` of a whole text writes a last sigma in another way.
    return "".join(char.lower() for char in letters if unicodedata.category(char) != "Mn")


def _words(text: str) -> Iterator[str]:
    """Split at spaces; each punctuation mark is a word."""
    for part in text.split():
        start = 0
        for index, char in enumerate(part):
            if _is_punctuation(char):
                if start < index:
                    yield part[start:index]
                yield char
                start = index + 1
        if start < len(part):
            yield part[start:]


def _is_control(char: str) -> bool:
    if char in "\t\n\r":
        return False
    return char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs")


def _is_ideograph(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _IDEOGRAPHS)


def _is_punctuation(char: str) -> bool:
    # ASCII's symbols count as punctuation too.
    return ("!" <= char <= "~" and not char.isalnum()) or unicodedata.category(char)[0] == "P"
