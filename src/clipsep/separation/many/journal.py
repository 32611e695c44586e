"""`report.jsonl` of a folder of separated recordings: one JSON object on a line for each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clipsep.errors import ClipsepError, UsageError
from clipsep.files import atomic_write

NAME = "report.jsonl"
_KEYS = {"input", "status", "state"}  # of every entry


class SeparationReport:
    """What became of the recordings, kept line by line so that a run that was killed can go on.

    An entry is a dictionary with ``input``, the recording's path, and ``state``, anything by which
    it is known whether the entry still holds.

    Raises:
        UsageError: if the folder has a file of that name that is something else.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._lines: dict[str, str] = {}  # by input; as text, which is smaller than dictionaries
        if not self.path.is_file():
            return
        lines = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines):
            try:
                text = line.decode()
                entry = json.loads(text)
                if not entry.keys() >= _KEYS:
                    raise KeyError
                self._lines[entry["input"]] = text
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                if line and number < len(lines) - 1:  # only the last one can be cut off by a kill
                    raise UsageError(
                        f"Line {number + 1} of '{self.path}' is not of a separation: move that file away, "
                        "or choose another output folder."
                    ) from error
        self.tidy()

    def holds(self, recording: Path, state: dict[str, Any]) -> bool:
        """Whether there is an entry of this very state."""
        line = self._lines.get(str(recording))
        return line is not None and json.loads(line)["state"] == state

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry, in place of an older one of the same input."""
        line = json.dumps(entry, ensure_ascii=False)
        self._lines[entry["input"]] = line
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def knows(self, recording: Path) -> bool:
        """Whether there is an entry of a recording, whatever its state."""
        return str(recording) in self._lines

    def entry(self, recording: Path) -> dict[str, Any]:
        """Return the last entry of a recording."""
        return json.loads(self._lines[str(recording)])

    def tidy(self) -> None:
        """One line for each recording, in order, in one step."""
        lines = (self._lines[name] + "\n" for name in sorted(self._lines))
        try:
            with (
                atomic_write(self.path) as temporary,
                open(temporary, "w", encoding="utf-8") as file,
            ):
                file.writelines(lines)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> ClipsepError:
        return ClipsepError(
            f"'{self.path}' cannot be written ({error.strerror or error}): check the folder and the free "
            "space, and run the same command again."
        )
