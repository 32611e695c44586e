"""Models to the Hugging Face hub: the checkpoint's files, and a card with what is known of the model.

`clipsep.checkpoint` loads a model from there.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from clipsep._version import __version__
from clipsep.checkpoint import (
    CONFIG_NAME,
    KNOWN_NAME,
    ONNX_NAME,
    WEIGHTS_NAME,
    CheckpointConfig,
    find_checkpoint,
    load_config,
    summarize,
    verify_weights,
)
from clipsep.errors import ClipsepError, UsageError, require
from clipsep.files import write_whole

CARD_NAME = "README.md"
_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_MOST_SOUNDS = 400  # named in the card


def save_pretrained(
    model: str | Path,
    folder: str | Path,
    license: str | None = None,
    repository: str | None = None,
) -> list[Path]:
    """Write what the hub keeps of a model into a folder; returns the files.

    Args:
        model: name, folder or hub id.
        license: terms of the weights, as the hub calls them ("mit", "cc-by-4.0"); for the card.
        repository: "owner/name" under which the model will be on the hub; for the card's example.

    Raises:
        UsageError: for what cannot be a repository's name, or if there is no such model.
        ClipsepError: if it is damaged, or the folder cannot be written.
    """
    if repository is not None:
        _check_repository(repository)
    folder = Path(folder)
    source = find_checkpoint(model)
    config = load_config(source)
    verify_weights(source, config)
    card = model_card(config, source, license, repository)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG_NAME, WEIGHTS_NAME, ONNX_NAME, KNOWN_NAME):
            if (source / name).is_file() and source.resolve() != folder.resolve():
                shutil.copy(source / name, folder / name)
        write_whole(folder / CARD_NAME, card.encode())
    except OSError as error:
        raise ClipsepError(f"Cannot write the model to '{folder}': {error.strerror}.") from error
    return sorted(path for path in folder.iterdir() if path.is_file())


def push_to_hub(
    model: str | Path,
    repository: str,
    private: bool = False,
    license: str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
) -> str:
    """Upload a model to the hub; returns its address.

    Args:
        model: name, folder or hub id.
        repository: "owner/name"; made if it is missing.
        license: see `save_pretrained`.
        endpoint: address of the hub; by default the public one, or that of HF_ENDPOINT.
        token: what the hub knows you by; by default that of ``hf auth login``, or of HF_TOKEN.

    Raises:
        UsageError: for what cannot be a repository's name, or if there is no such model.
        ClipsepError: if the hub refuses it or cannot be reached.
    """
    _check_repository(repository)
    require("huggingface_hub", extra="hub", purpose="sending a model to the hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi(endpoint=endpoint, token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, license, repository)
        try:
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"clipsep {__version__}"
            )
        except (HfHubHTTPError, LocalTokenNotFoundError, ValueError) as error:
            raise ClipsepError(
                f"The hub did not take '{repository}': {_reason(error)}. Log in with hf auth login, and "
                "look whether you may write there."
            ) from error
        except Exception as error:
            # Without a network it raises what its HTTP client does, which is another in other versions.
            raise ClipsepError(
                f"Sending '{repository}' to {api.endpoint} failed ({_reason(error)}): check the network "
                "and HF_ENDPOINT, or write the files into a folder with -o and send them later."
            ) from error
    return str(address)


def _check_repository(name: str) -> None:
    if not _REPOSITORY.fullmatch(name):
        raise UsageError(f"'{name}' is not owner/name, as repositories of the hub are called.")


def _reason(error: Exception) -> str:
    """Return the first line of a message, or the error's name if it has none."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def model_card(
    config: CheckpointConfig,
    folder: Path,
    license: str | None = None,
    repository: str | None = None,
) -> str:
    """Write the card of a model in Markdown, with the YAML that the hub reads at its top."""
    import yaml

    summary = summarize(folder)
    tags = ["audio-source-separation", "query-based", "clipsep", config.model.kind]
    about = {
        "library_name": "clipsep",
        "pipeline_tag": "audio-to-audio",
        "tags": list(dict.fromkeys(tags)),  # the kind may be "clipsep", too
        **({"license": license} if license else {}),
    }
    lines = [
        "---",
        yaml.safe_dump(about, sort_keys=False).strip(),
        "---",
        "",
        f"# {config.name}",
        "",
        f"A model for [clipsep](https://pypi.org/project/clipsep/) {__version__}: {summary.purpose}.",
        "",
        "```python",
        "from clipsep import Separator",
        "",
        f'separator = Separator.from_pretrained("{repository or "OWNER/NAME"}")',
        'result = separator.separate(waveform, sample_rate, ["dog barking"])',
        "```",
        "",
        f"- {summary.parameters / 1e6:.2f} million parameters, {summary.n_bytes / 1e6:.1f} MB",
        f"- query encoder: `{config.query_encoder}`, prompts: `{config.prompts}`",
        f"- {config.spectral.sample_rate} Hz inside; recordings keep their own rate and channels",
    ]
    if config.known_sounds:
        sounds = ", ".join(config.known_sounds[:_MOST_SOUNDS])
        lines += ["", "## Sounds it was trained with", "", f"{len(config.known_sounds)}: {sounds}."]
    if config.training:
        training = json.dumps(config.training, indent=2, ensure_ascii=False)
        lines += ["", "## Training", "", "```json", training, "```"]
    return "\n".join(lines) + "\n"
