"""YAML with bounds, so that a few lines cannot become gigabytes, hours, or anything but plain values."""

from __future__ import annotations

from typing import Any

import yaml

from clipsep.errors import UsageError

MOST_BYTES = 1 << 20
_MOST_DEPTH = 50
_STARTS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def read_yaml(text: str) -> Any:
    """Read the plain values in a YAML text.

    Raises:
        ValueError: saying what is wrong: invalid YAML, nested too deeply, aliases (with which a few lines
            can make gigabytes), or a value that does not fit its tag.
    """
    try:
        _check(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error
    except (TypeError, AttributeError, LookupError, OverflowError) as error:
        # PyYAML's constructors of numbers, dates and tags raise these for malformed ones.
        raise ValueError(f"a value does not fit its tag ({error})") from error


def set_key(data: dict[str, Any], override: str) -> None:
    """Set what ``key.sub=value`` says; UsageError if it is not of that form."""
    key, separator, value = override.partition("=")
    if not separator:
        raise UsageError(
            f"'{override}' is not an override: write key=value, for example steps=1000."
        )
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise UsageError(f"'{override}': '{parent}' has no keys below it.")
    try:
        data[last] = read_yaml(value)
    except ValueError as error:
        raise UsageError(f"'{override}': the value is not valid YAML.") from error


def _check(text: str) -> None:
    if len(text) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} characters")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(
                "aliases (*name) are not supported: write the value again, or use extends"
            )
        depth += isinstance(event, _STARTS) - isinstance(event, _ENDS)
        if depth > _MOST_DEPTH:
            raise ValueError(f"it is nested more than {_MOST_DEPTH} deep")
