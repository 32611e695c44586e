"""A whole CLAP of transformers with a few thousand random weights."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import torch


def save_tiny_clap(folder: Path, dim: int = 12) -> Path:
    """Write its model, tokenizer and feature extractor, as a download would; skips without transformers."""
    transformers = pytest.importorskip("transformers")
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *string.ascii_lowercase, "Ġ"]
    tokenizer = transformers.RobertaTokenizerFast(
        vocab={token: number for number, token in enumerate(vocab)}, merges=[]
    )
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text = {**layers, "num_attention_heads": 2, "vocab_size": len(vocab)}
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
    }
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=dim)
    torch.manual_seed(0)
    transformers.ClapModel(config).save_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc")
    transformers.ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder
