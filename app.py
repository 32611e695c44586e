"""The page as a Space of the Hugging Face hub, which runs this file and shows its port 7860.

    requirements.txt of the Space:  clipsep[serve] @ git+<address of this repository>

CLIPSEP_MODEL names another model than `mini`, a secret CLIPSEP_TOKEN asks visitors for a password.
"""

from __future__ import annotations

import os

from clipsep.serving.limits import Limits
from clipsep.serving.server import Address, serve

# All visitors come through the hub's proxy, from one address.
LIMITS = Limits(seconds=300.0, upload_bytes=100 * 2**20, per_client=32, waiting=32)

if __name__ == "__main__":
    serve(
        os.environ.get("CLIPSEP_MODEL", "mini"),
        Address("0.0.0.0", int(os.environ.get("PORT", "7860"))),
        LIMITS,
        os.environ.get("CLIPSEP_TOKEN"),
        # The hub shows a Space in a frame of its own page.
        frame_ancestors="https://huggingface.co https://*.hf.space",
    )
