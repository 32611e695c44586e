"""Makes the images of the pages in docs/images, each with the example recording.

    python benchmarks/demo/screenshots.py

Needs the extra dev, a Chromium of the system (Debian: apt-get install chromium) and, for the page of
examples/browser, npm ci --prefix examples/browser.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SIZES = {"desktop": (1100, 900), "phone": (390, 844)}
COLOURS = 128  # of an image: a third of the bytes, and no difference that one sees


def main() -> None:
    """Write page-*.png and browser-*.png, for a desktop and a phone."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for kind, (server, use) in PAGES.items():
            with server() as url:
                for name, (width, height) in SIZES.items():
                    page = browser.new_page(viewport={"width": width, "height": height})
                    page.set_default_timeout(300_000)
                    page.goto(url)
                    use(page)
                    page.evaluate("scrollTo(0, 0)")
                    save(page, IMAGES / f"{kind}-{name}.png")
                    page.close()
        browser.close()


def save(page: Page, path: Path) -> None:
    """Take the whole page in few colours."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


@contextmanager
def served() -> Iterator[str]:
    """`clipsep serve`."""
    command = [sys.executable, "-m", "clipsep", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://\S+:\d+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def static() -> Iterator[str]:
    """Serve the page of examples/browser by a plain file server."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, str(ROOT / "examples" / "browser" / "build.py"), folder]
        subprocess.run(build, check=True)
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            yield re.search(r"http://[^/ ]+", process.stdout.readline())[0]
        finally:
            process.terminate()
            process.wait()


def use_served(page: Page) -> None:
    page.get_by_role("button", name="Use the example").click()
    page.locator("#queries li").nth(1).wait_for()
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("heading", name="Listen").wait_for()
    for image in page.locator("#parts img").all():
        image.scroll_into_view_if_needed()
        page.wait_for_function("one => one.naturalWidth > 0", arg=image.element_handle())


def use_static(page: Page) -> None:
    page.click("#example")
    page.fill("#queries", "person speaking, violin, theremin")
    page.press("#queries", "Tab")
    page.locator("#levels strong").nth(2).wait_for()
    page.click("#separate")
    page.locator("#parts li").nth(3).wait_for()


PAGES: dict[str, tuple[Callable, Callable[[Page], None]]] = {
    "page": (served, use_served),
    "browser": (static, use_static),
}

if __name__ == "__main__":
    main()
