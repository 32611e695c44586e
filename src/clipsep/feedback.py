"""What a checkpoint's config.json holds for feedback on queries and answers: numbers alone.

How they are used is in `clipsep.queries.known` and `clipsep.separation.masking.confidence`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["text", "image"]
TEXT: Kind = "text"
IMAGE: Kind = "image"
Level = Literal["known", "near", "unknown"]


class Thresholds(BaseModel):
    """Cosines between a query's embedding and the nearest one that was learnt.

    Attributes:
        known: a similarity that one in twenty queries for sounds that were never learnt has.
        near: from here on, a query, even for a sound that was never learnt, is more often than not
            nearest to a sound that is alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    known: float = Field(ge=-1, le=1)
    near: float = Field(ge=-1, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Thresholds:
        if self.near > self.known:
            raise ValueError("'near' is above 'known'")
        return self


class Drawing(BaseModel):
    """How queries are drawn towards the known sounds.

    Attributes:
        temperature: that of the softmax over the cosines with the known sounds.
        share: how far a query is drawn towards their weighted mean: 0 leaves it as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.05, gt=0)
    share: float = Field(0.0, ge=0, le=1)


class KnownSettings(BaseModel):
    """How queries compare with what a model was trained on.

    Attributes:
        wordings: other texts for a known sound, by its label.
        drawing: how texts are drawn, and how images are; those that are not named stay as they are.
        thresholds: those of texts and of images, whose embeddings lie at other distances.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wordings: dict[str, list[str]] = {}
    drawing: dict[Kind, Drawing] = {}
    thresholds: dict[Kind, Thresholds]


class PresenceSettings(BaseModel):
    """A logistic regression from what a query's mask takes of a moment to whether its sound is heard then.

    Attributes:
        offset: its constant.
        per_db: weight of the share of the moment's energy that the mask takes, in dB.
        per_db_of_mean: weight of the energy that it takes, in dB over its mean of the segment.
        per_logit: weight of the logit of the confidence in the segment around it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: float = 1.8
    per_db: float = 0.16
    per_db_of_mean: float = 0.0
    per_logit: float = 0.5


class ConfidenceSettings(BaseModel):
    """A logistic regression from features of an answer to the probability that its sound is there.

    Attributes:
        offset: its constant.
        weights: what each feature of `clipsep.separation.masking.confidence.FEATURES` counts.
        presence: settings for the sound at each moment; `recipes.feedback.presence` fits them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: float
    weights: dict[str, float]
    presence: PresenceSettings = PresenceSettings()
