"""The browser of this machine that tests may use, without a window."""

from __future__ import annotations

import shutil

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NO_CHROMIUM = "there is no Chromium (Debian: apt-get install chromium)"
