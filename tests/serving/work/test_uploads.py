"""An upload whose decoder dies: one sentence for the client, the reason for the operator."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from clipsep.errors import ClipsepError
from clipsep.serving.limits import Limits
from clipsep.serving.work import uploads


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise TypeError('no such keyword\\x1b[31m')", "TypeError: no such keyword\\x1b[31m"),
        ("import os; os.kill(os.getpid(), 9)", "it was killed"),
    ],
)
def test_a_decoder_that_dies_is_logged_with_its_last_words(
    code: str,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    (tmp_path / uploads.AUDIO_UPLOAD).write_bytes(b"sound")
    program = tmp_path / "decoder"
    program.write_text(f"#!/usr/bin/env -S python3\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(ClipsepError, match="made its decoder fail"), caplog.at_level(logging.ERROR):
        uploads.decode_recording(tmp_path, Limits(), lambda: None)
    assert caplog.messages == [f"A decoder failed: {reason}"]
