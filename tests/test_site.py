"""The documentation site: it builds without a warning and asks no other site for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What a browser fetches by itself when it shows a page; a link to click is not among it.
FETCHED = re.compile(
    r"<(?:script|img|iframe|audio|video|source)\b[^>]*\bsrc=[\"']?(https?:)?//|<link\b[^>]*"
    r"\bhref=[\"']?(https?:)?//",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_there_and_fetches_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    sources = list((ROOT / "docs").rglob("*.md"))
    assert len(pages) >= len(sources)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not FETCHED.search(text), page
        assert "fonts.googleapis" not in text


def test_the_reference_has_the_methods_users_call(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("separate_file", "from_pretrained", "SeparationResult"):
        assert f"clipsep.{name}" in text or f"Separator.{name}" in text
