"""The sent drafts, stored in a file of the user. Answers to questions, such as that for a nickname, are not stored."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from prompt_toolkit.history import History

from broadcast.client.options import SettingsError
from broadcast.client.settings import replace_file

ENTRIES: Final = 1000
"""The most drafts in the file. A longer file is shortened when it is read."""
_BREAK: Final = "\r"
"""The character for a line end within a draft. The editor makes a line end of it when somebody pastes one."""


class DraftHistory(History):
    """The drafts that the Up key brings back, in the file *path*, oldest first. Only its owner can read it.

    Each draft is a line of the file. If the file cannot be read or written, the drafts of this run are still there.
    """

    def __init__(self, path: Path, entries: int = ENTRIES) -> None:
        super().__init__()
        self.path = path
        self._entries = entries

    def append_string(self, string: str) -> None:
        """Append *string*, unless it is empty or equals the last one."""
        before = self.get_strings()
        if string and string != (before[-1] if before else None):
            super().append_string(string)

    def load_history_strings(self) -> Iterable[str]:
        """Return the drafts of earlier runs, newest first."""
        try:
            with self.path.open(encoding="utf-8", errors="replace", newline="\n") as file:
                lines = [line.rstrip("\n") for line in file]
            if len(lines) > self._entries:
                lines = lines[-self._entries :]
                replace_file(str(self.path), "".join(f"{line}\n" for line in lines))
        except (OSError, SettingsError):
            return ()
        return (line.replace(_BREAK, "\n") for line in reversed(lines))

    def store_string(self, string: str) -> None:
        """Append *string* to the file."""
        line = string.replace("\n", _BREAK).encode(errors="replace")
        with suppress(OSError):  # an unwritable home does not end the conversation
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch(0o600)
            self.path.chmod(0o600)  # an old file may have other permissions
            with self.path.open("ab") as file:
                file.write(line + b"\n")  # one write, so that the drafts of two clients do not mix
