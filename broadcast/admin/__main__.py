"""Starts the administrator's command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from broadcast import standard_streams
from broadcast.admin.database import SqliteReader, find_journal, open_to_read
from broadcast.admin.options import PROGRAM, JournalUrl, parse
from broadcast.admin.output import align, discard_output, write
from broadcast.admin.status import CLOSED_OUTPUT, DAMAGED, DONE, INTERRUPTED, STREAM, UNUSABLE, AdminError
from broadcast.core.errors import JournalDamaged, JournalError, JournalInUse, StartupError
from broadcast.core.sanitize import sanitize
from broadcast.files.contents import FOLDER
from broadcast.journals.sqlite.data_dir import LAST_NUMBER_FILE, NO_NUMBER, DirectoryLock, read_last_number

if TYPE_CHECKING:
    from argparse import Namespace
    from types import ModuleType

    from broadcast.admin.copy import JournalWriter
    from broadcast.admin.reading import JournalReader
    from broadcast.files.store import ContentStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with *arguments*, or those of the command line. Return the exit status."""
    _fill_descriptors()
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        _warn_of_password(options)
        status = _run(options)
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


def _warn_of_password(options: Namespace) -> None:
    if any(isinstance(value, JournalUrl) and value.has_password for value in vars(options).values()):
        _warn("the URL holds a password, which ps shows to everybody here: put it into a password file (PGPASSFILE)")


def _run(options: Namespace) -> int:
    folder = (options.data if options.journal is None else options.journal.folder or options.data).absolute()
    is_database = options.journal is not None and not options.journal.folder
    match options.command:
        case "verify" if is_database and options.file is None:
            return _verify_database(options)
        case "verify":
            return _verify(folder, options.file)
        case "copy":
            return _copy(options)
        case "backup" if is_database:
            raise AdminError(UNUSABLE, "PostgreSQL's own programs make the backup of a journal there: use pg_dump")
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
            with _open_journal(options) as journal:
                export(journal, selection)
        case "accounts" | "bans" | "audit":
            from broadcast.admin.lists import rows_of  # noqa: PLC0415

            with _open_journal(options) as journal:
                write(align(rows_of(journal, options.command, getattr(options, "count", 0))))
        case _:
            _change(folder, options)
    return DONE


@contextmanager
def _open_journal(options: Namespace, place: JournalUrl | None = None) -> Iterator[JournalReader]:
    """Open the journal at *place*, by default the one that *options* name, to read it."""
    place = place or options.journal or JournalUrl(options.data)
    if place.folder is None:
        postgres = _load_postgres()
        with postgres.open_to_read(place.database, options.schema) as journal:
            if options.command == "copy":
                postgres.refuse_use(journal)
            yield journal
    else:
        with open_to_read(find_journal(place.folder.absolute())) as db:
            yield SqliteReader(db)


def _load_postgres() -> ModuleType:
    """Return the module about PostgreSQL. Raises ``AdminError`` if psycopg is not installed."""
    try:
        from broadcast.admin import postgres  # noqa: PLC0415 - optional
    except ImportError as error:
        if (error.name or "psycopg").partition(".")[0] != "psycopg":  # without a name if there is no libpq
            raise
        text = f"PostgreSQL needs psycopg: run {sys.executable} -m pip install 'psycopg[binary]'"
        raise AdminError(UNUSABLE, text) from None
    return postgres


def _verify_database(options: Namespace) -> int:
    """Check the journal in a database. Return the exit status."""
    from broadcast.admin.verify import MAX_PROBLEMS  # noqa: PLC0415 - each command imports only what it needs

    postgres = _load_postgres()
    with _open_journal(options) as journal:
        problems = list(islice(postgres.verify(journal), MAX_PROBLEMS))
        write(problems or [*postgres.describe_rooms(journal), "The journal is intact."])
    return _fail(DAMAGED, "the journal is damaged: restore the database from a backup") if problems else DONE


def _copy(options: Namespace) -> int:
    """Copy a journal and the shared files to another place. Return the exit status."""
    from broadcast.admin.copy import copy  # noqa: PLC0415 - each command imports only what it needs

    place = getattr(options, "from")
    with _without_server(place), _open_journal(options, place) as source, _open_copy(options, source.id()) as target:
        files, faults = _copy_files(options, place)
        lines = copy(source, target)
    write([*lines[:-1], *([f"{files} files"] if files else []), lines[-1]])
    for fault in faults:
        _warn(fault)
    return DAMAGED if faults else DONE


def _copy_files(options: Namespace, place: JournalUrl) -> tuple[int, list[str]]:
    """Copy the shared files of the journal at *place*. Return their number, and a line about each fault."""
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - as above

    from broadcast.admin.copy_files import FolderContents, copy_files  # noqa: PLC0415 - as above

    with ExitStack() as stack:

        def contents_at(where: JournalUrl) -> ContentStore:
            if where.folder is not None:
                return FolderContents(where.folder.absolute() / FOLDER)
            opened: ContentStore = stack.enter_context(_load_postgres().open_contents(where.database, options.schema))
            return opened

        source, target = contents_at(place), contents_at(options.to)
        folder = options.to.folder
        drafts = folder.absolute() / FOLDER if folder else Path(stack.enter_context(TemporaryDirectory()))
        try:
            return copy_files(source, target, drafts)
        except OSError as error:
            raise AdminError(UNUSABLE, f"cannot copy the shared files: {error.strerror or error}") from error
        except StartupError as error:
            raise AdminError(UNUSABLE, str(error).rstrip(".")) from error


@contextmanager
def _without_server(place: JournalUrl) -> Iterator[None]:
    """Keep servers from opening the data folder at *place*, if it is one, in this context. Raises ``AdminError``."""
    if place.folder is None:
        yield
        return
    find_journal(place.folder.absolute())  # the lock would create the folder
    lock = DirectoryLock(place.folder.absolute())
    try:
        lock.acquire()
    except JournalInUse:
        raise AdminError(UNUSABLE, f"a server has {place.folder.absolute()} open: stop it first") from None
    try:
        yield
    finally:
        lock.release()


def _open_copy(options: Namespace, journal_id: str) -> AbstractContextManager[JournalWriter]:
    """Open the place of the copy of the journal with this id."""
    if options.to.folder is None:
        _load_postgres()
        from broadcast.admin.copy_to_postgres import open_postgres_copy  # noqa: PLC0415 - optional

        return open_postgres_copy(options.to.database, options.schema, journal_id)
    from broadcast.admin.copy_to_sqlite import open_sqlite_copy  # noqa: PLC0415 - as above

    return open_sqlite_copy(options.to.folder.absolute(), journal_id)


def _change(folder: Path, options: Namespace) -> None:
    """Change an account, or remove a file."""
    from broadcast.admin.passwords import ask_password  # noqa: PLC0415
    from broadcast.admin.requests import request, request_of_database  # noqa: PLC0415

    url = options.journal.database if options.journal else ""
    database = _load_postgres().make_database(url, options.schema) if url else None
    if database is None:
        find_journal(folder)
    names = ("name", "old", "new", "role", "address", "why")
    params = {name: getattr(options, name) for name in names if hasattr(options, name)}
    if options.command in {"add", "passwd"}:
        params["password"] = ask_password().encoded.decode()
    if database is None:
        write([request(folder, options.command, params, _warn)])
    else:
        write([request_of_database(folder, database, options.command, params, _warn)])


def _fingerprints(folder: Path, other: Path | None) -> Sequence[str]:
    """Return the fingerprints of the self-signed certificate in *folder*, or of the *other* one."""
    try:
        from broadcast.server.certificates import SELF_SIGNED_FILE, read_fingerprints  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        text = f"fingerprint needs cryptography: run {sys.executable} -m pip install cryptography"
        raise AdminError(UNUSABLE, text) from None
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
        standard_streams.write(2, f"{PROGRAM}: {sanitize(line)}\n".encode(encoding, "backslashreplace"))
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
