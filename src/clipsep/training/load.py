"""What a run is trained and validated on: data sets, embeddings, text queries; refused here if unfit.

Everything that can be known to go wrong is found before the first step. `clipsep.training.data.sampling`
deals batches out to devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from clipsep.datasets.embeddings import StoredEmbeddings
from clipsep.datasets.reader import PreparedDataset
from clipsep.datasets.storage.cache import FileCache
from clipsep.errors import ClipsepError, UsageError
from clipsep.messages import counted
from clipsep.queries import QueryEncoder, load_query_encoder, reads_audio
from clipsep.queries.labels import LabelEncoder
from clipsep.queries.prompts import encode_prompted
from clipsep.training.config import TrainingConfig
from clipsep.training.data.mixing import MixtureDataset
from clipsep.training.data.other_clips import OtherClipQueries

VALIDATION_SEED = 0  # one list for all runs of a study, which can then be compared


@dataclass(frozen=True)
class TrainingInputs:
    """The data of one run.

    Attributes:
        labels: those of training, then those that only validation has, if training takes no texts.
        encoder: what encodes the queries; None for models that take none.
        text_queries: embeddings of the labels [labels, D]; None where texts cannot be queries.
        mixtures: those of training, as many as the run will see.
        validation: the fixed mixtures that are scored, if there are validation data.
    """

    labels: list[str]
    encoder: QueryEncoder | None
    text_queries: torch.Tensor | None
    mixtures: MixtureDataset
    validation: MixtureDataset | None


def load_inputs(config: TrainingConfig) -> TrainingInputs:
    """Open everything that the config names.

    Raises:
        ClipsepError: if data are missing, damaged, or unfit for what the config wants to train.
    """
    cache = FileCache(config.data.cache, config.data.cache_gb)
    dataset = PreparedDataset(config.data.train, cache)
    validation = PreparedDataset(config.data.val, cache) if config.data.val else None
    require = _require_captions if config.texts == "captions" else _require_labels
    for data in filter(None, (dataset, validation)):
        require(config, data)
    encoder = _load_encoder(config, dataset)
    labels = _texts(config, dataset, validation)
    return TrainingInputs(
        labels=labels,
        encoder=encoder,
        text_queries=_text_queries(config, encoder, labels, validation),
        mixtures=_mixtures(config, dataset, encoder, labels, train=True),
        validation=(
            _mixtures(config, validation, encoder, labels, train=False) if validation else None
        ),
    )


def _texts(
    config: TrainingConfig, dataset: PreparedDataset, validation: PreparedDataset | None
) -> list[str]:
    """All that text queries may be, in the order of their embeddings."""
    if config.texts == "labels":
        return _labels(config, dataset, validation)
    texts = [text for data in (dataset, validation) if data for text in _captions(data)]
    return sorted(set(texts))


def _captions(dataset: PreparedDataset) -> Iterator[str]:
    return (text for texts in dataset.captions.values() for text in texts)


def _require_captions(config: TrainingConfig, dataset: PreparedDataset) -> None:
    """Raise ClipsepError if a clip has none."""
    missing = sum(clip.id not in dataset.captions for clip in dataset.clips)
    if missing:
        raise ClipsepError(
            f"'{dataset.root}' has {counted(missing, 'clip')} without a caption, which texts=captions "
            "needs: prepare it with --captions."
        )


def _labels(
    config: TrainingConfig, dataset: PreparedDataset, validation: PreparedDataset | None
) -> list[str]:
    """Those of training, then what only validation has, which a model trained on words cannot know."""
    if validation is None:
        return dataset.labels
    unknown = sorted(set(validation.labels) - set(dataset.labels))
    if unknown and config.query in ("text", "hybrid"):
        raise UsageError(
            f"The validation set has labels that the training set lacks ({unknown[0]}): remove those "
            "clips, or train with query=image."
        )
    return [*dataset.labels, *unknown]


def _mixtures(
    config: TrainingConfig,
    dataset: PreparedDataset,
    encoder: QueryEncoder | None,
    labels: list[str],
    train: bool,
) -> MixtureDataset:
    embeddings = _embeddings(config, dataset, encoder)
    by_other_clips = config.query == "audio" and config.mixing.audio_query == "other_clip"
    return MixtureDataset(
        dataset,
        embeddings,
        labels,
        config.mixing,
        config.spectral.segment_samples,
        config.seed if train else VALIDATION_SEED,
        train=train,
        length=config.steps * config.batch_size if train else config.validation_mixtures,
        shuffle_shards=config.data.shuffle_shards,
        captions=dataset.captions if config.texts == "captions" else None,
        other_clips=(
            OtherClipQueries(dataset, embeddings) if by_other_clips and embeddings else None
        ),
    )


def _require_labels(config: TrainingConfig, dataset: PreparedDataset) -> None:
    """Raise ClipsepError if labels are queries, and clips have none or all the same."""
    if config.query not in ("text", "hybrid"):
        return
    unlabeled = _unlabeled(dataset)
    if unlabeled:
        raise ClipsepError(
            f"'{dataset.root}' has {counted(unlabeled, 'clip')} without a label, which this config needs: "
            "prepare it with --labels."
        )
    if len(dataset.labels) == 1:
        raise ClipsepError(
            f"All clips of '{dataset.root}' have the label '{dataset.labels[0]}', so that every text query "
            "would be the same: add other kinds of sound, or train with query=image."
        )


def _unlabeled(dataset: PreparedDataset) -> int:
    return dataset.clips.n_unlabeled


def _load_encoder(config: TrainingConfig, dataset: PreparedDataset) -> QueryEncoder | None:
    if config.query == "none":
        return None
    if config.query_encoder == "labels":
        return LabelEncoder(dataset.labels)
    return load_query_encoder(config.query_encoder)


def _embeddings(
    config: TrainingConfig, dataset: PreparedDataset, encoder: QueryEncoder | None
) -> StoredEmbeddings | None:
    """Open the stored embeddings of frames, or of audio, unless the model never gets one."""
    if encoder is None or config.query == "text" or config.query_encoder == "labels":
        return None
    by_audio = config.query == "audio"
    if by_audio:
        reads_audio(encoder)  # or the finished model could not be used
    embeddings = StoredEmbeddings(dataset, encoder.id, by_audio)
    embeddings.require_complete()
    return embeddings


def _text_queries(
    config: TrainingConfig,
    encoder: QueryEncoder | None,
    labels: list[str],
    validation: PreparedDataset | None,
) -> torch.Tensor | None:
    """None where texts cannot tell validation clips apart, or with an encoder without words."""
    if encoder is None or not labels:
        return None
    by_label = config.texts == "labels"
    if by_label and validation and (_unlabeled(validation) or len(validation.labels) == 1):
        return None
    try:
        return torch.from_numpy(encode_prompted(encoder, labels, config.prompts))
    except UsageError:
        # Frame features have no words; that matters only to a model that is trained with texts.
        if config.query in ("text", "hybrid"):
            raise
        return None
