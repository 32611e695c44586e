"""The command itself, before it has imported anything."""

from __future__ import annotations

import sys

import pytest

from clipsep.__main__ import main


def test_an_interrupt_while_it_is_imported_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Interrupted:
        @property
        def main(self):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "clipsep.cli", Interrupted())
    assert main() == 130
    assert capsys.readouterr().err == "clipsep: interrupted.\n"
