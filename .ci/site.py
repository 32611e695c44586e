"""Adds the page of examples/browser to the documentation site, as a hook of MkDocs.

Only where its runtime is installed (npm ci --prefix examples/browser); else not.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "examples" / "browser"
MODULES = Path(os.environ.get("CLIPSEP_NODE_MODULES", PAGE / "node_modules"))
FOLDER = "try"
# HTML, as MkDocs knows only links to files that are there before the site is built.
LINK = (
    f'<p><a class="md-button md-button--primary" href="{FOLDER}/index.html">Try it here</a></p>\n'
)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Link the page below the title of the page about it."""
    if page.file.src_uri != "browser.md" or not _is_installed():
        return markdown
    title, rest = markdown.split("\n", 1)
    return f"{title}\n\n{LINK}{rest}"


def on_post_build(config: Any) -> None:
    """Put the page into the site."""
    if _is_installed():
        spec = importlib.util.spec_from_file_location("build", PAGE / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.build(Path(config.site_dir) / FOLDER, modules=MODULES)


def _is_installed() -> bool:
    return (MODULES / "onnxruntime-web").is_dir()
