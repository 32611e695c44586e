"""Prints docs/configuration.md, made from the training config: `python .ci/config_table.py`.

Descriptions are those of the classes' docstrings. A test keeps the page in step.
"""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from clipsep.training.config import TrainingConfig

_HEAD = """# Configuration

What a training run can be told, in a YAML file or as `key=value` behind it. Made from the settings by
`python .ci/config_table.py > docs/configuration.md`. The defaults are the published CLIPSep, but for
`mixing.extra_frames`, `spectral.warp` and `validation_mixtures`, which `configs/clipsep.yaml` sets.

| key | default | meaning |
|---|---|---|
"""


def described(settings: type[BaseModel]) -> dict[str, str]:
    """Read the entries under ``Attributes:`` of a class's docstring, each in one line."""
    text = inspect.getdoc(settings) or ""
    _, _, attributes = text.partition("Attributes:\n")
    entries: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        if found := re.match(r"    (\w+(?:, \w+)*): (.*)", line):
            name = found[1]
            entries[name] = found[2]
        elif name and line.startswith("        "):
            entries[name] += " " + line.strip()
    return {one: entry for names, entry in entries.items() for one in names.split(", ")}


def _unwrapped(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def rows(settings: type[BaseModel], prefix: str = "") -> list[str]:
    """Table rows of all keys, those of nested settings below their key."""
    texts, lines = described(settings), []
    for name, field in settings.model_fields.items():
        default = field.default
        below = [
            one
            for one in map(_unwrapped, (field.annotation, *get_args(field.annotation)))
            if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        for one in below:
            lines += rows(one, f"{prefix}{name}.")
        if below:
            continue
        if default is PydanticUndefined:
            shown = "required"
        else:
            flow = yaml.safe_dump(
                default if not isinstance(default, tuple) else list(default),
                default_flow_style=True,
            )
            shown = f"`{flow.removesuffix('...' + chr(10)).strip()}`"
        text = texts.get(name, "").replace("``", "`").replace("|", "or")
        lines.append(f"| `{prefix}{name}` | {shown} | {text} |")
    return lines


def page() -> str:
    """Write the whole page."""
    lines = dict.fromkeys(rows(TrainingConfig))  # both networks have a kind and a stride
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
