"""The command line of the administrator's command: one table of commands, from which help and man page are made."""

from __future__ import annotations

import re
import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from broadcast import __version__
from broadcast.admin.status import STATUSES, USAGE
from broadcast.core.sanitize import sanitize

PROGRAM: Final = "broadcast-admin"
DESCRIPTION: Final = "Administer a broadcast server."
DATA: Final = "broadcast-data"
JOURNAL_HELP: Final = "the journal, if it is not in the data folder: postgresql://USER@HOST/DATABASE, or sqlite:FOLDER"
SCHEMA_HELP: Final = "the schema of the PostgreSQL database (broadcast)"


class Argument(NamedTuple):
    """An argument or an option of a command, with the *settings* that argparse takes."""

    name: str
    help: str
    settings: Mapping[str, Any] = {}


class Command(NamedTuple):
    """A command."""

    name: str
    help: str
    arguments: Sequence[Argument] = ()


def _time(text: str) -> float:
    """Return the time *text*, in ISO 8601, as seconds since the epoch. The default zone is that of this machine."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        forms = "2026-01-15, 2026-01-15T12:30 or 2026-01-15T12:30+01:00"
        raise ArgumentTypeError(f"{text!r} is not a time: write it as {forms}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


_PASSWORD: Final = re.compile(r"^[a-z]+://[^/@:]*:[^/@]+@|[?&]password=[^&]")


class JournalUrl(NamedTuple):
    """The place of a journal."""

    folder: Path | None = None
    """The data folder, if the journal is in SQLite."""
    database: str = ""
    """The URL of the PostgreSQL database, perhaps with a password; empty for SQLite."""

    @property
    def has_password(self) -> bool:
        """Whether the URL holds a password."""
        return _PASSWORD.search(self.database) is not None

    def __repr__(self) -> str:
        """Return a text without the URL."""
        return f"JournalUrl({self.folder!r})"


def _journal(text: str) -> JournalUrl:
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite" and rest:
        return JournalUrl(Path(rest))
    if scheme in {"postgresql", "postgres"} and rest.startswith("//"):
        return JournalUrl(None, text)
    raise ArgumentTypeError("a journal is sqlite:FOLDER or postgresql://USER@HOST/DATABASE")  # text may hold a password


_NAME: Final = Argument("NAME", "the nickname of the account")
COMMANDS: Final = (
    Command("accounts", "list the accounts: name, role, time of creation, time of the last use"),
    Command("add", "register a nickname, with a new password", (_NAME,)),
    Command("passwd", "give an account a new password, and end its sessions", (_NAME,)),
    Command("remove", "delete an account with the private lines to it, and end its sessions", (_NAME,)),
    Command(
        "rename",
        "give an account another nickname",
        (Argument("OLD", "the present nickname"), Argument("NEW", "the new nickname")),
    ),
    Command(
        "role",
        "make an account an operator, or end that",
        (_NAME, Argument("ROLE", "operator or none", {"choices": ("operator", "none")})),
    ),
    Command(
        "remove-file",
        "remove a shared file, and all others with the same content",
        (
            Argument("ADDRESS", "the address of the file, or its ID"),
            Argument("WHY", "the reason, for the audit trail", {"nargs": "?", "default": ""}),
        ),
    ),
    Command(
        "fingerprint",
        "print the fingerprints of the server's self-signed certificate and of its key, or of another certificate",
        (Argument("FILE", "the file of the other certificate, as for --cert", {"nargs": "?", "type": Path}),),
    ),
    Command("bans", "list the bans"),
    Command(
        "audit",
        "list what operators and administrators have done",
        (
            Argument(
                "COUNT", "the number of entries, the newest ones (100)", {"nargs": "?", "type": _count, "default": 100}
            ),
        ),
    ),
    Command(
        "export",
        "print the lines of all rooms",
        (
            Argument("--json", "print each line as a JSON object", {"action": "store_true"}),
            Argument(
                "--room",
                "only this room; give it several times for several",
                {"metavar": "NAME", "action": "append", "default": []},
            ),
            Argument("--since", "only lines from TIME on", {"metavar": "TIME", "type": _time, "default": -inf}),
            Argument("--until", "only lines before TIME", {"metavar": "TIME", "type": _time, "default": inf}),
            Argument("--private", "private lines, too", {"action": "store_true"}),
        ),
    ),
    Command(
        "verify",
        "check that the journal, or a backup with its files, is intact",
        (Argument("FILE", "the backup", {"nargs": "?", "type": Path}),),
    ),
    Command(
        "copy",
        "copy the journal FROM into TO, which is empty or holds a part of this copy; both as for --journal",
        (
            Argument("FROM", "the journal, which no server uses", {"type": _journal}),
            Argument("TO", "the new journal", {"type": _journal}),
        ),
    ),
    Command(
        "backup",
        "copy the journal to a new file, and the shared files to the folder FILE.files",
        (Argument("FILE", "the new file", {"type": Path}),),
    ),
)
"""All commands, in the order of the help."""


def usage(command: Command) -> str:
    """Return *command* with its arguments: ``audit [COUNT]``."""
    return " ".join([command.name, *map(_usage_of, command.arguments)])


def _usage_of(argument: Argument) -> str:
    if "choices" in argument.settings:
        return "|".join(argument.settings["choices"])
    if not argument.name.startswith("-"):
        return f"[{argument.name}]" if "nargs" in argument.settings else argument.name
    value = f" {argument.settings['metavar']}" if "metavar" in argument.settings else ""
    return f"[{argument.name}{value}]{'...' if argument.settings.get('action') == 'append' else ''}"


class _Parser(ArgumentParser):
    """A parser that reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print *message*, and end the program."""
        sys.stderr.write(f"{PROGRAM}: {sanitize(message)}. --help explains.\n")
        raise SystemExit(USAGE)


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    statuses = "\n".join(f"  {number:<3}  {meaning}" for number, meaning in STATUSES.items())
    parser = _Parser(
        PROGRAM,
        description=DESCRIPTION,
        epilog=f"exit status:\n{statuses}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    data: Mapping[str, Any] = {"metavar": "DIR", "type": Path, "help": f"the data folder of the server ({DATA})"}
    journal: Mapping[str, Any] = {"metavar": "URL", "type": _journal, "help": JOURNAL_HELP}
    schema: Mapping[str, Any] = {"metavar": "NAME", "help": SCHEMA_HELP}
    parser.add_argument("--data", default=Path(DATA), **data)
    parser.add_argument("--journal", default=None, **journal)
    parser.add_argument("--schema", default="broadcast", **schema)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True, title="commands")
    for command in COMMANDS:
        subparser = commands.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            allow_abbrev=False,
        )
        subparser.add_argument("--data", default=SUPPRESS, **data)  # without this one, that before the command holds
        subparser.add_argument("--journal", default=SUPPRESS, **journal)
        subparser.add_argument("--schema", default=SUPPRESS, **schema)
        for argument in command.arguments:
            name = argument.name if argument.name.startswith("-") else argument.name.lower()
            shown = {} if argument.name.startswith("-") else {"metavar": argument.name}
            subparser.add_argument(name, help=argument.help, **{**shown, **argument.settings})
    return parser


def parse(arguments: Sequence[str]) -> Namespace:
    """Return what *arguments* ask for. An error ends the program."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    for value in vars(options).values():
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                parser.error("a name is not valid UTF-8")
    return options
