"""People with accounts, and operators, for tests in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport
from zope.interface import alsoProvides

from broadcast.core.accounts import OPERATOR, Account
from broadcast.core.records import AccountRecord, AuditEntry
from tests.doors.jsonrpc.programs import Program
from tests.harness import MemoryTransport, Person, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IAddress

    from broadcast.core.errors import JournalError, RejectedError
    from broadcast.core.membership import Member
    from tests.doors.jsonrpc.programs import ProgramWorld


def address(host: str) -> IAddress:
    """Return *host*, an IP address, with a port."""
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 40000)


def make_account(world: World, name: str, role: str = "", password: str = "") -> Account:
    """Return a new account. Without *password*, nobody can log in to it."""
    results: list[Account | RejectedError] = []
    world.hub.accounts.add(AccountRecord(0, name, password, role), results.append)
    world.settle()
    (account,) = results
    assert isinstance(account, Account)
    return account


def member_of(world: World, nick: str) -> Member:
    """Return the member with the nickname *nick*."""
    member = world.hub.people.owner_of(nick)
    assert member is not None
    return member


def give_account(world: World, nick: str, role: str = "", password: str = "") -> Account:
    """Register the nickname of a member, who is logged in then."""
    account = member_of(world, nick).account = make_account(world, nick, role, password)
    return account


def _transport(world: World, host: str | None, *, tls: bool) -> MemoryTransport:
    transport = world.transport(None if host is None else address(host))
    if tls:
        alsoProvides(transport, ISSLTransport)
    return transport


def connect_from(world: World, host: str) -> Person:
    """Return a person at *host* without a nickname."""
    return world.connect(address(host))


def connect_program(world: ProgramWorld, host: str | None = None, *, tls: bool = False) -> Program:
    """Return a program at *host*, by default on this machine, that has sent nothing yet."""
    return Program(world, world.connect_transport(_transport(world, host, tls=tls)))


def join(world: World, nick: str, host: str | None = None, *, tls: bool = False) -> Person:
    """Return a person at *host*, by default on this machine, who has taken *nick* and read everything."""
    person = world.connect_transport(_transport(world, host, tls=tls))
    person.say(nick)
    person.read()
    return person


def join_operator(world: World, nick: str, host: str | None = None, *, tls: bool = False) -> Person:
    """Return an operator who has read everything."""
    person = join(world, nick, host, tls=tls)
    give_account(world, nick, OPERATOR)
    return person


def audit(world: World) -> list[tuple[str, str, str, str]]:
    """Return the audit trail without the times: who, what, whom, and the rest."""
    found: list[Sequence[AuditEntry] | JournalError] = []
    world.hub.moderation.read_audit(1000, found.append)
    world.settle()
    (entries,) = found
    assert not isinstance(entries, Exception)
    return [(entry.by, entry.action, entry.target, entry.detail) for entry in entries]
