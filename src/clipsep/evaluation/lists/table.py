"""CSV files with a header, and errors that name the file and the line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipsep.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One line of a list."""

    cells: list[str]
    columns: dict[str, int]
    where: str

    def __getitem__(self, column: str | int) -> str:
        """Return the text in a column, by name or place.

        Raises:
            UsageError: if it is empty, or there is no such column.
        """
        if isinstance(column, str) and column not in self.columns:
            raise UsageError(f"{self.where}: there is no column '{column}'.")
        place = self.columns[column] if isinstance(column, str) else column
        if not (text := self.get(place)):
            name = next((name for name, at in self.columns.items() if at == place), column)
            raise UsageError(f"{self.where}: the column '{name}' is empty.")
        return text

    def get(self, column: str | int) -> str:
        """Return the text in a column; it is empty if there is no such column."""
        place = self.columns.get(column, -1) if isinstance(column, str) else column
        return self.cells[place].strip() if 0 <= place < len(self.cells) else ""

    def number(self, column: str) -> float:
        """Return the number in a column; UsageError if it is not finite or not a number."""
        try:
            number = float(self[column])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f"{self.where}: '{self[column]}' is not a number: correct '{column}'.")
        return number

    def whole_number(self, column: str | int) -> int:
        """Return the whole number in a column; UsageError if it is not one."""
        try:
            return int(self[column])
        except ValueError:
            raise UsageError(f"{self.where}: '{self[column]}' is not a whole number.") from None


def read_table(path: Path, required: tuple[str, ...] = ()) -> tuple[list[str], Iterator[Row]]:
    """Read the names of the columns, and the rows; of columns with one name the first counts.

    Raises:
        UsageError: if the file cannot be read or lacks a required column.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, skipinitialspace=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"Cannot read the list '{path}': {error}.") from error
    if not rows:
        raise UsageError(f"The list '{path}' is empty.")
    header = [name.strip() for name in rows[0]]
    if missing := [name for name in required if name not in header]:
        raise UsageError(f"'{path}' is not such a list: it lacks the column '{missing[0]}'.")
    columns = {name: place for place, name in reversed(list(enumerate(header)))}
    lines = (
        Row(cells, columns, f"'{path}', row {number}") for number, cells in enumerate(rows[1:], 2)
    )
    return header, lines
