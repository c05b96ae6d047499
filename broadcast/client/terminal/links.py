"""The links in a text, as OSC 8 sequences: https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

_LONGEST: Final = 2083
"""The longest target that VTE and Windows Terminal accept, in bytes."""
_url: Final = re.compile(r"https?://[^\s<>\"`{}|\\^\ufffd]+", re.IGNORECASE)
_CLOSING: Final = {")": "(", "]": "["}
CLOSE: Final = "\x1b]8;;\x1b\\"

TERMS: Final = ("alacritty", "contour", "foot", "wezterm", "xterm-ghostty", "xterm-kitty")
"""The values of ``TERM`` that only terminals with links have. A suffix such as ``-direct`` may follow."""
PROGRAMS: Final = ("WezTerm", "contour", "ghostty", "iTerm.app", "mintty", "rio", "vscode")
"""The values of ``TERM_PROGRAM`` of terminals with links."""


def are_supported(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the terminal is known to understand links. ``FORCE_HYPERLINK`` set to 1 or 0 overrides it.

    No query can find out. An unknown terminal may print the whole sequence.
    """
    term = environment.get("TERM", "dumb")
    if term.startswith("dumb"):
        return False
    if forced := environment.get("FORCE_HYPERLINK"):
        return forced != "0"
    if environment.get("TMUX") or environment.get("STY"):
        # The other variables are those of the terminal around it, or of an earlier one. tmux passes links on from
        # version 3.4, and drops them before, as GNU screen does.
        return not environment.get("STY")
    vte = environment.get("VTE_VERSION", "")
    return (
        term.startswith(TERMS)
        or environment.get("TERM_PROGRAM") in PROGRAMS
        # GNOME Terminal and others. Version 0.50.0 crashes on a link.
        or (vte.isdecimal() and int(vte) > 5000)
        or bool(environment.get("KONSOLE_VERSION") or environment.get("WT_SESSION"))
    )


def split(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pieces of *text*, each with the sequence that opens its link, or with an empty string.

    *text* contains no control characters. The pieces together are *text*.
    """
    end = 0
    for match in _url.finditer(text):
        url = _trimmed(match[0])
        if opening := _opening(url):
            if match.start() > end:
                yield text[end : match.start()], ""
            yield url, opening
            end = match.start() + len(url)
    if end < len(text):
        yield text[end:], ""


def _trimmed(url: str) -> str:
    """Return *url* without the punctuation of the sentence around it."""
    while url[-1] in ".,;:!?'*_~" or (url[-1] in _CLOSING and url.count(url[-1]) > url.count(_CLOSING[url[-1]])):
        url = url[:-1]
    return url


def _opening(url: str) -> str:
    """Return the sequence that opens a link to *url*, or an empty string if it is no good target."""
    target = "".join(char if "!" <= char <= "~" else "".join(f"%{byte:02X}" for byte in char.encode()) for char in url)
    if len(target) > _LONGEST or not url.partition("://")[2].strip("/?#"):
        return ""
    # Terminals join the parts of a wrapped link by the same id.
    return f"\x1b]8;id={zlib.crc32(target.encode()):08x};{target}\x1b\\"
