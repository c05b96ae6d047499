"""Names and sizes of files, as people see them. No file system."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from broadcast.core.sanitize import sanitize

MAX_NAME_BYTES: Final = 128
"""Maximum length of a file's name, in bytes of UTF-8."""
MAX_EXTENSION_BYTES: Final = 16
"""Maximum length of an extension that stays when a name is too long, in bytes with its dot."""
NAMELESS: Final = "file"
"""The name of a file if nothing is left of the name that was given."""
_not_in_names: Final = re.compile(r'[<>:"|?*]')
"""Characters that Windows does not allow in a name, besides the separators of a path."""
_leading: Final = re.compile(r"^[-.~ ]+")
"""A dot hides a file, and programs take a leading minus for an option and a tilde for a folder."""
_reserved: Final = re.compile(r"(?:CON|PRN|AUX|NUL|(?:COM|LPT)[0-9¹²³]|CONIN\$|CONOUT\$) *(?:\.|$)", re.IGNORECASE)
"""The names of devices on Windows, with any extension."""


def clean_file_name(typed: str) -> str:
    """Return the name in *typed*, a name or a path, as every system and terminal can use it. Idempotent.

    The result has no path, no control or bidi characters, and at most ``MAX_NAME_BYTES``. It is never empty.
    """
    name = sanitize(re.split(r"[/\\]", typed)[-1].replace("\r", " ").replace("\n", " "))
    name = _cut(_leading.sub("_", _not_in_names.sub("_", name.strip())))
    if _reserved.match(name):
        name = _cut(f"_{name}")
    return NAMELESS if not name.strip("_. ") else name


def _cut(name: str) -> str:
    """Return *name* in at most ``MAX_NAME_BYTES``, with its extension if that is short."""
    if len(name.encode()) > MAX_NAME_BYTES:
        dot = name.rfind(".")
        extension = name[dot:] if dot > 0 and len(name[dot:].encode()) <= MAX_EXTENSION_BYTES else ""
        space = MAX_NAME_BYTES - len(extension.encode())
        name = name.encode()[:space].decode("utf-8", "ignore").rstrip(". ") + extension
    return name.rstrip(". ")  # Windows drops them at the end


def file_path(file_id: str, name: str) -> str:
    """Return the path of a file in its address: its id, and its *name* in ASCII."""
    return f"{file_id}/{quote(name, safe='')}"


def format_size(size: int) -> str:
    """Return *size*, a number of bytes, for people: ``1 byte``, ``340 kB``, ``1.2 MB``."""
    if size < 1000:
        return f"{size} byte{'s' * (size != 1)}"
    value, unit = size / 1000, "kB"
    for larger in ("MB", "GB"):
        if value >= 999.5:
            value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
