"""The licences of all packages that clipsep needs, with all extras: `python -m benchmarks.licences`.

Prints a Markdown table of what is installed here, by what the packages say of themselves.
"""

from __future__ import annotations

import argparse
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def needed(extras: set[str]) -> dict[str, Distribution]:
    """List the packages that clipsep needs directly or through others, as far as they are installed."""
    found: dict[str, Distribution] = {}
    waiting = [("clipsep", frozenset(extras))]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = package
        for requirement in package.requires or []:
            text, _, marker = requirement.partition(";")
            of_extra = re.search(r"extra == ['\"]([^'\"]+)", marker)
            if of_extra is None or of_extra[1] in wanted:
                more = re.search(r"\[([^]]*)\]", text)
                names = frozenset(more[1].replace(" ", "").split(",")) if more else frozenset()
                waiting.append((_NAME.match(text.strip())[0].lower().replace("_", "-"), names))
    return found


def licence(package: Distribution) -> str:
    """Shorten what a package says of its licence to one line."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classified = [
        value.rpartition(" :: ")[2]
        for value in metadata.get_all("Classifier", [])
        if value.startswith("License ::")
    ]
    if classified:
        return ", ".join(classified)
    return (metadata.get("License") or "not stated").strip().splitlines()[0][:80]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", action="append", help="by default all; repeat for several")
    extras = set(parser.parse_args().extra or ["all"])
    print("| package | version | licence |\n|---|---|---|")
    for name, package in sorted(needed(extras).items()):
        print(f"| {name} | {package.version} | {licence(package).replace('|', '/')} |")


if __name__ == "__main__":
    main()
