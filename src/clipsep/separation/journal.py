"""`report.jsonl` of a folder of separated recordings: one JSON object on a line for each of them.

It knows lines and files; what the objects say of a separation is not looked at here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "report.jsonl"


class SeparationReport:
    """What became of the recordings, kept line by line so that a run that was killed can go on.

    An entry is a dictionary with ``input``, the recording's path, and ``state``, anything by which
    it is known whether the entry still holds.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._lines: dict[str, str] = {}  # by input; as text, which is smaller than dictionaries
        if not self.path.is_file():
            return
        for line in self.path.read_text(encoding="utf-8").split("\n"):
            try:
                self._lines[json.loads(line)["input"]] = line
            except (ValueError, TypeError, KeyError):
                continue  # cut off by a kill
        self.tidy()

    def holds(self, recording: Path, state: dict[str, Any]) -> bool:
        """Whether there is an entry of this very state."""
        line = self._lines.get(str(recording))
        return line is not None and json.loads(line)["state"] == state

    def add(self, entry: dict[str, Any]) -> None:
        """Write an entry, in place of an older one of the same input."""
        line = json.dumps(entry, ensure_ascii=False)
        self._lines[entry["input"]] = line
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def entry(self, recording: Path) -> dict[str, Any]:
        """The last entry of a recording."""
        return json.loads(self._lines[str(recording)])

    def tidy(self) -> None:
        """One line for each recording, in order, in one step."""
        temporary = self.path.with_suffix(".tmp")
        lines = (self._lines[name] + "\n" for name in sorted(self._lines))
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(lines)
        temporary.rename(self.path)
