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


@pytest.mark.parametrize(
    "broken", ["[there](missing.md)", "[there](index.md#missing)", "![it](no.png)"]
)
def test_a_broken_link_stops_the_build(tmp_path, broken):
    pytest.importorskip("mkdocs")
    (tmp_path / "docs").mkdir()
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\nhooks: []\nplugins: []\nnav: [index.md]\n")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    results = []
    for text in ("fine", broken):
        (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{text}\n")
        results.append(subprocess.run(command, capture_output=True, text=True))
    assert results[0].returncode == 0, results[0].stderr
    assert results[1].returncode != 0 and "index.md" in results[1].stderr


def test_the_page_for_the_browser_is_there_where_its_runtime_is(site):
    if not (ROOT / "examples" / "browser" / "node_modules" / "onnxruntime-web").is_dir():
        pytest.skip("no onnxruntime-web: npm ci --prefix examples/browser")
    assert 'href="try/index.html"' in (site / "browser.html").read_text(encoding="utf-8")
    for name in ("index.html", "ort/ort.wasm.min.mjs", "model/config.json", "encoder/text.onnx"):
        assert (site / "try" / name).is_file()
