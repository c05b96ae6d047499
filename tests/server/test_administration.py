"""The requests of an administrator change accounts at once, and sessions follow. Nothing else is a request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.accounts import Account
from broadcast.core.errors import JournalError
from broadcast.core.records import AddAudit, AuditEntry
from broadcast.core.settings import Settings
from broadcast.server import administration
from broadcast.server.administration import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REJECTED,
    Administration,
    encode_request,
)
from tests.files import MemoryArchive, StoredFile, archive_of, take_files
from tests.harness import NOON, World

SECRET = "correct horse"
OTHER = "battery staple"


class Office:
    """An administrator of *world*."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.administration = Administration(
            world.hub.authenticator,
            world.journal.records,
            lambda: NOON,
            lambda: world.hub.require_uploads().archive,
            world.hub,
        )

    def send(self, line: bytes) -> dict[str, Any]:
        """Return the answer to *line*."""
        answers: list[bytes] = []
        self.administration.handle(line, answers.append)
        self.world.settle()
        (answer,) = answers
        assert answer.endswith(b"\n")
        assert answer.count(b"\n") == 1
        message = json.loads(answer)
        assert message.pop("jsonrpc") == "2.0"
        return dict(message)

    def ask(self, method: str, **params: str) -> str:
        """Return the result of a request, or the text of its error."""
        answer = self.send(encode_request(method, params))
        assert answer["id"] == 1
        return str(answer["result"] if "result" in answer else answer["error"]["message"])

    def account(self, name: str) -> Account:
        account = self.world.hub.accounts.find(name)
        assert account is not None
        return account

    def audit(self) -> list[tuple[str, str, str, str]]:
        """Return the audit trail without the times, which must be now."""
        results: list[list[AuditEntry]] = []
        self.world.journal.records.read_audit(100, results.append)  # type: ignore[arg-type]
        self.world.settle()
        assert {entry.at for entry in results[0]} <= {NOON}
        return [(entry.by, entry.action, entry.target, entry.detail) for entry in results[0]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def office(world: World) -> Office:
    return Office(world)


def test_an_account_is_made_changed_and_removed_and_the_audit_trail_shows_it(office: Office) -> None:
    assert office.ask("add", name=" ann ", password=SECRET) == "ann is registered."
    assert office.account("ANN").record.password_hash == SECRET
    assert (office.account("ann").record.created, office.account("ann").record.last_used) == (NOON, NOON)
    assert office.ask("role", name="Ann", role="operator") == "ann is an operator."
    assert office.account("ann").is_operator
    assert office.ask("role", name="ann", role="none") == "ann is no operator."
    assert not office.account("ann").is_operator
    assert office.ask("passwd", name="ann", password=OTHER) == "ann has a new password."
    assert office.account("ann").record.password_hash == OTHER
    number = office.account("ann").id
    assert office.ask("rename", old="ann", new="Zoe") == "ann is now Zoe."
    assert office.account("zoe").id == number
    assert office.ask("remove", name="zoe") == "The account Zoe is removed."
    assert len(office.world.hub.accounts) == 0
    assert office.audit() == [
        ("admin", "add", "ann", ""),
        ("admin", "role", "ann", "operator"),
        ("admin", "role", "ann", "none"),
        ("admin", "passwd", "ann", ""),
        ("admin", "rename", "ann", "Zoe"),
        ("admin", "remove", "Zoe", ""),
    ]


@pytest.mark.parametrize(
    ("method", "params", "why"),
    [
        ("add", {"name": "ann", "password": SECRET}, "ann is registered already."),
        ("add", {"name": "bob", "password": "short"}, "a password has 8 to 256 bytes."),
        ("add", {"name": "two words", "password": SECRET}, "a nickname holds only ASCII letters, digits, _, - and ."),
        ("add", {"name": "zoë", "password": SECRET}, "a nickname holds only ASCII letters, digits, _, - and ."),
        ("add", {"name": "server", "password": SECRET}, "server is reserved."),
        ("passwd", {"name": "bob", "password": SECRET}, "bob is not registered."),
        ("passwd", {"name": "ann", "password": "bell\7bell"}, "a password has no control characters."),
        ("remove", {"name": "bob"}, "bob is not registered."),
        ("rename", {"old": "bob", "new": "zoe"}, "bob is not registered."),
        ("rename", {"old": "ann", "new": ""}, "a nickname cannot be empty."),
        ("rename", {"old": "ann", "new": "eve"}, "eve is registered already."),
        ("role", {"name": "bob", "role": "operator"}, "bob is not registered."),
    ],
)
def test_a_rejected_request_changes_nothing(office: Office, method: str, params: dict[str, str], why: str) -> None:
    office.ask("add", name="ann", password=SECRET)
    office.ask("add", name="eve", password=SECRET)
    before = [account.record for account in office.world.hub.accounts]
    answer = office.send(encode_request(method, params))
    assert answer["error"] == {"code": REJECTED, "message": why}
    assert [account.record for account in office.world.hub.accounts] == before
    assert len(office.audit()) == 2


def test_a_shared_file_is_removed_at_once(office: Office) -> None:
    take_files(office.world)
    archive_of(office.world).files["k3x"] = StoredFile("account 7", 5)
    address = "http://chat.example:8080/files/k3x/report.pdf"
    assert office.ask("remove-file", address=address, why="not\nfor\x1b[2J us") == "report.pdf is removed."
    assert not archive_of(office.world).files
    assert office.audit() == [("admin", "remove-file", "report.pdf", "not for us")]
    assert office.ask("remove-file", address="k3x") == (
        "there is no such file, or it is no longer there. /files shows the addresses."
    )
    office.world.hub.uploads = None
    assert office.ask("remove-file", address="k3x") == "this server takes no files."
    assert len(office.audit()) == 1


def test_letters_of_any_script_are_allowed_as_the_server_allows_them_and_without_a_server() -> None:
    office = Office(World(Settings(unicode_nicknames=True)))
    assert office.ask("add", name="zoë", password=SECRET) == "zoë is registered."
    alone = Office(World())
    alone.administration = Administration(
        alone.world.hub.authenticator, alone.world.journal.records, lambda: NOON, MemoryArchive
    )
    assert alone.ask("add", name="zoë", password=SECRET) == "zoë is registered."


def test_a_session_that_uses_a_new_account_s_nickname_gets_another_one_at_once(office: Office) -> None:
    ann, bob = office.world.join("ann", "bob")
    office.ask("add", name="ANN", password=SECRET)
    assert bob.lines() == ann.lines() == [" * ann is now ann2."]
    (eve,) = office.world.join("eve")
    bob.read()
    office.ask("rename", old="ann", new="Eve")
    assert bob.lines() == eve.lines() == [" * eve is now eve2."]


def log_in(office: Office, name: str, *, nick: str = "") -> tuple[Any, Any]:
    """Return a person who is logged in to the account *name*, and its member."""
    (person,) = office.world.join(nick or "somebody")
    member = next(member for member in office.world.hub.people.members.values() if member.nick == (nick or "somebody"))
    office.world.hub.log_in(member, office.account(name))
    office.world.settle()
    person.read()
    return person, member


def test_the_owner_s_session_follows_a_new_nickname_also_in_another_case(office: Office) -> None:
    office.ask("add", name="ann", password=SECRET)
    _ann, member = log_in(office, "ann")
    office.ask("rename", old="ann", new="Ann")
    assert member.nick == "Ann"
    office.ask("rename", old="Ann", new="zoe")
    assert member.nick == "zoe"
    assert member.account is office.account("zoe")


def test_the_owner_takes_the_new_nickname_from_somebody_else(office: Office) -> None:
    office.ask("add", name="ann", password=SECRET)
    _ann, member = log_in(office, "ann")
    _bob, other = office.world.join("bob"), next(m for m in office.world.hub.people.members.values() if m.nick == "bob")
    assert office.ask("rename", old="ann", new="bob") == "ann is now bob."
    office.world.settle()
    assert (member.nick, other.nick) == ("bob", "bob2")


def test_an_owner_with_another_nickname_keeps_it_when_the_account_is_renamed(office: Office) -> None:
    office.ask("add", name="ann", password=SECRET)
    _ann, member = log_in(office, "ann")
    office.world.hub.rename(member, "nia")
    office.ask("rename", old="ann", new="zoe")
    assert member.nick == "nia"


def test_an_owner_whose_new_nickname_looks_like_another_keeps_the_old_one() -> None:
    office = Office(World(Settings(unicode_nicknames=True)))
    office.ask("add", name="ann", password=SECRET)
    _ann, member = log_in(office, "ann")
    office.world.join("zoe")
    assert office.ask("rename", old="ann", new="zоe") == "ann is now zоe."  # a Cyrillic o
    assert member.nick == "ann"


def test_a_new_role_is_announced_to_its_owner_alone(office: Office) -> None:
    office.ask("add", name="ann", password=SECRET)
    (bob,) = office.world.join("bob")
    ann, _ = log_in(office, "ann")
    bob.read()
    ann.read()
    for role in ("operator", "operator", "none", "none"):
        office.ask("role", name="ann", role=role)
    assert ann.lines() == [
        " * You are an operator now. /help lists your commands.",
        " * You are no operator any more.",
    ]
    assert bob.lines() == []


@pytest.mark.parametrize(
    ("method", "params", "reason", "notice", "result"),
    [
        (
            "remove",
            {"name": "ann"},
            "the account was removed",
            "An administrator has removed your account.",
            "The account ann is removed. Sessions that were ended: 1.",
        ),
        (
            "passwd",
            {"name": "ann", "password": "battery staple"},
            "the password was changed",
            "An administrator has changed your password.",
            "ann has a new password. Sessions that were ended: 1.",
        ),
    ],
)
def test_removal_and_a_new_password_end_the_sessions_of_the_account(
    office: Office, method: str, params: dict[str, str], reason: str, notice: str, result: str
) -> None:
    office.ask("add", name="ann", password=SECRET)
    (bob,) = office.world.join("bob")
    ann, member = log_in(office, "ann")
    bob.read()
    assert office.ask(method, **params) == result
    assert bob.lines() == [f" * ann left: {reason}"]
    assert any(notice in line for line in ann.lines())
    assert member.id not in office.world.hub.people.members
    assert ann.transport.finished


def test_a_change_that_cannot_be_stored_is_reported(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.ask("add", name="ann", password=SECRET)
    records = office.world.journal.records

    def fail(_changes: object, on_done: Callable[[JournalError], None]) -> None:
        on_done(JournalError("the disk is full"))

    monkeypatch.setattr(records, "write", fail)
    full = "it cannot be stored: the disk is full"
    assert office.ask("add", name="bob", password=SECRET) == full
    assert office.ask("passwd", name="ann", password=SECRET) == full
    assert office.ask("remove", name="ann") == full
    assert office.ask("rename", old="ann", new="zoe") == full
    assert office.ask("role", name="ann", role="operator") == full
    assert not office.account("ann").is_operator


def test_a_busy_hasher_and_an_audit_trail_that_cannot_be_written_are_reported(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.ask("add", name="ann", password=SECRET)
    office.world.hasher.is_full = True
    assert office.ask("add", name="bob", password=SECRET) == "busy, try again."
    assert office.ask("passwd", name="ann", password=SECRET) == "busy, try again."
    write = office.world.journal.records.write

    def fail_audit(changes: Any, on_done: Any) -> None:  # noqa: ANN401
        if isinstance(changes[0], AddAudit):
            on_done(JournalError("the disk is full"))
        else:
            write(changes, on_done)

    monkeypatch.setattr(office.world.journal.records, "write", fail_audit)
    result = office.ask("role", name="ann", role="operator")
    assert result == "ann is an operator. The audit trail does not show it: the disk is full."


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", PARSE_ERROR),
        (b"hello", PARSE_ERROR),
        (b"\xff\xfe", PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":' + b"[" * 100_000, INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove","params":' + b"[" * 100_000, PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b"{}", INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","method":"remove","params":{"name":"ann"}}', INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"remove","params":{"name":"ann"}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":null,"method":"remove","params":{"name":"ann"}}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"shutdown"}', METHOD_NOT_FOUND),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove"}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove","params":["ann"]}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove","params":{"name":7}}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove","params":{"name":"ann","all":true}}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"role","params":{"name":"ann","role":"king"}}', INVALID_PARAMS),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove","params":{"name":"\xff"}}', PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"remove","params":{"name":"\\ud800"}}', PARSE_ERROR),
    ],
)
def test_everything_else_is_an_error(office: Office, line: bytes, code: int) -> None:
    office.ask("add", name="ann", password=SECRET)
    assert office.send(line)["error"]["code"] == code
    office.account("ann")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_params = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "password", "old", "new", "role"), _json))
_requests = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers() | st.text()},
    optional={
        "method": st.sampled_from(["add", "passwd", "remove", "rename", "role"]) | st.text(max_size=8),
        "params": _params | _json,
    },
)


@given(st.binary(max_size=200) | (_json | _requests).map(lambda value: json.dumps(value).encode()))
def test_any_line_gets_one_answer(line: bytes) -> None:
    office = Office(World())
    office.ask("add", name="ann", password=SECRET)
    answer = office.send(line)
    assert answer.keys() in ({"id", "result"}, {"id", "error"})


def test_no_password_shows_in_the_representation_of_a_request(office: Office) -> None:
    line = encode_request("add", {"name": "ann", "password": SECRET})
    request = msgspec.json.decode(line, type=administration.Request)
    params = msgspec.json.decode(request.params, type=administration.Login)
    assert SECRET not in f"{request!r} {request} {params!r} {params}"
    broken = encode_request("add", {"name": "ann", "password": SECRET, "more": SECRET})
    assert SECRET not in json.dumps(office.send(broken))


def test_the_id_of_the_journal_is_named(office: Office) -> None:
    assert office.ask("journal") == office.world.journal.id
