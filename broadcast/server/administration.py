"""The requests of an administrator, as lines of JSON-RPC 2.0: bytes in, bytes out. No socket.

A running server answers them at its admin socket. ``broadcast-admin`` answers them itself while no server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from broadcast.core import nicknames
from broadcast.core.accounts import OPERATOR, Account, Authenticator
from broadcast.core.errors import JournalError, RejectedError
from broadcast.core.hub import Hub
from broadcast.core.interfaces import FileArchive, Records
from broadcast.core.membership import Member
from broadcast.core.passwords import Password
from broadcast.core.records import AddAudit, AuditEntry
from broadcast.core.sanitize import sanitize
from broadcast.core.uploads import take_down

ADMINISTRATOR: Final = "admin"
"""The author of these changes in the audit trail. The nickname is reserved, so no operator has it."""
SOCKET: Final = "admin.sock"
"""File name of the admin socket in the data folder."""
MAX_REQUEST_BYTES: Final = 16 * 1024
"""Maximum length of a request, without its line end."""
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REJECTED: Final = 1
"""The code of an error whose text is for the administrator."""

OnAnswer: TypeAlias = Callable[[bytes], object]
"""Receives the answer to a request, with its line end."""
_Result: TypeAlias = Callable[[str | RejectedError], None]
"""Receives one line about what was done, or the reason why nothing was."""
_RequestId: TypeAlias = int | Annotated[str, Meta(max_length=64)]
_Name: TypeAlias = Annotated[str, Meta(max_length=256)]


class Request(Struct, frozen=True, kw_only=True):
    """A request. A notification, which has no id, is not possible."""

    jsonrpc: Literal["2.0"]
    id: _RequestId
    method: str
    params: Raw = Raw(b"{}")

    def __repr__(self) -> str:
        """Return a text without the parameters, which may hold a password."""
        return f"Request({self.method!r})"


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of ``add`` and ``passwd``."""

    name: _Name
    password: str

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"Login({self.name!r})"


class Name(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of ``remove``."""

    name: _Name


class Rename(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of ``rename``."""

    old: _Name
    new: _Name


class Role(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of ``role``."""

    name: _Name
    role: Literal["operator", "none"]


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of ``remove-file``."""

    address: Annotated[str, Meta(max_length=2048)]
    """The address of the file, or its id."""
    why: Annotated[str, Meta(max_length=2048)] = ""


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a method that has none."""


class Administration:
    """The changes that an administrator can make. They need no password of an account.

    The sessions of *hub*, which is None if no server runs, follow each change at once. *records* receives an entry of
    the audit trail for each. *wall_clock* returns seconds since the epoch. *find_archive* returns the shared files, or
    raises ``RejectedError``.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        records: Records,
        wall_clock: Callable[[], float],
        find_archive: Callable[[], FileArchive],
        hub: Hub | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._accounts = authenticator.accounts
        self._records = records
        self._wall_clock = wall_clock
        self._find_archive = find_archive
        self._hub = hub
        self._methods: Mapping[str, tuple[type[Struct], Callable[[Any, _Result], None]]] = {
            "add": (Login, self._add),
            "passwd": (Login, self._set_password),
            "remove": (Name, self._remove),
            "rename": (Rename, self._rename),
            "role": (Role, self._set_role),
            "journal": (Nothing, self._name_journal),
            "remove-file": (File, self._remove_file),
        }

    def handle(self, line: bytes, on_answer: OnAnswer) -> None:
        """Carry out the request in *line*, and call *on_answer* once, at once or in a later turn."""
        try:
            request = msgspec.json.decode(line.decode(), type=Request)
        except msgspec.ValidationError as error:
            on_answer(encode_error(INVALID_REQUEST, f"This is no request: {error}."))
            return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            on_answer(encode_error(PARSE_ERROR, "This line is no JSON."))
            return
        if request.method not in self._methods:
            message = f"There is no method {request.method[:64]!r}."
            on_answer(encode_error(METHOD_NOT_FOUND, message, request.id))
            return
        kind, run = self._methods[request.method]

        def finish(result: str | RejectedError) -> None:
            if isinstance(result, RejectedError):
                on_answer(encode_error(REJECTED, str(result), request.id))
            else:
                on_answer(_encode({"jsonrpc": "2.0", "id": request.id, "result": result}))

        try:
            run(msgspec.json.decode(request.params, type=kind), finish)
        except msgspec.ValidationError as error:
            on_answer(encode_error(INVALID_PARAMS, f"{error}.".replace("at `$", "at `params"), request.id))
        except RejectedError as error:
            finish(error)

    # Changes. Each calls back with a line about what was done.

    def _add(self, params: Login, on_result: _Result) -> None:
        name = self._validate(params.name)

        def added(result: Account | RejectedError) -> None:
            if isinstance(result, RejectedError):
                on_result(result)
                return
            self._free_name(result)
            self._finish(on_result, f"{name} is registered.", "add", name)

        self._authenticator.create(name, Password.parse(params.password), added)

    def _set_password(self, params: Login, on_result: _Result) -> None:
        account = self._find(params.name)

        def changed(result: Account | RejectedError) -> None:
            if isinstance(result, RejectedError):
                on_result(result)
                return
            ended = self._end_sessions(
                account, "the password was changed", "An administrator has changed your password."
            )
            self._finish(on_result, f"{account.name} has a new password.{ended}", "passwd", account.name)

        self._authenticator.replace_password(account, Password.parse(params.password), changed)

    def _remove(self, params: Name, on_result: _Result) -> None:
        account = self._find(params.name)

        def removed(error: RejectedError | None) -> None:
            if error is not None:
                on_result(error)
                return
            ended = self._end_sessions(account, "the account was removed", "An administrator has removed your account.")
            self._finish(on_result, f"The account {account.name} is removed.{ended}", "remove", account.name)

        self._accounts.remove(account, removed)

    def _rename(self, params: Rename, on_result: _Result) -> None:
        account = self._find(params.old)
        old, new = account.name, self._validate(params.new)

        def renamed(error: RejectedError | None) -> None:
            if error is not None:
                on_result(error)
                return
            self._free_name(account)
            self._rename_session(account, old)
            self._finish(on_result, f"{old} is now {new}.", "rename", old, new)

        self._accounts.change(account, renamed, name=new)

    def _set_role(self, params: Role, on_result: _Result) -> None:
        account = self._find(params.name)
        role = OPERATOR if params.role == OPERATOR else ""
        text = f"{account.name} is an operator." if role else f"{account.name} is no operator."
        before = account.queued.role

        def changed(error: RejectedError | None) -> None:
            if error is None:
                if self._hub is not None and role != before:
                    self._hub.announce_role(account)
                self._finish(on_result, text, "role", account.name, params.role)
            else:
                on_result(error)

        self._accounts.change(account, changed, role=role)

    def _name_journal(self, _params: Nothing, on_result: _Result) -> None:
        on_result("" if self._hub is None else self._hub.journal_id)

    def _remove_file(self, params: File, on_result: _Result) -> None:
        archive = self._find_archive()

        def remove() -> None:
            try:
                name, text = take_down(archive, params.address)
            except RejectedError as error:
                on_result(error)
            else:
                self._finish(on_result, text, "remove-file", name, sanitize(" ".join(params.why.split())))

        archive.update(remove)

    def _finish(self, on_result: _Result, text: str, action: str, target: str, detail: str = "") -> None:
        """Add the change to the audit trail, then report *text*."""

        def stored(error: JournalError | None) -> None:
            on_result(text if error is None else f"{text} The audit trail does not show it: {error}.")

        entry = AuditEntry(self._wall_clock(), ADMINISTRATOR, action, target, detail)
        self._records.write((AddAudit(entry),), stored)

    def _find(self, name: str) -> Account:
        account = self._accounts.find(name)
        if account is None:
            raise RejectedError(f"{name[: nicknames.MAX_NICKNAME_CHARS]} is not registered.")
        return account

    def _validate(self, name: str) -> str:
        """Return the nickname in *name*. Raises ``RejectedError``.

        Without a server, its option --unicode-nicknames is not known, so letters of any script are allowed.
        """
        return nicknames.validate(name, unicode=self._hub is None or self._hub.settings.unicode_nicknames)

    # Sessions

    def _free_name(self, account: Account) -> None:
        """Give another nickname to the session that uses that of *account* without being logged in to it."""
        for member in self._find_members(account.name):
            if self._hub is not None:
                self._hub.leave_registered_name(member, unasked=True)

    def _rename_session(self, account: Account, old: str) -> None:
        """Give the new nickname of *account* to the session that uses the *old* one."""
        for member in self._find_members(old):
            if self._hub is not None and member.account is account:
                with suppress(RejectedError):  # somebody who is here has a nickname that looks like it
                    self._hub.rename(member, account.name, unasked=True)

    def _find_members(self, nick: str) -> Sequence[Member]:
        key = nicknames.casefold_key(nick)
        members = () if self._hub is None else self._hub.people.members.values()
        return [member for member in members if nicknames.casefold_key(member.nick) == key]

    def _end_sessions(self, account: Account, reason: str, notice: str) -> str:
        """End all sessions of *account*. Return a sentence about them, which is empty if there are none."""
        if self._hub is None:
            return ""
        count = sum(member.account is account for member in self._hub.people.members.values())
        self._hub.leave_accounts(account, reason, notice)
        return f" Sessions that were ended: {count}." if count else ""


def encode_request(method: str, params: Mapping[str, str]) -> bytes:
    """Return a request with its line end."""
    return _encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def encode_error(code: int, message: str, request: int | str | None = None) -> bytes:
    """Return the answer that the request with the id *request* (None: unknown) has failed."""
    return _encode({"jsonrpc": "2.0", "id": request, "error": {"code": code, "message": message}})


def _encode(message: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(message) + b"\n"
