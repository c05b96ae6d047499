"""The man page and the completions of ``broadcast-admin``, made from its table of commands.

``python docs/admin_files.py`` writes them to the folder ``share``, from where they are installed. A test compares
them with the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from textwrap import fill
from typing import Final

from broadcast import __version__
from broadcast.admin.options import COMMANDS, DATA, DESCRIPTION, JOURNAL_HELP, PROGRAM, SCHEMA_HELP, Command, usage
from broadcast.admin.status import STATUSES

SHARE: Final = Path(__file__).parents[1] / "share"
_DATE: Final = "2026-11-29"
"""The date of the man page. Change it with its text."""
_NOTE: Final = "docs/admin_files.py makes this file."

_TEXT: Final = """
The command works while the server runs and while it does not, except copy.
Run it as the user of the server or as root.
A new password is asked for twice.
If the standard input is no terminal, its first line is the password.
"""

_EXAMPLES: Final = r"""
.SH EXAMPLES
.EX
broadcast\-admin \-\-data /var/lib/broadcast add ann
broadcast\-admin \-\-data /var/lib/broadcast export \-\-room lobby \-\-since 2026\-01\-15
broadcast\-admin \-\-data /var/lib/broadcast backup /var/backups/copy.sqlite
broadcast\-admin \-\-journal postgresql://chat@db/chat accounts
broadcast\-admin copy sqlite:/var/lib/broadcast postgresql://chat@db/chat
.EE
.SH SEE ALSO
.BR broadcast\-client (1),
.BR twistd (1)
"""

_BASH: Final = """\
# Completion of broadcast-admin for bash. docs/admin_files.py makes this file.
_broadcast_admin() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= each
    COMPREPLY=()
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $each in @COMMANDS@) command=$each; break ;; esac
    done
    case $command:$before in
        *:--data) COMPREPLY=($(compgen -d -- "$word")) ;;
        *:--since | *:--until | *:--room | *:--journal | *:--schema) ;;
        :*) COMPREPLY=($(compgen -W '--data --journal --schema --version --help @WORDS@' -- "$word")) ;;
        export:*) COMPREPLY=($(compgen -W '@EXPORT@' -- "$word")) ;;
        role:role) ;;
        role:*) COMPREPLY=($(compgen -W 'operator none' -- "$word")) ;;
        backup:* | verify:* | fingerprint:*) COMPREPLY=($(compgen -f -- "$word")) ;;
    esac
}
complete -F _broadcast_admin broadcast-admin
"""

_ZSH: Final = """\
#compdef broadcast-admin
# Completion of broadcast-admin for zsh. docs/admin_files.py makes this file.
_broadcast_admin() {
    local -a commands=(
@ROWS@
    )
    local line state
    _arguments -C '--data=[the data folder of the server]:folder:_files -/' '--journal=[the URL of the journal]:URL:' \\
        '--schema=[the schema of the PostgreSQL database]:NAME:' '1:command:->command' '*::argument:->rest'
    case $state in
        command) _describe command commands ;;
        rest)
            case $line[1] in
                export) _arguments @EXPORT@ ;;
                role) _arguments '1:name:' '2:role:(operator none)' ;;
                backup | verify | fingerprint) _files ;;
            esac ;;
    esac
}
_broadcast_admin "$@"
"""


def files() -> Mapping[str, str]:
    """Return the text of each file by its path in the folder ``share``."""
    names = [command.name for command in COMMANDS]
    (export,) = [command for command in COMMANDS if command.name == "export"]
    options = [argument.name for argument in export.arguments]
    zsh_rows = "\n".join(f"        {quote(f'{command.name}:{command.help}')}" for command in COMMANDS)
    zsh_export = " ".join(
        quote(_zsh_option(argument.name, argument.help, argument.settings)) for argument in export.arguments
    )
    return {
        "man/man1/broadcast-admin.1": man_page(),
        "bash-completion/completions/broadcast-admin": _BASH.replace("@COMMANDS@", " | ".join(names))
        .replace("@WORDS@", " ".join(names))
        .replace("@EXPORT@", " ".join(options)),
        "zsh/site-functions/_broadcast-admin": _ZSH.replace("@ROWS@", zsh_rows).replace("@EXPORT@", zsh_export),
        "fish/vendor_completions.d/broadcast-admin.fish": fish(export),
    }


def _zsh_option(name: str, text: str, settings: Mapping[str, object]) -> str:
    return f"{name}=[{text}]:{settings['metavar']}:" if "metavar" in settings else f"{name}[{text}]"


def fish(export: Command) -> str:
    """Return the completion for fish. *export* is the command with options."""
    start = f"complete -c {PROGRAM}"
    lines = [f"# Completion of {PROGRAM} for fish. {_NOTE}", f"{start} -l data -r -d 'the data folder of the server'"]
    lines += [f"{start} -l journal -x -d 'the URL of the journal'"]
    lines += [f"{start} -l schema -x -d 'the schema of the PostgreSQL database'"]
    lines += [f"{start} -n __fish_use_subcommand -f -a {command.name} -d {quote(command.help)}" for command in COMMANDS]
    for argument in export.arguments:
        value = " -x" if "metavar" in argument.settings else ""
        lines.append(
            f"{start} -n '__fish_seen_subcommand_from export' -l {argument.name[2:]}{value} -d {quote(argument.help)}"
        )
    lines.append(f"{start} -n '__fish_seen_subcommand_from role' -f -a 'operator none'")
    return "\n".join(lines) + "\n"


def man_page() -> str:
    """Return the man page in the macros of man(7)."""
    name = _escape(PROGRAM)
    rows = []
    for command in COMMANDS:
        options = "; ".join(f"{each.name}: {each.help}" for each in command.arguments if each.name.startswith("-"))
        rows.append((usage(command), f"{command.help}; {options}" if options else command.help))
    general = [
        ("--data DIR", f"the data folder of the server; by default, {DATA}"),
        ("--journal URL", JOURNAL_HELP),
        ("--schema NAME", SCHEMA_HELP),
        ("--version", "print the version"),
    ]
    lines = [
        *(f'.\\" {_NOTE}', f'.TH {PROGRAM.upper()} 1 {_DATE} "broadcast {__version__}"'),
        *(".SH NAME", f"{name} \\- {_escape(DESCRIPTION[0].lower() + DESCRIPTION[1:].rstrip('.'))}"),
        *(".SH SYNOPSIS", f".B {name}", _escape("[--data DIR] [--journal URL] COMMAND [ARGUMENT]...")),
        *(".SH DESCRIPTION", _escape(_TEXT.strip())),
        *(".SH OPTIONS", _entries(general)),
        *(".SH COMMANDS", _entries(rows)),
        *(".SH EXIT STATUS", _entries((str(number), meaning) for number, meaning in STATUSES.items())),
        _EXAMPLES.strip(),
    ]
    return "\n".join(lines) + "\n"


def _entries(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(
        f".TP\n.B {_escape(name)}\n{_escape(fill(f'{text[0].upper()}{text[1:]}.', 70))}" for name, text in rows
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


if __name__ == "__main__":
    for name, text in files().items():
        path = SHARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
