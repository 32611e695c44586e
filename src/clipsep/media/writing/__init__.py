"""Audio and video files out: formats, encoders, tags, and a video with another sound."""

from __future__ import annotations

from clipsep.media.writing.audio import AudioWriter, check_writable
from clipsep.media.writing.formats import OUTPUT_FORMATS, output_format
from clipsep.media.writing.tags import Tags, read_tags
from clipsep.media.writing.video import video_format

__all__ = [
    "OUTPUT_FORMATS",
    "AudioWriter",
    "Tags",
    "check_writable",
    "output_format",
    "read_tags",
    "video_format",
]
