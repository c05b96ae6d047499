"""The man page and the completions of the client, made from its table of options.

``python docs/client_files.py`` writes them to the folder ``share``, from where they are installed. A test compares
them with the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from textwrap import fill
from typing import Final

from broadcast import __version__
from broadcast.client.exit_status import STATUSES
from broadcast.client.options import ADDRESSES, DESCRIPTION, MODES, OPTIONS, PROGRAM, SYNOPSIS, Option
from broadcast.client.settings import CHOICES

SHARE: Final = Path(__file__).parents[1] / "share"
_DATE: Final = "2026-11-30"
"""The date of the man page. Change it with its text."""

_SERVERS: Final = r"""sed -n 's/^ *\[servers\."\{0,1\}\([A-Za-z0-9._-]*\)"\{0,1\}\].*/\1/p' 2>/dev/null"""
"""The command that prints the names of the servers in the files behind it. bash would expand other characters."""
_FILES: Final = '"{}/broadcast/client.toml" "$HOME/Library/Application Support/broadcast/client.toml"'

_MAN: Final = r"""
.SH FILES
.TP
.I \(ti/.config/broadcast/client.toml
The settings: servers by name, and the choices of
.BR /set .
The file is in
.I $XDG_CONFIG_HOME
if that is set, on macOS in
.IR "\(ti/Library/Application Support" ,
and on Windows in
.IR %APPDATA% .
.TP
.I \(ti/.local/state/broadcast/history
The lines that you typed.
The file is in
.I $XDG_STATE_HOME
if that is set.
.TP
.I \(ti/.local/state/broadcast/known_hosts
The public keys of the servers that you trust.
.PP
A file with a server, its nickname and its rooms, and with a choice:
.PP
.EX
times = false

[servers.work]
address = "chat.example:5555"
nick = "ann"
rooms = ["lobby", "kitchen"]
.EE
.PP
The choices are true or false:
@CHOICES@
.SH ENVIRONMENT
.TP
.B USER
The nickname, if none is given.
.TP
.B NO_COLOR
No colours, unless the settings choose them.
.SH EXAMPLES
.EX
broadcast\-client work
broadcast\-client broadcast://chat.example/kitchen
broadcast\-client \-\-send "the nightly build has failed" \-\-nick builder
make 2>&1 | broadcast\-client \-\-send \-
broadcast\-client \-\-upload report.pdf \-\-room kitchen
.EE
.SH SEE ALSO
.BR twistd (1)
"""

_BASH: Final = """\
# Completion of broadcast-client for bash. docs/client_files.py makes this file.
_broadcast_client() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    case $before in
        @PATHS@) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$word")); return ;;
        @VALUES@) return ;;
    esac
    # bash takes the = of --nick=NAME for a word of its own.
    [[ $word == = || $before == = ]] && return
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W '@NAMES@' -- "$word"))
    else
        COMPREPLY=($(compgen -W "$(@SERVERS@ @FILES@)" -- "$word")
            $(compgen -A hostname -- "$word"))
    fi
}
complete -F _broadcast_client broadcast-client
"""

_ZSH: Final = """\
#compdef broadcast-client
# Completion of broadcast-client for zsh. docs/client_files.py makes this file.
_broadcast_client_servers() {
    local -a servers
    servers=(${(f)"$(@SERVERS@ @FILES@)"})
    _alternative "servers:server:($servers)" 'hosts:host:_hosts'
}
_arguments -s \\
@ROWS@
    '1:server:_broadcast_client_servers' \\
    '2:port:'
"""

_FISH: Final = """\
# Completion of broadcast-client for fish. docs/client_files.py makes this file.
function __broadcast_client_servers
    set -l folder ~/.config
    set -q XDG_CONFIG_HOME; and set folder $XDG_CONFIG_HOME
    @SERVERS@ @FILES@
end
complete -c broadcast-client -f -a '(__broadcast_client_servers) (__fish_print_hostnames)'
@ROWS@
"""


def files() -> Mapping[str, str]:
    """Return the text of each file by its path in the folder ``share``."""
    return {
        "man/man1/broadcast-client.1": man_page(),
        "bash-completion/completions/broadcast-client": _fill(
            _BASH,
            FILES=_FILES.format("${XDG_CONFIG_HOME:-$HOME/.config}"),
            NAMES=" ".join(option.name for option in OPTIONS),
            PATHS=" | ".join(option.name for option in OPTIONS if option.metavar == "FILE"),
            VALUES=" | ".join(option.name for option in OPTIONS if option.metavar not in {"", "FILE"}),
        ),
        "zsh/site-functions/_broadcast-client": _fill(
            _ZSH,
            FILES=_FILES.format("${XDG_CONFIG_HOME:-$HOME/.config}"),
            ROWS="\n".join(map(_zsh_row, OPTIONS)),
        ),
        "fish/vendor_completions.d/broadcast-client.fish": _fill(
            _FISH, FILES=_FILES.format("$folder"), ROWS="\n".join(map(_fish_row, OPTIONS))
        ),
    }


def _fill(template: str, **values: str) -> str:
    for name, value in {"SERVERS": _SERVERS, **values}.items():
        template = template.replace(f"@{name}@", value)
    return template


def man_page() -> str:
    """Return the man page in the macros of man(7)."""
    name = _escape(PROGRAM)
    options = [(f"{option.name} {option.metavar}".rstrip(), option.help) for option in OPTIONS]
    statuses = [(str(number), meaning) for number, meaning in STATUSES.items()]
    title = f'.TH {PROGRAM.upper()} 1 {_DATE} "broadcast {__version__}"'
    description = DESCRIPTION[0].lower() + DESCRIPTION[1:].rstrip(".")
    lines = [
        *('.\\" docs/client_files.py makes this file.', title),
        *(".SH NAME", f"{name} \\- {_escape(description)}"),
        *(".SH SYNOPSIS", f".B {name}", _escape(SYNOPSIS)),
        *(".SH DESCRIPTION", _escape(_wrapped(MODES))),
        *(".SS Address", _entries(ADDRESSES)),
        *(".SH OPTIONS", _entries(options)),
        *(".SH EXIT STATUS", _entries(statuses)),
        _MAN.strip().replace("@CHOICES@", _entries(CHOICES.items())),
    ]
    return "\n".join(lines) + "\n"


def _entries(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n.B {_escape(name)}\n{_escape(_sentence(meaning))}" for name, meaning in rows)


def _wrapped(text: str) -> str:
    """Return *text* with each sentence on lines of its own, as man(7) wants it."""
    sentences = re.split(r"(?<=\.) ", " ".join(text.split()))
    return "\n".join(fill(sentence, 78) for sentence in sentences)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.split("\n"))


def _zsh_row(option: Option) -> str:
    repeated = "*" if option.field == "rooms" else ""
    action = "_files" if option.metavar == "FILE" else ""
    value = f"=[{option.help}]:{option.metavar}:{action}" if option.metavar else f"[{option.help}]"
    return f"    {quote(repeated + option.name + value)} \\"


def _fish_row(option: Option) -> str:
    value = " -r -F" if option.metavar == "FILE" else " -x" if option.metavar else ""
    return f"complete -c {PROGRAM} -l {option.name[2:]}{value} -d {quote(option.help)}"


if __name__ == "__main__":
    for name, text in files().items():
        path = SHARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
