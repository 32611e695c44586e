"""Makes the images of the page in docs/images: `clipsep serve` with the example recording.

    python benchmarks/demo/screenshots.py

Needs the extra dev and a Chromium of the system (Debian: apt-get install chromium).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SIZES = {"desktop": (1100, 900), "phone": (390, 844)}


def main() -> None:
    """Write page-desktop.png and page-phone.png."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    server = subprocess.Popen(
        [sys.executable, "-m", "clipsep", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = re.search(r"http://\S+:\d+", server.stdout.readline())[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name, (width, height) in SIZES.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(url)
                page.get_by_role("button", name="Use the example").click()
                page.locator("#queries li").nth(1).wait_for()
                page.get_by_role("button", name="Separate").click()
                page.get_by_role("heading", name="Listen").wait_for()
                for image in page.locator("#parts img").all():
                    image.scroll_into_view_if_needed()
                    page.wait_for_function(
                        "one => one.naturalWidth > 0", arg=image.element_handle()
                    )
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=IMAGES / f"page-{name}.png", full_page=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
