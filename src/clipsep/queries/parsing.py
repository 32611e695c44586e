"""What a user may ask with, and the names that the answers get: texts, images, paths of images.

It must not know which encoder reads them, nor what is separated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from clipsep.errors import UsageError
from clipsep.media.images import open_image

Query = str | Path | Image.Image
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
RESIDUAL = "residual"


def named_queries(queries: Sequence[Query]) -> dict[str, str | Image.Image]:
    """What to encode, by the name of the query; UsageError for a bad query."""
    if isinstance(queries, str | Path | Image.Image):
        queries = [queries]
    if not len(queries):
        raise UsageError("There is no query: name at least one sound.")
    short_names = _short_names([Path(query) for query in queries if _is_path(query)])
    named: dict[str, str | Image.Image] = {}
    for number, query in enumerate(queries, start=1):
        name, content = _named(query, number, short_names)
        if name in named:
            raise UsageError(f"The query '{name}' is given twice.")
        named[name] = content
    return named


def _named(
    query: Query, number: int, short_names: dict[Path, str]
) -> tuple[str, str | Image.Image]:
    """Name of a query and what to encode."""
    if isinstance(query, Image.Image):
        return f"image {number}", query
    if _is_path(query):
        return short_names[Path(query)], open_image(Path(query))
    if not isinstance(query, str):
        raise UsageError(
            f"A query is a text, the path of an image or a Pillow image, not {type(query).__name__} (a "
            "NumPy array becomes one with Image.fromarray)."
        )
    text = query.strip()
    if not text:
        raise UsageError('A query is empty: name a sound, for example "dog barking".')
    if text == RESIDUAL:
        raise UsageError(f"'{RESIDUAL}' is the name of what no query takes; choose another query.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"The query {text!r} is not valid Unicode text.") from error
    return text, text


def _is_path(query: object) -> bool:
    if isinstance(query, str):
        return Path(query).suffix.lower() in IMAGE_SUFFIXES
    return isinstance(query, Path)


def _short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The names of files, with as many of the folders above them as tell them apart."""
    names = {path: path.name for path in paths}
    for depth in range(2, max((len(path.parts) for path in names), default=1) + 1):
        counts = Counter(names.values())
        for path, name in names.items():
            if counts[name] > 1:
                names[path] = "/".join(path.parts[-depth:])
    return names
