"""Models for `torch.hub`.

separator = torch.hub.load("OWNER/clipsep", "separator")
network = torch.hub.load("OWNER/clipsep", "mini")
"""

dependencies = ["numpy", "onnxruntime", "safetensors", "av", "soundfile", "soxr", "PIL", "pydantic"]


def _import_from_here() -> None:
    import sys
    from pathlib import Path

    source = str(Path(__file__).parent / "src")
    if source not in sys.path:
        sys.path.insert(0, source)


def separator(model: str = "mini", **options):
    """Load a `clipsep.Separator`; options as of `Separator.from_pretrained`."""
    _import_from_here()
    from clipsep import Separator

    return Separator.from_pretrained(model, **options)


def mini():
    """Load the shipped model as a `torch.nn.Module`, in evaluation mode."""
    _import_from_here()
    from clipsep import load_checkpoint

    return load_checkpoint("mini").model
