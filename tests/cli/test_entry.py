"""The command itself, before it has imported anything."""

from __future__ import annotations

import sys

import pytest

from clipsep.__main__ import main as entry
from clipsep.cli import main


def test_an_interrupt_while_it_is_imported_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Interrupted:
        @property
        def main(self):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "clipsep.cli", Interrupted())
    assert entry() == 130
    assert capsys.readouterr().err == "clipsep: interrupted.\n"


def test_an_interrupt_that_an_extension_module_turned_into_its_own_error_is_one_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr("clipsep.checkpoint.shipped_models", interrupted)
    assert main(["models"]) == 130
    assert "Traceback" not in (said := capsys.readouterr().err) and "interrupted" in said
