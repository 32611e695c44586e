"""How training and validation mixtures are drawn, as a config says it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_EXTRA_SOURCES = 2  # sources beside the queried ones


class AugmentSettings(BaseModel):
    """How often each effect happens, and how strong it is at most. Zeros leave the sounds as they are.

    Attributes:
        changed_prob: share of sources that are changed at all; the next three are shares of these.
        reverb_prob: share that sounds in a room: exponentially decaying noise with a
            reverberation time from 0.1 to 0.8 s, 0 to 15 dB below the direct sound.
        equalizer_db: standard deviation of each source's random equaliser curve, in dB.
        band_limit_prob: share of which a microphone or telephone cuts low or high frequencies.
        noise_prob: share of mixtures with white to brown noise, 10 to 40 dB below them.
        clipping_prob: share of mixtures that overload their recorder.
        codec_prob: share of mixtures that lose what a coder leaves out, the parts 12 to 30 dB below
            their neighbours in time and frequency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    changed_prob: float = Field(0.0, ge=0, le=1)
    reverb_prob: float = Field(0.0, ge=0, le=1)
    equalizer_db: float = Field(0.0, ge=0)
    band_limit_prob: float = Field(0.0, ge=0, le=1)
    noise_prob: float = Field(0.0, ge=0, le=1)
    clipping_prob: float = Field(0.0, ge=0, le=1)
    codec_prob: float = Field(0.0, ge=0, le=1)


class MixingSettings(BaseModel):
    """How mixtures are drawn; the defaults are the published ones.

    Attributes:
        n_sources: N, clips in a mixture.
        query_frames: frames around the segment's centre whose mean embedding is the query.
        frame_stride: seconds from one of these frames to the next.
        margin: seconds kept clear of a clip's ends when the centre is drawn.
        extra_frames: frames that a clip is taken to have beyond its seconds when its centre is drawn.
            The published extraction gives 2 more, which moves centres towards the end of clips.
        jitter: the segment's centre moves by up to this many seconds off its frame.
        target_rms: root mean square that every segment is scaled to before the random gain; None leaves it
            as it is.
        gain_range: lowest and highest random gain of a source in training.
        speed_perturb: largest relative change of a segment's speed in training, pitch included
            (Ko et al., 2015); 0.1 for 0.9 to 1.1 times.
        single_source_prob: probability that all queried sources of a training mixture but the first are
            silenced. They are still queried, with silence as the target. Extra sources are not silenced.
        extra_source_prob: probability p that a training mixture gets a source that is not queried; a
            second one joins it with probability p ** 2.
        augment: what training mixtures go through as if somebody recorded them.
        sampler: class of another package (`clipsep.plugins`) that chooses the clips of a training mixture;
            by default every clip comes first once per epoch, with any others.
        sampler_options: keyword arguments of its class.
        audio_query: audio that is the query in a training by audio: ``other_clip`` takes another clip with
            the same label, ``own_clip`` the sound around the segment itself, which needs no labels.
        validation_partner: what a validation clip is mixed with: ``any`` other clip, as published, or
            one of an ``other_label``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_sources: int = Field(2, ge=2)
    query_frames: int = Field(3, ge=1)
    frame_stride: int = Field(1, ge=1)
    margin: float = Field(3.0, ge=0)
    extra_frames: int = Field(0, ge=0)
    jitter: float = Field(0.0, ge=0)
    target_rms: float | None = Field(None, gt=0)
    gain_range: tuple[float, float] = (0.5, 1.5)
    speed_perturb: float = Field(0.0, ge=0, lt=1)
    single_source_prob: float = Field(0.0, ge=0, le=1)
    extra_source_prob: float = Field(0.0, ge=0, le=1)
    augment: AugmentSettings = AugmentSettings()
    audio_query: Literal["other_clip", "own_clip"] = "other_clip"
    validation_partner: Literal["any", "other_label"] = "any"
    sampler: str | None = None
    sampler_options: dict[str, Any] = {}

    @field_validator("gain_range")
    @classmethod
    def _rising(cls, gain: tuple[float, float]) -> tuple[float, float]:
        low, high = gain
        if not 0 <= low <= high or high == 0:
            raise ValueError(
                "must be two numbers of at least 0, the lower one first and not both 0"
            )
        return gain
