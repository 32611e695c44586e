"""Query encoders: what turns a text or an image into the embedding that steers separation.

This module must import no encoder before one is needed.
"""

from __future__ import annotations

from clipsep import plugins
from clipsep.devices import check_device, onnx_has_cuda, torch_device, torch_has
from clipsep.errors import UsageError, require
from clipsep.queries.protocol import AudioQueryEncoder, QueryEncoder

__all__ = ["AudioQueryEncoder", "QueryEncoder", "load_query_encoder", "reads_audio"]


def reads_audio(encoder: QueryEncoder) -> AudioQueryEncoder:
    """Return the encoder itself; UsageError if it takes no audio."""
    if isinstance(encoder, AudioQueryEncoder):
        return encoder
    raise UsageError(
        f"The query encoder '{encoder.id}' does not read audio: use one with encode_audios, such as a CLAP."
    )


def load_query_encoder(name: str, device: str = "cpu", threads: int | None = None) -> QueryEncoder:
    """Load the encoder called ``name``.

    "embedded" works offline; "clip" is OpenAI's ViT-B/32; "clip:MODEL" is any CLIP, a folder or a
    hub id; "efficientnet" takes images only. An encoder's id names it, too. Installed packages add
    others, "NAME" or "NAME:MODEL", by an entry point NAME of the group `clipsep.query_encoders`: a callable
    ``(model, device)`` that returns a `QueryEncoder`, with the empty text as model where none is named.
    NAME may also be a dotted path of trusted code, see `clipsep.plugins`.

    ``device`` is auto, cpu, cuda or mps; those of ONNX Runtime use a GPU only with onnxruntime-gpu.
    ``threads`` are theirs, None for one per core.

    Raises UsageError for an unknown name, ClipsepError if weights are missing or damaged.
    """
    if name in ("embedded", "embedded-v2"):
        from clipsep.queries.embedded.encoder import EmbeddedEncoder

        return EmbeddedEncoder(_onnx_device(device), threads)
    if name in ("efficientnet", "efficientnet-lite0"):
        from clipsep.queries.efficientnet import ImageFeatureEncoder

        return ImageFeatureEncoder(_onnx_device(device), threads)
    family, _, model = name.partition(":")
    if family == "clip" and (model or name == "clip"):
        require("torch", "transformers", extra="clip", purpose="the CLIP query encoder")
        from clipsep.queries.clip import DEFAULT_CLIP, CLIPEncoder

        return CLIPEncoder(model or DEFAULT_CLIP, torch_device(device))
    if plugins.is_known(plugins.QUERY_ENCODERS, family):
        return plugins.load_plugin(plugins.QUERY_ENCODERS, family)(model, device)
    others = "".join(f', "{plugin}"' for plugin in plugins.installed(plugins.QUERY_ENCODERS))
    raise UsageError(
        f'Unknown query encoder "{name}"; known are "embedded", "efficientnet"{others}, "clip" and '
        '"clip:MODEL", where MODEL is a folder or a Hugging Face model id.'
    )


def _onnx_device(name: str) -> str:
    """Where ONNX Runtime reads queries: the CPU, unless it can use the GPU that is wanted."""
    check_device(name)
    if name != "cpu" and name != "mps" and onnx_has_cuda():
        return "cuda" if name == "auto" else name
    # A GPU that PyTorch alone can use is for the mask network; a few queries are quick anywhere.
    if name not in ("cpu", "auto") and not torch_has(name):
        torch_device(name)  # says what is missing
    return "cpu"
