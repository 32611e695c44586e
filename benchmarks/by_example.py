"""What a recording of a sound is worth as a query of a model that reads only texts and images.

    python -m benchmarks.by_example CORPUS [--list pairs_test_wide.csv] [--count 100]

The example is another recording with the label of the target. `clipsep scan` names its sound, and that
name is the query for the mixture; the label itself is the query to compare with. SDR improvement in dB.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.asking import excerpt
from benchmarks.corpus import spread_rows
from clipsep import Separator
from clipsep.finding import scan
from clipsep.metrics import sdr_improvement

RATE = 16_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--list", default="pairs_test_wide.csv")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    separator = Separator.from_pretrained(arguments.model, device="cpu")
    every = spread_rows(arguments.corpus / arguments.list, 10**6)
    results = []
    for row in spread_rows(arguments.corpus / arguments.list, arguments.count):
        others = [
            one for one in every if one["label"] == row["label"] and one["target"] != row["target"]
        ]
        if others:
            results.append(compare(separator, arguments.corpus, row, others[0]))
    right = np.array([one["named"] == one["label"] for one in results])
    by_text, by_name = (np.array([one[kind] for one in results]) for kind in ("text", "name"))
    print(
        json.dumps(
            {
                "mixtures": len(results),
                "first_name_is_the_label": round(float(right.mean()), 3),
                "label_among_three": round(float(np.mean([one["three"] for one in results])), 3),
                "by_text": summary(by_text),
                "by_the_name_of_the_example": summary(by_name),
                "by_the_name_where_it_is_the_label": summary(by_name[right]),
                "by_the_name_where_it_is_another": summary(by_name[~right]),
            },
            indent=2,
        )
    )


def compare(separator: Separator, corpus: Path, row: dict, other: dict) -> dict:
    """How a mixture is separated by its label, and by what the model hears in another recording of it."""
    target = excerpt(corpus / row["target"], int(row["target_start"]))
    interferer = excerpt(corpus / row["interferer"], int(row["interferer_start"]))
    mixture = target + interferer * 10 ** (-float(row["snr_db"]) / 20)
    example = excerpt(corpus / other["target"], int(other["target_start"]))
    names = [sound.query for sound in scan(example, RATE, separator).sounds]
    named = names[0] if names else "sound"
    queries = list(dict.fromkeys([row["query"], named]))
    targets = separator.separate(mixture, RATE, queries).targets
    text, name = (
        float(sdr_improvement(target, targets[query], mixture)) for query in (row["query"], named)
    )
    is_near = row["label"] in names[:3]
    return {"label": row["label"], "named": named, "three": is_near, "text": text, "name": name}


def summary(scores: np.ndarray) -> dict[str, float]:
    if not len(scores):
        return {}
    return {"mean": round(float(scores.mean()), 2), "median": round(float(np.median(scores)), 2)}


if __name__ == "__main__":
    main()
