"""Hundreds of odd requests, made from the server's own OpenAPI document, and what it promises there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import Server

pytest.importorskip("schemathesis")

# "Positive" data are files of random bytes, which no decoder takes. And in a multipart body one text
# is a list of one, which Schemathesis counts as a wrong type.
CONFIG = """
[checks.positive_data_acceptance]
enabled = false

[[operations]]
include-method = "POST"
[operations.checks.negative_data_rejection]
enabled = false
"""


def test_the_server_keeps_what_its_document_promises(server: Server, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = [sys.executable, "-m", "schemathesis.cli"]
    program += ["--config-file", str(tmp_path / "schemathesis.toml"), "run"]
    program += [f"{server.url}/openapi.json", "--max-examples", "5", "--generation-deterministic"]
    program += ["--request-timeout", "60", "--no-color", "--warnings", "off"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
