"""Put a trained model into the package: `ship.py runs/mini-average --name mini-41`.

It replaces a shipped model of the same name.

Weights are stored in half precision (used in float32): half the size, the same scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import clipsep
from clipsep import load_checkpoint, save_checkpoint
from clipsep.engines.export import export_checkpoint

DATA = (
    "Stand-in videos made by recipes/mini/make_videos.py from recordings and photos whose "
    "sources and licences docs/models/mini.md lists. No label reached "
    "training other than through the frames."
)


def main() -> None:
    """Parse the command line and copy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", help="under which it is shipped; by default its own")
    parser.add_argument(
        "--prompts", help="the prompt set that scored best on the validation mixtures"
    )
    parser.add_argument(
        "--bias",
        type=float,
        default=0.0,
        help="added to the logits: how much masks take, see results.md",
    )
    parser.add_argument(
        "--segment-frames", type=int, help="of the segments in which it is used; by default its own"
    )
    args = parser.parse_args()
    checkpoint = load_checkpoint(args.checkpoint)
    config = checkpoint.config
    changes = {"name": args.name, "prompts": args.prompts}
    config = config.model_copy(update={key: value for key, value in changes.items() if value})
    if args.segment_frames:
        spectral = config.spectral.model_copy(update={"segment_frames": args.segment_frames})
        config = config.model_copy(update={"spectral": spectral})
    config.training.setdefault("data", DATA)
    if args.bias:
        config.training["added_bias"] = args.bias
        with torch.no_grad():
            checkpoint.model.get_parameter("bias").add_(args.bias)
    folder = Path(clipsep.__file__).parent / "assets" / config.name
    save_checkpoint(folder, config, checkpoint.model, torch.float16)
    export_checkpoint(folder)
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {parameters / 1e6:.2f} M parameters, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
