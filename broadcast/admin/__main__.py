"""Starts the administrator's command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from broadcast.admin.database import find_journal, open_to_read
from broadcast.admin.options import PROGRAM, parse
from broadcast.admin.output import align, discard_output, write
from broadcast.admin.status import CLOSED_OUTPUT, DAMAGED, DONE, INTERRUPTED, STREAM, UNUSABLE, AdminError
from broadcast.core.errors import JournalDamaged, JournalError
from broadcast.core.sanitize import sanitize
from broadcast.files.contents import FOLDER
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, NO_NUMBER, read_last_number

if TYPE_CHECKING:
    from argparse import Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with *arguments*, or those of the command line. Return the exit status."""
    _fill_descriptors()
    try:
        status = _run(parse(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except AdminError as error:
        status = _fail(error.status, str(error))
    except JournalDamaged as error:
        status = _fail(DAMAGED, str(error))
    except JournalError as error:
        status = _fail(UNUSABLE, str(error))
    except BrokenPipeError:
        discard_output()
        status = CLOSED_OUTPUT
    except OSError as error:  # of the standard output; all others are handled where they come from
        discard_output()
        status = _fail(STREAM, f"the standard output cannot be written: {error.strerror or error}")
    return status


def _run(options: Namespace) -> int:
    folder = options.data.absolute()
    match options.command:
        case "verify":
            return _verify(folder, options.file)
        case "fingerprint":
            write(_fingerprints(folder, options.file))
        case "backup":
            from broadcast.admin.backup import back_up  # noqa: PLC0415 - each command imports only what it needs

            with open_to_read(find_journal(folder), any_version=True) as db:
                problems = back_up(db, folder / FOLDER, options.file)
            for problem in problems:
                _warn(problem)
            return DAMAGED if problems else DONE
        case "export":
            from broadcast.admin.export import Selection, export  # noqa: PLC0415

            selection = Selection(options.room, options.since, options.until, options.private, options.json)
            with open_to_read(find_journal(folder)) as db:
                export(db, selection)
        case "accounts" | "bans" | "audit":
            from broadcast.admin.lists import rows_of  # noqa: PLC0415

            with open_to_read(find_journal(folder)) as db:
                write(align(rows_of(db, options.command, getattr(options, "count", 0))))
        case _:
            _change(folder, options)
    return DONE


def _change(folder: Path, options: Namespace) -> None:
    """Change an account."""
    from broadcast.admin.passwords import ask_password  # noqa: PLC0415
    from broadcast.admin.requests import request  # noqa: PLC0415

    find_journal(folder)
    params = {name: getattr(options, name) for name in ("name", "old", "new", "role") if hasattr(options, name)}
    if options.command in {"add", "passwd"}:
        params["password"] = ask_password().encoded.decode()
    write([request(folder, options.command, params, _warn)])


def _fingerprints(folder: Path, other: Path | None) -> Sequence[str]:
    """Return the fingerprints of the self-signed certificate in *folder*, or of the *other* one."""
    from broadcast.server.certificates import SELF_SIGNED_FILE, read_fingerprints  # noqa: PLC0415

    path = other or folder / SELF_SIGNED_FILE
    try:
        certificate, key = read_fingerprints(path)
    except OSError as error:
        advice = "" if other else "; without --cert, a server with --tls makes this file at its start"
        raise AdminError(UNUSABLE, f"cannot read {path}: {error.strerror or error}{advice}") from None
    except ValueError:
        raise AdminError(UNUSABLE, f"{path} holds no certificate in PEM format") from None
    return f"certificate {certificate}", f"key         {key}"


def _verify(folder: Path, backup: Path | None) -> int:
    """Check the journal in *folder*, or *backup*. Return the exit status."""
    from broadcast.admin.verify import MAX_PROBLEMS, describe_rooms, verify  # noqa: PLC0415
    from broadcast.journals.sqlite.database import REMEDY  # noqa: PLC0415

    # The server writes this number after each commit, so it is read first.
    last = NO_NUMBER if backup else read_last_number(folder / LAST_NUMBER_FILE)
    path = backup.absolute() if backup else find_journal(folder)
    try:
        with open_to_read(path, any_version=True) as db:
            problems = list(islice(chain(verify(db, last), _verify_files(backup)), MAX_PROBLEMS))
            if not problems:
                write([*describe_rooms(db), "The journal is intact."])
                return DONE
    except JournalDamaged as error:
        if backup is None:
            raise
        why = str(error).removeprefix(f"the journal {path} ").removesuffix(f": {REMEDY}")  # it is for the server's file
        return _fail(DAMAGED, f"{path} {why}: this file is no journal of this program, or a damaged one")
    write(problems)
    advice = "use another backup" if backup else "restore a backup, or save what is readable"
    return _fail(DAMAGED, f"{path} is damaged: {advice}")


def _verify_files(backup: Path | None) -> Iterator[str]:
    """Yield one line for each problem of the files of *backup*. The server may remove its own at any time."""
    from broadcast.admin.backup_files import files_of, verify_files  # noqa: PLC0415

    if backup is not None and (folder := files_of(backup.absolute())).exists():
        yield from verify_files(folder)


def _fail(status: int, why: str) -> int:
    _warn(why)
    return status


def _warn(line: str) -> None:
    encoding = sys.stderr.encoding
    try:
        os.write(2, f"{PROGRAM}: {sanitize(line)}\n".encode(encoding, "backslashreplace"))
    except OSError:
        return


def _fill_descriptors() -> None:
    """Open something in the place of standard descriptors that are closed, before a file gets their numbers."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


if __name__ == "__main__":
    sys.exit(main())
