"""What a user may ask with, and the names that the answers get: texts, pictures, paths of pictures.

It must not know which encoder reads them, nor what is separated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from clipsep.errors import ClipsepError, UsageError

Query = str | Path | Image.Image
PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
RESIDUAL = "residual"


def named_queries(queries: Sequence[Query]) -> dict[str, str | Image.Image]:
    """What to encode, by the name of the query; UsageError for a bad query."""
    if isinstance(queries, str | Path | Image.Image):
        queries = [queries]
    if not queries:
        raise UsageError("There is no query: name at least one sound.")
    named: dict[str, str | Image.Image] = {}
    for number, query in enumerate(queries, start=1):
        name, content = _named(query, number)
        if name in named:
            raise UsageError(f"The query '{name}' is given twice.")
        named[name] = content
    return named


def _named(query: Query, number: int) -> tuple[str, str | Image.Image]:
    """Name of a query and what to encode."""
    if isinstance(query, Image.Image):
        return f"image {number}", query
    is_picture = isinstance(query, Path) or Path(query).suffix.lower() in PICTURE_SUFFIXES
    if is_picture:
        return Path(query).name, _open_picture(Path(query))
    text = query.strip()
    if not text:
        raise UsageError('A query is empty: name a sound, for example "dog barking".')
    if text == RESIDUAL:
        raise UsageError(f"'{RESIDUAL}' is the name of what no query takes; choose another query.")
    return text, text


def _open_picture(path: Path) -> Image.Image:
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError as error:
        raise UsageError(f"The picture '{path}' does not exist.") from error
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ClipsepError(f"'{path}' is no picture that can be read: {error}.") from error
    return picture
