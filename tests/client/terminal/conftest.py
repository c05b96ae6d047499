from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def unknown_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widths of graphemes are those of Unicode, whatever the terminal is in which the tests run."""
    monkeypatch.setattr("broadcast.client.terminal.graphemes._TERMINAL", False)
