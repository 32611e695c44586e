"""Whole files that hostile ones are made of, and how each kind is read."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile
from PIL import Image

YAML = [
    b"name: a\noutput: runs/a\ndata: {train: x, val: null}\nsteps: 100\nseed: 3\n",
    b"name: b\noutput: o\ndata:\n  train: x\nmodel:\n  network: {kind: patch_unet, widths: [8, 16]}\n"
    b"optimizer:\n  learning_rate: 1.0e-3\nloss: {kind: mask}\nprecision: bf16\n",
    b"steps: 2020-13-45\n",
    b"steps: !!int zz\n",
    b"steps: !!bool zz\n",
    b"steps: !!timestamp x\n",
    b"steps: " + b"9" * 5000,
    b"[" * 20_000,
    b'extends: "\\0"\n',
    b"extends: &a [*a]\n",
    b"a: &a {x: 1}\n"
    + b"".join(
        b"%c: &%c {<<: [%s]}\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 9))
        for n in range(ord("b"), ord("m"))
    ),
    b"a: !!python/object/apply:os.system ['touch /tmp/clipsep-was-run']\n",
]
_MIXTURE_HEADER = (
    b"id,target,target_start,interferer,interferer_start,snr_db,query,label,interferer_label,"
    b"target_frames,target_frame\n"
)
LISTS: dict[str, tuple[list[bytes], str]] = {
    "mixtures": (
        [
            _MIXTURE_HEADER + b"0,a.wav,0,b.wav,0,0,dog,d,c,,\n1,b.wav,10,a.wav,5,,cat,,,,\n",
            _MIXTURE_HEADER + b"0,a.wav,0,b.wav,0,-7000,dog,d,c,,\n",
            _MIXTURE_HEADER + b"0,a.wav,0," + b";".join([b"b.wav"] * 500) + b",0,0,dog,d,c,,\n",
            b"id,target\n0," + b"a" * 200000,
        ],
        ".csv",
    ),
    "files": ([b"mixture,reference,query,sample_rate\na.wav,b.wav,dog,16000\n"], ".csv"),
    "snr": ([b"target,interferer,snr_db,query,seconds\na.wav,b.wav;a.wav,-3,dog,1\n"], ".csv"),
    "audiosep": (
        [
            b"idx,caption,src_wav,noise_wav\n0,dog,a.wav,b.wav\n",
            b"index,mid,display_name\n0,/m,dog\n",
        ],
        ".csv",
    ),
    "hive": (
        [
            json.dumps(
                [
                    {
                        "mix_id": "m",
                        "dataset_info": {"sample_rate": 16000, "duration": 1.0},
                        "sources": [
                            {
                                **{"path": name, "label": "dog", "applied_weight": 0.5},
                                **{"chunk_start_second": 0, "chunk_end_second": 1},
                                **{"crop_start_second": 0, "crop_end_second": 1},
                            }
                            for name in ("a.wav", "b.wav")
                        ],
                    }
                ]
            ).encode()
        ],
        ".json",
    ),
}
LABELS = [b"path,label\na.mp4,dog\nb.mp4,\n", b"path,label\na.mp4," + b"x" * 200_000]
REJECTED = [b"id,fingerprint,reason\na.mp4,1,silent\n", b"id," + b"x" * 200_000 + b",y\n"]
JOURNAL = [b'{"input": "a", "status": "separated", "state": {"input": "1"}}\n' * 2]
REPORTS = [
    json.dumps(
        {
            "model": {"name": "m"},
            "list": {"sha256": "a"},
            "mixtures": [
                {
                    "id": str(n),
                    "query": "x",
                    "scores": {"mixture": {"sdr": 0.0}, "text query": {"sdr": 1.0 + n}},
                }
                for n in range(3)
            ],
        }
    ).encode()
]


def read_config(path: Path) -> None:
    """Of a training."""
    from clipsep.training.config import load_config

    load_config(path, ["name=x"])


def write_model(folder: Path) -> Path:
    """Write a few hundred random weights."""
    import torch._dynamo  # noqa: F401 - takes seconds, which no attempt has

    from clipsep.checkpoint import CheckpointConfig, save_checkpoint
    from clipsep.models.registry import build_model
    from clipsep.models.settings import ModelSettings, PatchUNetSettings
    from clipsep.spectral import SpectralSettings

    settings = ModelSettings(
        network=PatchUNetSettings(widths=(4, 8)), feature_channels=4, query_dim=8, noise_heads=2
    )
    spectral = SpectralSettings(segment_frames=16)
    config = CheckpointConfig(name="x", model=settings, spectral=spectral, query_encoder="any")
    save_checkpoint(folder, config, build_model(settings))
    _forget_checksum(folder)
    return folder


def copy_shipped_model(folder: Path) -> Path:
    """With its export."""
    from clipsep.checkpoint import shipped_models

    shutil.copytree(shipped_models()["mini"], folder)
    return folder


def _forget_checksum(folder: Path) -> None:
    """Empty the checksum in config.json: a hostile model has one that fits, or none."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "sha256": ""}))


def config_bombs(config: bytes) -> list[bytes]:
    """Sizes that would take all memory or time."""
    found = [b"[" * 200_000, b'{"a":' * 100_000]
    for group, keys in {
        "spectral": ("n_bands", "n_fft", "hop_length", "segment_frames", "sample_rate"),
        "model": ("feature_channels", "query_dim", "noise_heads", "n_labels"),
    }.items():
        for key in keys:
            for value in (1, 255, 10_000, 10**6, 10**9):
                content = json.loads(config)
                content[group][key] = value
                found.append(json.dumps(content).encode())
    for network in (
        {"kind": "patch_unet", "widths": [10_000] * 8},
        {"kind": "patch_unet", "widths": [1], "patch": 10**6},
        {"kind": "patch_unet", "widths": [8] * 40},
        {"kind": "unet", "num_downs": 10, "width": 10**6},
    ):
        content = json.loads(config)
        content["model"]["network"] = network
        found.append(json.dumps(content).encode())
    return found


def use_model(
    folder: Path, engine: str, config: bytes | None = None, weights: bytes | None = None
) -> None:
    """Load it and separate a moment of noise."""
    from clipsep import Separator
    from clipsep.separation.querying.asked import EncodedQueries

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        copy = Path(place)
        for path in folder.iterdir():
            (copy / path.name).symlink_to(path)
        for name, content in (("config.json", config), ("model.safetensors", weights)):
            if content is not None:
                (copy / name).unlink()
                (copy / name).write_bytes(content)
        separator = Separator.from_pretrained(copy, "cpu", engine=engine, threads=1)
        queries = np.ones((1, separator.config.model.query_dim), np.float32)
        noise = np.random.default_rng(0).standard_normal(3200).astype(np.float32)
        separator.separate(0.1 * noise, 16_000, EncodedQueries(["x"], queries))


def images() -> list[bytes]:
    """One of each format."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8))
    found = []
    for kind in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"):
        file = io.BytesIO()
        picture.save(file, kind)
        found.append(file.getvalue())
    return found


def image_bombs() -> list[bytes]:
    """PNGs of many pixels and few bytes."""
    return [
        _png(width, height, depth, kind)
        for width, height in (
            (1, 170_000_000),
            (13_000, 13_000),
            (7_000, 7_000),
            (2**31 - 1, 2**31 - 1),
        )
        for depth, kind in ((1, 0), (16, 6), (8, 2))
    ]


def _png(width: int, height: int, depth: int, kind: int) -> bytes:
    channels = {0: 1, 2: 3, 6: 4}[kind]
    row_bytes = 1 + (min(width, 20_000) * channels * depth + 7) // 8
    body = zlib.compress(bytes(min(row_bytes * min(height, 20_000), 1 << 24)))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
        (b"IDAT", body),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def read_image(path: Path) -> None:
    """As a query."""
    from clipsep.media.images import open_image, to_rgb

    to_rgb(open_image(path)).resize((16, 16))


def write_sounds(folder: Path) -> Path:
    """Those that the lists name."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(16_000), 16_000)
    return folder


def read_list(kind: str, path: Path, sounds: Path) -> None:
    """And mix what it names."""
    from clipsep.evaluation.lists import read_any
    from clipsep.evaluation.mixtures import load_sources

    for mixture in read_any(path if kind == "mixtures" else f"{kind}:{path}", sounds)[:2]:
        load_sources(mixture)


def read_labels(path: Path) -> None:
    """Of `prepare`."""
    from clipsep.datasets.prepare.videos import find_videos

    video = path.with_name("a.mp4")
    video.touch()
    find_videos([video], path)


def read_rejected(path: Path) -> None:
    """Of a data set."""
    from clipsep.datasets.rejected import RejectedList

    root = path.with_name("root")
    root.mkdir(exist_ok=True)
    shutil.copy(path, root / "rejected.csv")
    RejectedList(root).tidy()


def read_journal(path: Path) -> None:
    """Of a folder of separated files."""
    from clipsep.separation.many.journal import SeparationReport

    root = path.with_name("journal")
    root.mkdir(exist_ok=True)
    shutil.copy(path, root / "report.jsonl")
    SeparationReport(root).holds(Path("a"), {"input": "1"})


def read_report(path: Path) -> None:
    """Of an evaluation, compared with another."""
    from clipsep.evaluation.report.compare import compare

    other = path.with_name("other.json")
    other.write_bytes(REPORTS[0])
    compare(path, other)


def requests() -> list[bytes]:
    """Bodies of forms; the first line says the path and the boundary is x."""
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(1600), 16_000, format="WAV")

    def form(*fields: tuple[str, bytes]) -> bytes:
        parts = b"".join(
            b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), body)
            for head, body in fields
        )
        return parts + b"--x--\r\n"

    file = 'name="file"; filename="../../a.wav"'
    return [
        b"/v1/separate\n" + form(('name="query"', b"rain"), (file, sound.getvalue())),
        b"/v1/jobs\n" + form(('name="query"', b"rain"), (file, b"RIFF")),
        b"/v1/separate\n" + form(('name="query"', b"x" * 5000), (file, sound.getvalue())),
        b"/login\nnonsense",
    ]


@lru_cache
def _client():
    from fastapi.testclient import TestClient

    from clipsep import Separator
    from clipsep.serving.app import build_app
    from clipsep.serving.limits import Limits

    app = build_app(
        Separator.from_pretrained("mini", "cpu", threads=1), Limits(upload_bytes=1 << 20)
    )
    return TestClient(app, raise_server_exceptions=False)


def send_request(path: Path) -> None:
    """To the HTTP API; a 500 is a traceback."""
    where, _, body = path.read_bytes().partition(b"\n")
    answer = _client().post(
        "/" + quote(where.strip(b"/ ")[:100], safe="/?&=%"),
        content=body,
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    if answer.status_code == 500:
        raise RuntimeError(f"500 for {where!r}: {answer.text[:100]}")
    if answer.status_code >= 400 and not isinstance(answer.json().get("detail"), str):
        raise RuntimeError(f"{answer.status_code} without a sentence")
