"""The embedded query encoder: texts and images in one space, from files inside the package."""

from clipsep.queries.embedded.encoder import ID, EmbeddedEncoder

__all__ = ["ID", "EmbeddedEncoder"]
