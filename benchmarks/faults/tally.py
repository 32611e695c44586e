"""Counts of attempts, failures and losses, and the table that is printed of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from benchmarks.faults.isolation import CHANGED, FAULTS, HARMLESS, REFUSED, Outcome

_EXAMPLES = 5  # of failures, kept word for word


@dataclass
class Tally:
    """One line of the table.

    Attributes:
        what: was done.
        promised: whether other content that is accepted breaks a promise, or cannot be known.
    """

    what: str
    promised: bool = True
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        return self.kinds.total()

    @property
    def losses(self) -> int:
        """Other content that was taken for the whole."""
        return self.kinds[CHANGED] if self.promised else 0

    @property
    def failures(self) -> int:
        """Attempts that broke a promise in any way."""
        return self.losses + sum(self.kinds[kind] for kind in FAULTS)

    def add(self, outcome: Outcome) -> None:
        """Count an attempt."""
        self.kinds[outcome.kind] += 1
        failed = outcome.kind in FAULTS or (outcome.kind == CHANGED and self.promised)
        if failed and len(self.examples) < _EXAMPLES:
            self.examples.append(f"{self.what}, attempt {outcome.number}: {' '.join(outcome[1:])}")

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "what": self.what,
            "attempts": self.attempts,
            "failures": self.failures,
            "losses": self.losses,
            "kinds": dict(self.kinds),
            "examples": self.examples,
        }


def table(tallies: list[Tally]) -> str:
    """All tallies as Markdown."""
    lines = [
        "| what | attempts | refused | harmless | cannot be known | failures | losses |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for tally in tallies:
        unknown = 0 if tally.promised else tally.kinds[CHANGED]
        numbers = (
            tally.attempts,
            tally.kinds[REFUSED],
            tally.kinds[HARMLESS],
            unknown,
            tally.failures,
            tally.losses,
        )
        lines.append(f"| {tally.what} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)
