"""Opening media files: what they hold, how long they say they are, and why they cannot be opened.

It ends where packets begin; what is in them is for sound_track.py and video.py.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from clipsep.errors import ClipsepError, UsageError
from clipsep.media import headers, matroska

# Containers whose headers state the length of the sound; elsewhere it is an estimate.
_EXACT_CONTAINERS = frozenset({"wav", "aiff", "flac", "mov", "matroska", "ogg", "wv", "tta", "flv"})
# Where the bytes of sound lie among others.
_MIXED_CONTAINERS = frozenset({"avi", "mov", "matroska"})
# Only real containers: playlists (hls, concat, dash) could make an uploaded file read other files,
# and text demuxers would take a stray text for subtitles.
_CONTAINERS = (
    "wav,w64,aiff,caf,au,flac,mp3,aac,ogg,mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,wv,"
    "amr,amrnb,amrwb,ac3,eac3,dts,dtshd,tta,ape,tak,mpc,mpc8,oma,rm,voc,nut,mxf,gxf,loas,truehd,"
    "ivf,h264,hevc,m4v,rawvideo,dv,3gp,3g2,mp4,m4a"
)
# Tags that are not UTF-8 are no reason to refuse a recording. PyAV 19 never refuses them.
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


def open_media(path: str | Path) -> av.container.InputContainer:
    """Open ``path`` with PyAV.

    Raises UsageError: missing. ClipsepError: a folder, empty, unreadable, not media.
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: check the name.") from None
    except (OSError, ValueError) as error:
        raise ClipsepError(f"{path} cannot be read ({_reason(error)}).") from error
    if stat.S_ISDIR(status.st_mode):
        raise ClipsepError(f"{path} is a folder: name a sound or video file in it.")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise ClipsepError(f"{path} is empty: choose a file that holds sound.")
    try:
        # "file:" keeps a colon in a name from being taken for a protocol.
        return av.open(f"file:{path}", options={"format_whitelist": _CONTAINERS}, **_LENIENT)
    except PermissionError as error:
        raise ClipsepError(f"{path} cannot be read: you have no permission to.") from error
    except (FFmpegError, ValueError) as error:
        raise ClipsepError(
            f"{path} is not a sound or video file that can be read, or its start or index is "
            "missing: convert it, or get a complete copy."
        ) from error


def demux(
    container: av.container.InputContainer, path: Path, *streams: av.stream.Stream
) -> Iterator[av.Packet]:
    """Yield the packets of ``streams``, reading errors turned into ClipsepError."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError) as error:
            raise ClipsepError(
                f"{path} is truncated or damaged: reading it failed ({_reason(error)}); "
                "get an intact copy."
            ) from error
        if packet is None:
            return
        yield packet


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """Find the first stream of video; cover art in a music file is not one."""
    attached = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & attached), None)


def check_whole(path: Path, container: av.container.InputContainer, stream: av.AudioStream) -> None:
    """Raise ClipsepError if the bytes of a file show that some are missing or changed.

    Most containers say where they end, and Ogg has checksums; ffmpeg looks at neither. What it does
    look at is left to it. A pipe cannot be read twice and is not checked.
    """
    if not path.is_file():
        return
    kinds = container.format.name.split(",")
    if "ogg" in kinds and (damage := headers.ogg_damage(path)):
        raise ClipsepError(f"{path} is {damage}; get an intact copy.")
    if "matroska" in kinds and (damage := matroska.damage(path)):
        raise ClipsepError(f"{path} is {damage}; get an intact copy.")
    if "flv" in kinds and headers.flv_ends_inside_tag(path):
        raise ClipsepError(f"{path} is truncated: its last part is cut; get a complete copy.")
    extent = headers.extent_of_sound(path, kinds)
    if extent is None or extent.present == extent.announced:
        return
    bytes_per_second = (stream.codec_context.bit_rate or 0) / 8
    if not bytes_per_second or _MIXED_CONTAINERS & set(kinds):
        missing = extent.announced - extent.present
        lack = f"it lacks {missing} of the {extent.announced} bytes that it announces"
    else:
        declared, present = (n_bytes / bytes_per_second for n_bytes in extent)
        lack = f"it declares {declared:.2f} s of sound but only {present:.2f} s could be read"
    raise ClipsepError(f"{path} is truncated: {lack}; get a complete copy.")


def declared_seconds(
    path: Path, container: av.container.InputContainer, stream: av.AudioStream
) -> tuple[float | None, bool]:
    """Return the declared length of ``stream`` in seconds, and whether the file states it exactly."""
    kinds = container.format.name.split(",")
    exact = not _EXACT_CONTAINERS.isdisjoint(kinds)
    if "mp3" in kinds and path.is_file():  # a pipe cannot be read twice
        exact = headers.mp3_frames(path) is not None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base), exact
    tagged = _parse_clock(stream.metadata.get("DURATION", ""))  # Matroska's length of one track
    if tagged:
        return tagged, exact
    if container.duration:
        # The length of the longest track: a sound beside a video may rightly be shorter.
        return container.duration / av.time_base, exact and len(container.streams) == 1
    return None, False


def _parse_clock(text: str) -> float | None:
    """Seconds of a "01:02:03.5" clock, None for anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
