"""The kinds of files that can be written, and what of them may be chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clipsep.errors import UsageError

WAV_CODECS = {16: "pcm_s16le", 24: "pcm_s24le", 32: "pcm_f32le"}


@dataclass(frozen=True)
class OutputFormat:
    """How one kind of file is written: ffmpeg's container, encoder and the encoder's sample format.

    ``bits`` are those of an integer sample, None for floating point. ``bits_per_second`` is per
    channel, for lossy encoders. An empty ``codec`` means libsndfile. ``channels`` are the numbers of
    channels it holds in their right order, empty for any. ``other_rate`` is the sample rate, in Hz, that
    takes the place of one that the encoder does not have; None if such a rate is refused.
    """

    container: str
    codec: str
    sample_format: str = "flt"
    bits: int | None = None
    bits_per_second: int | None = None
    channels: tuple[int, ...] = ()
    bit_rates: tuple[int, int] | None = None  # lowest and highest, of all channels, kbit/s
    other_rate: int | None = None


OUTPUT_FORMATS: dict[str, OutputFormat] = {
    "wav": OutputFormat("wav", "pcm_f32le"),
    "flac": OutputFormat("flac", "flac", sample_format="s32", bits=24),
    "mp3": OutputFormat("mp3", "libmp3lame", "fltp", channels=(1, 2), bit_rates=(32, 320)),
    # ffmpeg's own Vorbis encoder is experimental; libsndfile has the real one, but keeps WAV's
    # order of channels, which is not that of Vorbis beyond stereo.
    "ogg": OutputFormat("ogg", "", channels=(1, 2)),
    # ffmpeg's libopus wrapper permutes the channels of some rarer layouts.
    "opus": OutputFormat(
        "opus",
        "libopus",
        bits_per_second=96_000,
        channels=(1, 2, 6, 8),
        bit_rates=(16, 1024),
        other_rate=48_000,  # it has no 44.1 kHz, which is the rate of nearly all music
    ),
    "m4a": OutputFormat("ipod", "aac", "fltp", bits_per_second=128_000, bit_rates=(32, 1024)),
}
BIT_DEPTHS = {"wav": (16, 24, 32), "flac": (16, 24)}


def output_format(
    name: str, bit_depth: int | None = None, bit_rate: int | None = None
) -> OutputFormat:
    """Find the format called ``name``, with the bit depth of WAV and FLAC and the bit rate of the others.

    Args:
        bit_depth: 16, 24 or 32 (floating point) bits for wav, 16 or 24 for flac; by default the most.
        bit_rate: rate of all channels together, in kbit/s.

    Raises:
        UsageError: for an unknown format, or a choice that it does not have.
    """
    if name not in OUTPUT_FORMATS:
        raise UsageError(
            f"The format '{name}' cannot be written: choose one of {', '.join(OUTPUT_FORMATS)}."
        )
    chosen = OUTPUT_FORMATS[name]
    if bit_depth is not None:
        depths = BIT_DEPTHS.get(name, ())
        if bit_depth not in depths:
            raise UsageError(
                f"The format {name} has {_either(depths)} bits, not {bit_depth}: change the bit depth, or "
                "the format."
                if depths
                else f"The format {name} has no bit depth: leave it out, or choose wav or flac."
            )
        chosen = _with_depth(chosen, name, bit_depth)
    if bit_rate is not None:
        if chosen.bit_rates is None:
            able = [other for other, form in OUTPUT_FORMATS.items() if form.bit_rates]
            raise UsageError(
                f"The format {name} takes no bit rate: leave it out, or choose {_either(able)}."
            )
        low, high = chosen.bit_rates
        if not low <= bit_rate <= high:
            raise UsageError(
                f"The format {name} takes a bit rate of {low} to {high} kbit/s, not {bit_rate}: change it."
            )
    return chosen


def _with_depth(chosen: OutputFormat, name: str, bit_depth: int) -> OutputFormat:
    if name == "wav":
        chosen = replace(chosen, codec=WAV_CODECS[bit_depth])
        if bit_depth == 32:
            return chosen
    return replace(chosen, bits=bit_depth, sample_format="s16" if bit_depth == 16 else "s32")


def _either(values) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last
