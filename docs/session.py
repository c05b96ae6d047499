#!/usr/bin/env python3
"""Record a session of three people with real programs, each on its own terminal.

``python docs/session.py`` starts the installed server on port 5555 and prints the contents of the three terminals.
``python docs/session.py docs/tutorial.rst`` writes them between the two marks in that file. The script needs telnet, nc
and ncat.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from terminals import Terminal, server

BEGIN = ".. session begins: made by docs/session.py\n"
END = ".. session ends\n"


def main() -> None:
    """Record the session, and print it or write it to the file that the command line names."""
    with server():
        terminals = talk()
    text = "\n\n".join(show(name, terminal) for name, terminal in terminals) + "\n"
    if len(sys.argv) > 1:
        page = Path(sys.argv[1])
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    else:
        print(text, end="")


def talk() -> list[tuple[str, Terminal]]:
    """Play the session, and return the terminals with their titles."""
    ann = Terminal("telnet", "localhost", "5555")
    ann.wait_for("Nickname: ")
    ann.type("ann")
    ann.wait_for("Nobody else is here")
    ann.type("The build is red. Has anybody touched the parser?")
    bob = Terminal("nc", "localhost", "5555")
    bob.wait_for("Nickname: ")
    bob.type("bob")
    bob.wait_for("touched the parser?")
    ann.wait_for("bob joined.")
    bob.type("/me looks guilty")
    ann.wait_for("** bob looks guilty")
    bob.type("give me five minutes")
    ann.wait_for("give me five minutes")
    carol = Terminal("ncat", "localhost", "5555")
    carol.wait_for("Nickname: ")
    carol.type("bob")
    carol.wait_for("Nickname: ")
    carol.type("carol")
    carol.wait_for("give me five minutes")
    ann.wait_for("carol joined.")
    bob.wait_for("carol joined.")
    carol.type("/msg ann it was me, sorry")
    carol.wait_for("sent to ann.")
    ann.wait_for("[carol] it was me, sorry")
    ann.type("/r no harm done")
    ann.wait_for("sent to carol.")
    carol.wait_for("[ann] no harm done")
    carol.type("quit")
    bob.wait_for("carol left.")
    ann.wait_for("carol left.")
    bob.type("fixed")
    ann.wait_for("bob: fixed")
    ann.type("/history 2")
    ann.wait_for("#4 ")
    ann.type("/quit lunch")
    bob.wait_for("ann left: lunch")
    bob.type("quit")
    bob.wait_for("Goodbye, bob.")
    for terminal in (ann, bob, carol):
        terminal.end()
    return [("Ann, on telnet", ann), ("Bob, on netcat", bob), ("Carol, on ncat, a little later", carol)]


def show(name: str, terminal: Terminal) -> str:
    """Return the contents of *terminal* as a literal block."""
    block = re.sub("(?m)^(?=.)", "    ", f"$ {terminal.command}\n{terminal.shown()}")
    return f"{name}::\n\n{block}"


main()
