"""Sound and video in and out of files: decode, resample and encode, in blocks where it matters."""

from __future__ import annotations

from clipsep.media.reading import AudioReader, probe, read_audio
from clipsep.media.resampling import StreamingResampler, resample
from clipsep.media.sound_track import AudioStreamInfo
from clipsep.media.video import Video, read_frame, read_video, square_image
from clipsep.media.writing import (
    OUTPUT_FORMATS,
    AudioWriter,
    Tags,
    check_writable,
    output_format,
    read_tags,
    video_format,
)

__all__ = [
    "OUTPUT_FORMATS",
    "AudioReader",
    "AudioStreamInfo",
    "AudioWriter",
    "StreamingResampler",
    "Tags",
    "Video",
    "check_writable",
    "output_format",
    "probe",
    "read_audio",
    "read_frame",
    "read_tags",
    "read_video",
    "resample",
    "square_image",
    "video_format",
]
