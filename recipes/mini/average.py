"""Average a model with the one it was trained on from: `average.py START END --share 0.8 -o FOLDER`.

What further training for another task gained and lost is traded against each other by the share of the
end (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022). It costs no training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from clipsep import load_checkpoint, save_checkpoint


def average(
    start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Weights between two models; counters, and keys that only the end has, are the end's.

    Where the start lacks weights, they count as zero there: steering that does nothing.
    """
    return {
        name: value
        if not value.is_floating_point()
        else torch.lerp(start.get(name, torch.zeros_like(value)), value, share)
        for name, value in end.items()
    }


def main() -> None:
    """Parse the command line, average, and write a model folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", help="model by name or folder")
    parser.add_argument("end", help="the model that was trained on from it")
    parser.add_argument("--share", type=float, required=True, help="of the end, 0 to 1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    start, end = load_checkpoint(args.start), load_checkpoint(args.end)
    weights = average(start.model.state_dict(), end.model.state_dict(), args.share)
    end.model.load_state_dict(weights)
    config = end.config
    config.training["averaged"] = {"start": start.config.training, "share": args.share}
    save_checkpoint(args.output, config, end.model)


if __name__ == "__main__":
    main()
