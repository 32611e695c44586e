"""What is written to a config, a list or a report comes back as it was."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsep.checkpoint import CheckpointConfig, load_config, save_config
from clipsep.datasets.captions import CAPTIONS_FILE, add_captions, captions_of, read_captions_csv
from clipsep.datasets.format import read_sealed_table
from clipsep.datasets.index import INDEX_FILE, ClipIndex, ShardSize, write_index
from clipsep.datasets.rejected import RejectedList, Rejection
from clipsep.evaluation.mixtures import (
    Interferer,
    Mixture,
    read_mixture_list,
    write_mixture_list,
)
from clipsep.feedback import ConfidenceSettings, Drawing, KnownSettings, Thresholds
from clipsep.finding.exports import as_csv
from clipsep.finding.find import FindResult, FoundSound
from clipsep.finding.spans import Span
from clipsep.models.settings import ModelSettings, PatchUNetSettings
from clipsep.separation.many.journal import SeparationReport
from clipsep.spectral import SpectralSettings
from clipsep.training import config as training
from clipsep.training.bounded_yaml import read_yaml

pytestmark = pytest.mark.slow

LAW = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
# Line breaks, quotes, controls and signs beyond 16 bits, but no halves of those: UTF-8 has none.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20)
parts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="/;"),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in (".", ".."))
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def checkpoint_configs(draw: st.DrawFn) -> CheckpointConfig:
    cosine = st.floats(-1, 1)
    near, known = sorted((draw(cosine), draw(cosine)))
    return CheckpointConfig(
        name=draw(texts),
        model=ModelSettings(
            network=PatchUNetSettings(
                widths=tuple(draw(st.lists(st.integers(1, 64), min_size=1)))[:3]
            ),
            feature_channels=draw(st.integers(1, 64)),
            query_dim=draw(st.integers(1, 512)),
        ),
        spectral=SpectralSettings(segment_frames=16 * draw(st.integers(1, 16))),
        query_encoder=draw(texts),
        query_encoder_revision=draw(st.none() | texts),
        prompts=draw(texts),
        labels=draw(st.lists(texts, max_size=3)),
        known_sounds=draw(st.lists(texts, max_size=3)),
        known=draw(
            st.none()
            | st.builds(
                KnownSettings,
                wordings=st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
                drawing=st.just({})
                | st.builds(Drawing, share=st.floats(0, 1)).map(lambda drawing: {"text": drawing}),
                thresholds=st.just({"text": Thresholds(known=known, near=near)}),
            )
        ),
        confidence=draw(
            st.none()
            | st.builds(
                ConfidenceSettings,
                offset=st.floats(-1e6, 1e6),
                weights=st.dictionaries(texts, st.floats(-1e6, 1e6), max_size=3),
            )
        ),
        training=draw(st.dictionaries(texts, plain, max_size=3)),
        sha256=draw(texts),
    )


@LAW
@given(checkpoint_configs())
def test_the_config_of_a_model(config):
    with tempfile.TemporaryDirectory() as folder:
        save_config(Path(folder), config)
        assert load_config(Path(folder)) == config


@LAW
@given(
    name=texts,
    train=parts,
    steps=st.integers(1, 10**9),
    seed=st.integers(0, 2**31),
    rate=st.floats(1e-12, 1, exclude_min=True),
    noise=st.floats(0, 1e6),
    loggers=st.just({})
    | st.fixed_dictionaries({"wandb": st.dictionaries(texts, texts, max_size=2)}),
)
def test_the_config_of_a_training(name, train, steps, seed, rate, noise, loggers):
    config = training.TrainingConfig(
        name=name,
        output=Path("runs") / train,
        data=training.DataSettings(train=train),
        steps=steps,
        seed=seed,
        query_noise=noise,
        optimizer=training.OptimizerSettings(learning_rate=rate),
        loggers=loggers,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True), "utf-8")
        assert training.load_config(path) == config


@st.composite
def mixture_lists(draw: st.DrawFn) -> list[Mixture]:
    paths = st.lists(parts, min_size=1, max_size=3).map(lambda found: Path("/sounds", *found))
    starts = st.integers(-(2**40), 2**40)
    labels = st.none() | parts

    def mixture(clip_id: str) -> Mixture:
        others = draw(
            st.lists(st.builds(Interferer, paths, starts, labels), min_size=1, max_size=3)
        )
        return Mixture(
            id=clip_id,
            target=draw(paths),
            target_start=draw(starts),
            interferers=tuple(others),
            snr_db=draw(st.none() | st.floats(-200, 200)),
            query=draw(names),
            label=draw(st.none() | names),
            target_frames=draw(st.none() | paths),
            target_frame=draw(st.none() | st.integers(1, 10**6)),
        )

    ids = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    return [mixture(clip_id) for clip_id in ids]


@LAW
@given(mixture_lists())
def test_a_list_of_mixtures(mixtures):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        write_mixture_list(mixtures, path)
        found = read_mixture_list(path)
        # Paths are written relative to the list's folder.
        assert [_resolved(one) for one in found] == [_resolved(one) for one in mixtures]


def _resolved(mixture: Mixture) -> dict:
    content = dict(vars(mixture))
    for key in ("target", "target_frames"):
        content[key] = content[key] and content[key].resolve()
    content["interferers"] = [
        (other.path.resolve(), other.start, other.label) for other in mixture.interferers
    ]
    return content


@LAW
@given(st.dictionaries(texts, st.builds(Rejection, texts, texts), max_size=4))
def test_a_list_of_rejected_videos(rejections):
    rejections.pop("id", None)
    with tempfile.TemporaryDirectory() as folder:
        rejected = RejectedList(Path(folder))
        for clip_id, rejection in rejections.items():
            rejected.add(clip_id, rejection)
        assert dict(RejectedList(Path(folder))) == rejections  # which writes it again, in order
        assert dict(RejectedList(Path(folder))) == rejections


@LAW
@given(st.dictionaries(texts, st.dictionaries(texts, plain, max_size=3), max_size=4))
def test_a_report_of_separated_files(states):
    with tempfile.TemporaryDirectory() as folder:
        report = SeparationReport(Path(folder))
        entries = [
            {"input": str(Path(name)), "status": "x", "state": s} for name, s in states.items()
        ]
        for entry in entries:
            report.add(entry)
        last = {entry["input"]: entry for entry in entries}
        for again in (SeparationReport(Path(folder)), SeparationReport(Path(folder))):
            for name, entry in last.items():
                assert again.entry(Path(name)) == entry
                assert again.holds(Path(name), entry["state"])


@LAW
@given(st.dictionaries(texts, st.lists(texts, max_size=3), max_size=4))
def test_captions(captions):
    with tempfile.TemporaryDirectory() as folder:
        add_captions(Path(folder), captions, captions)
        assert captions_of(Path(folder) / CAPTIONS_FILE) == captions


@LAW
@given(st.dictionaries(texts, st.lists(names, min_size=1, max_size=3, unique=True), max_size=4))
def test_a_csv_of_captions(captions):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.csv"
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "caption"])
            writer.writerows([clip, text] for clip, several in captions.items() for text in several)
        assert read_captions_csv(path) == captions


@LAW
@given(
    st.lists(
        st.tuples(
            texts, texts, st.none() | names, st.floats(0, 1e6), st.integers(0, 10**6), names,
            st.integers(0, 10**6),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda row: row[0],
    ),
    st.builds(ShardSize, st.integers(0), st.integers(0), texts),
)  # fmt: skip
def test_the_index_of_a_data_set(rows, size):
    sizes = {row[5]: size for row in rows}
    columns = ("id", "fingerprint", "label", "seconds", "n_frames", "shard", "row")
    table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder) / INDEX_FILE, table, sizes)
        found = ClipIndex(read_sealed_table(Path(folder) / INDEX_FILE))
        assert found.shard_sizes == sizes
        expected = [(row[0], *row[2:]) for row in sorted(rows)]
        assert [tuple(vars(clip).values()) for clip in found] == expected


@LAW
@given(names.filter(lambda text: text[0] not in "=+-@" and text.isprintable()), st.floats(0, 1e4))
def test_a_table_of_found_spans(query, start):
    sound = FoundSound(query, 0.5, [Span(start, start + 1, 0.5)], np.zeros(1))
    result = FindResult("a.wav", start + 1, 0.1, [sound])
    (row,) = csv.DictReader(as_csv([result]).splitlines())
    assert row["query"] == query
    assert abs(float(row["start"]) - start) <= 0.0005001


@LAW
@given(plain)
def test_yaml_of_plain_values(value):
    assert read_yaml(yaml.safe_dump(value)) == value
