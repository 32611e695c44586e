"""Puts the page together: its scripts, ONNX Runtime, a model and the embedded encoder, in one folder.

npm ci --prefix examples/browser
python examples/browser/build.py browser-page
python -m http.server --directory browser-page
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from clipsep.checkpoint import find_checkpoint
from clipsep.queries.embedded.files import CLASSES, FOLDER, TEXT, TOKENIZER

HERE = Path(__file__).parent
ICON = HERE.parents[1] / "src" / "clipsep" / "serving" / "page" / "icon.svg"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def build(output: Path, model: str = "mini", modules: Path = HERE / "node_modules") -> None:
    """Write the page to a folder; files of that name are replaced."""
    folders = {name: output / name for name in ("ort", "model", "encoder")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for path in HERE.iterdir():
        if path.suffix in (".js", ".css", ".html"):
            shutil.copy(path, output)
    shutil.copy(HERE.parent / "speech-and-violin.flac", output)
    shutil.copy(ICON, output)
    for name in RUNTIME:
        shutil.copy(modules / "onnxruntime-web" / "dist" / name, folders["ort"])
    for name in (TEXT, TOKENIZER, CLASSES):
        shutil.copy(FOLDER / name, folders["encoder"])
    for path in find_checkpoint(model).iterdir():
        shutil.copy(path, folders["model"])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit("python examples/browser/build.py FOLDER [MODEL]")
    build(Path(sys.argv[1]), *sys.argv[2:])
