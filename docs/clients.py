#!/usr/bin/env python3
"""Measure clients on a terminal: the time to the first prompt, and CPU time and memory for 100,000 lines.

``python docs/clients.py`` runs broadcast-client with the installed server, and irssi and weechat with a server of IRC
that is in this file. It needs Linux, irssi and weechat. The numbers in ``docs/client.rst`` are from here.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

from terminals import Terminal, server

STARTS = 21
LINES = 100_000
TEXT = "line {} of a conversation about nothing in particular, 70 characters"
IRC_PORT = 6667
QUIET_SECONDS = 5
"""The time without output after which a client has shown everything."""
BIN = Path(sys.executable).parent
PROMPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "broadcast-client": ((str(BIN / "broadcast-client"),), "Nickname"),
    "irssi": (("irssi",), "[(status)]"),
    "weechat": (("weechat",), "typing, xfer"),
    "import prompt_toolkit": ((sys.executable, "-c", "import prompt_toolkit; print('done')"), "done"),
}
"""The commands, and what they show first."""


def start(command: tuple[str, ...], folder: str) -> Terminal:
    """Start *command* on a terminal of 80 columns and 24 rows, with its files in *folder*."""
    home = {"HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder, "XDG_STATE_HOME": folder}
    return Terminal(*command, TERM="xterm-256color", LANG="C.UTF-8", USER="ann", TMUX="", **home)


def prompt_seconds(folder: str) -> dict[str, float]:
    """Return the shortest time to the first prompt of each client."""
    best = dict.fromkeys(PROMPTS, 60.0)
    for _ in range(STARTS):
        for name, (command, text) in PROMPTS.items():
            begin = time.monotonic()
            terminal = start(command, folder)
            terminal.wait_for(text)
            best[name] = min(best[name], time.monotonic() - begin)
            stop(terminal)
    return best


def stop(terminal: Terminal) -> None:
    """Kill the client."""
    terminal.process.kill()
    terminal.process.wait()


def report(name: str, terminal: Terminal, is_sent: Event) -> None:
    """Print the CPU time and the memory of a client after it has shown all lines."""
    while terminal.look(QUIET_SECONDS) or not is_sent.is_set():
        pass
    process = Path("/proc", str(terminal.process.pid))
    fields = process.joinpath("stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    rows = process.joinpath("smaps_rollup").read_text().splitlines()
    kibibytes = next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    print(f"{name}: {seconds:.1f} s of CPU time, {kibibytes / 1024:.0f} MiB (PSS)")
    stop(terminal)


def talk_irc(listener: socket.socket, is_sent: Event) -> None:
    """Welcome a client of IRC, and send all lines to the first channel that it joins. Stay until it leaves."""
    connection, _ = listener.accept()

    def reply(*lines: str) -> None:
        connection.sendall("".join(f"{line}\r\n" for line in lines).encode())

    with connection, connection.makefile(encoding="utf-8") as received:
        for line in received:
            match line.split():
                case ["CAP", "LS", *_]:
                    reply(":irc CAP * LS :")
                case ["JOIN", ":"]:  # irssi asks whether a proxy is there
                    reply(":irc 451 * JOIN :Register first.")
                case ["USER", *_]:
                    reply(":irc 001 ann :Welcome", ":irc 004 ann irc 1 o o", ":irc 422 ann :no motd")
                case ["JOIN", channel]:
                    reply(f":ann!u@h JOIN {channel}", f":irc 366 ann {channel} :End")
                    reply(*(f":bob!u@h PRIVMSG {channel} :{TEXT.format(number)}" for number in range(LINES)))
                    is_sent.set()


def say_all(is_sent: Event) -> None:
    """Say all lines to the installed server."""
    lines = "".join(f"{TEXT.format(number)}\n" for number in range(LINES))
    with socket.create_connection(("localhost", 5555)) as connection:
        connection.sendall(f"bob\n{lines}quit\n".encode())
        while connection.recv(65536):
            pass
    is_sent.set()


def main() -> None:
    """Measure all clients, and print the results."""
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in prompt_seconds(folder).items():
            print(f"{name}: {seconds * 1000:.0f} ms")
        is_sent = Event()
        with server("--limits", "off"):
            terminal = start((*PROMPTS["broadcast-client"][0], "--nick", "ann"), folder)
            terminal.wait_for("You are ann")
            Thread(target=say_all, args=(is_sent,), daemon=True).start()
            report("broadcast-client", terminal, is_sent)
        for name, *arguments in (
            ("irssi", "-c", "127.0.0.1", "-p", str(IRC_PORT), "-n", "ann"),
            ("weechat", f"irc://ann@127.0.0.1:{IRC_PORT}/#c"),
        ):
            is_sent = Event()
            with socket.create_server(("127.0.0.1", IRC_PORT)) as listener:
                Thread(target=talk_irc, args=(listener, is_sent), daemon=True).start()
                terminal = start((name, *arguments), folder)
                if name == "irssi":
                    terminal.wait_for("no motd")
                    terminal.press("/join #c\r")
                report(name, terminal, is_sent)


if __name__ == "__main__":
    main()
