"""Named sets of prompts that turn a query text into sentences, and the mean of their embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipsep import plugins
from clipsep.errors import ClipsepError, UsageError

if TYPE_CHECKING:
    from clipsep.queries.protocol import QueryEncoder

PROMPT_SETS: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "photo": ("a photo of {}",),
    # As published (Dong et al., 2023, evaluation): the second prompt counts twice there.
    "ensemble": (
        "a photo of {}.",
        "a photo of the small {}.",
        "a photo of the small {}.",
        "a low resolution photo of a {}.",
        "a photo of many {}.",
    ),
    "sound": ("the sound of {}",),
}


def encode_prompted(encoder: QueryEncoder, texts: list[str], prompts: str) -> np.ndarray:
    """Texts -> embeddings [B,D]: the mean over a prompt set's, which are not normalised first.

    A table of labels knows no sentences, so its texts are looked up as they are.

    Raises UsageError for an unknown prompt set, a blank text or an unknown label.
    """
    templates = prompt_set(prompts)
    check_texts(texts)
    if encoder.id == "labels":
        return encoder.encode_texts(texts)
    sentences = [template.format(text) for template in templates for text in texts]
    embeddings = encoder.encode_texts(sentences)  # [P*B,D], prompt by prompt
    return embeddings.reshape(len(templates), len(texts), -1).mean(0)


def prompt_set(name: str) -> tuple[str, ...]:
    """Return the prompts of a set: one of `PROMPT_SETS`, or of another package (`clipsep.plugins`).

    Raises:
        UsageError: if there is none of that name.
        ClipsepError: if that of another package is not made of texts with one {} each.
    """
    if name in PROMPT_SETS:
        return PROMPT_SETS[name]
    if not plugins.is_known(plugins.PROMPTS, name):
        known = ", ".join([*PROMPT_SETS, *plugins.installed(plugins.PROMPTS)])
        raise UsageError(f'Unknown prompt set "{name}"; known are {known}.')
    prompts = plugins.load_plugin(plugins.PROMPTS, name, PROMPT_SETS)
    if not isinstance(prompts, list | tuple) or not all(
        isinstance(prompt, str) and prompt.count("{}") == 1 for prompt in prompts
    ):
        raise ClipsepError(f"The prompt set '{name}' is not a list of texts with one {{}} in each.")
    return tuple(prompts)


def check_texts(texts: list[str]) -> None:
    """Raise UsageError if a text is blank: it names no sound."""
    if isinstance(texts, str):
        raise TypeError("texts is one string; pass a list of strings")
    if any(not text.strip() for text in texts):
        raise UsageError('A text query is empty; name a sound, for example "dog barking".')
