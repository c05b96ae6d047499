"""Bans, mutes and slow mode as values; bans and the audit trail survive a restart, and failures of the journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.core.errors import Banned, JournalError, RejectedError
from broadcast.core.interfaces import AuditCallback
from broadcast.core.moderation import (
    Moderation,
    check_network,
    format_time,
    holds,
    network_of,
    parse_duration,
    parse_network,
)
from broadcast.core.records import AddAudit, AuditEntry, Ban, DeleteBan, RecordChange, SaveBan, StoredRecords
from broadcast.journals.sqlite.journal import SqliteJournal
from tests.harness import NOON, World, logged
from tests.journals.contract import Harness, open_journal
from tests.operators import audit, give_account, join, join_operator

HOUR = 3600


class BrokenRecords:
    """Records that store nothing and read nothing."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, _changes: Sequence[RecordChange], on_done: Callable[[JournalError | None], None]) -> None:
        self._world._soon.append(lambda: on_done(JournalError("no space left")))

    def read_audit(self, _limit: int, on_result: AuditCallback) -> None:
        self._world._soon.append(lambda: on_result(JournalError("no such table")))


@pytest.fixture
def moderation() -> Moderation:
    return Moderation(World().journal.records)


def ban(moderation: Moderation, network: str, until: float | None = None) -> RecordChange:
    return moderation.ban("address", network, network, "", "ann", NOON, until)


def is_banned(moderation: Moderation, host: str | None, at: float = NOON) -> bool:
    try:
        moderation.check_address(host, at)
    except Banned:
        return True
    return False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("90S", 90), ("5m", 300), ("1h", 3600), ("7d", 604_800), ("2w", 1_209_600), ("9999w", 9999 * 604_800)],
)
def test_duration_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "0s", "05s", "10000s", "1.5h", "-1h", "1 h", "1y", "١h", "1h "])
def test_other_texts_are_no_duration(text: str) -> None:
    assert parse_duration(text) is None


def test_times_are_in_utc() -> None:
    assert format_time(NOON) == "2026-01-15 12:00 UTC"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("2001:db8::7", "2001:db8::/64"),
        ("2001:db8::7/128", "2001:db8::7/128"),
        ("::1", "::1/128"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("ann", None),
        ("", None),
        ("192.0.2", None),
        ("192.0.2.0/33", None),
        ("1/2/3", None),
    ],
)
def test_network_is_an_address_with_or_without_a_prefix(text: str, network: str | None) -> None:
    found = parse_network(text)
    assert (None if found is None else str(found)) == network


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("127.0.0.1", None),
        ("::1", None),
        ("a local socket", None),
        (None, None),
    ],
)
def test_person_is_banned_with_the_network_that_one_person_has(host: str | None, network: str | None) -> None:
    found = network_of(host)
    assert (None if found is None else str(found)) == network
    if found is not None:
        assert holds(found, host)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("192.0.0.0/15", "too wide"),
        ("0.0.0.0/0", "too wide"),
        ("2001:db8::/31", "too wide"),
        ("::ffff:0:0/96", "too wide"),
        ("127.5.0.0/16", "addresses of this machine"),
        ("::1/128", "addresses of this machine"),
        ("::/32", "addresses of this machine"),
        ("192.0.2.0/24", "your own address"),
    ],
)
def test_some_networks_cannot_be_banned(text: str, reason: str) -> None:
    network = parse_network(text)
    assert network is not None
    with pytest.raises(RejectedError, match=reason):
        check_network(network, "192.0.2.7")


@pytest.mark.parametrize("text", ["192.1.0.0/16", "2001:db8::/32", "192.0.2.8/32"])
def test_other_networks_can_be_banned(text: str) -> None:
    network = parse_network(text)
    assert network is not None
    check_network(network, "192.0.2.7")
    check_network(network, None)


def test_bans_of_several_prefixes_hold_together(moderation: Moderation) -> None:
    for network in ("192.0.2.0/24", "192.0.2.7/32", "198.51.100.0/24", "2001:db8::/48"):
        ban(moderation, network)
    assert moderation.unban("192.0.2.7/32", None) == [DeleteBan(2)]
    banned = {"192.0.2.7", "192.0.2.8", "198.51.100.1", "2001:db8:0:ffff::1", "::ffff:192.0.2.9"}
    free = {"192.0.3.7", "198.51.101.1", "2001:db8:1::1", "127.0.0.1", "::1", "a local socket", None}
    assert {host for host in banned | free if is_banned(moderation, host)} == banned
    for network in ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/48"):
        moderation.unban(network, None)
    assert not any(is_banned(moderation, host) for host in banned)


@given(st.ip_addresses(), st.integers(0, 128))
def test_ban_holds_for_an_address_if_its_network_holds_it(host: object, length: int) -> None:
    moderation = Moderation(World().journal.records)
    network = parse_network(f"{host}/{min(length, 32) if '.' in str(host) else length}")
    assert network is not None
    ban(moderation, str(network))
    assert is_banned(moderation, str(host)) is holds(network, str(host))


def test_ban_ends_at_its_time_and_is_forgotten(moderation: Moderation) -> None:
    ban(moderation, "192.0.2.7/32", NOON + HOUR)
    assert is_banned(moderation, "192.0.2.7", NOON + HOUR - 1)
    assert not is_banned(moderation, "192.0.2.7", NOON + HOUR)
    assert moderation.remove_expired(NOON + HOUR - 1) == []
    assert moderation.remove_expired(NOON + HOUR) == [DeleteBan(1)]
    assert not is_banned(moderation, "192.0.2.7", NOON)


def test_ban_in_place_of_another_has_its_number(moderation: Moderation) -> None:
    moderation.load(StoredRecords(bans=[Ban(7, "address", "192.0.2.7/32", "x", "", "ann", NOON, None)], next_ban=9))
    changes = [ban(moderation, "192.0.2.7/32"), ban(moderation, "192.0.2.8/32")]
    assert [change.ban.id for change in changes if isinstance(change, SaveBan)] == [7, 9]
    moderation.unban("192.0.2.7/32", None)
    assert not is_banned(moderation, "192.0.2.7")


def test_account_and_nickname_are_banned_apart(moderation: Moderation) -> None:
    moderation.ban("account", "3", "bob", "", "ann", NOON, None)
    moderation.ban("nickname", "zoe", "Zoe", "", "ann", NOON, None)
    moderation.check_name("bob", None, is_registered=False, at=NOON)
    moderation.check_name("zoe", 4, is_registered=True, at=NOON)  # who has registered it since
    for nick, account in (("rob", 3), ("ZOE", None), ("zoe", 4)):
        with pytest.raises(Banned):
            moderation.check_name(nick, account, is_registered=False, at=NOON)
    assert moderation.unban("rob", 3) == [DeleteBan(1)]
    assert moderation.unban("ZOE", None) == [DeleteBan(2)]


def test_bans_and_the_audit_trail_survive_a_restart(tmp_path: Path) -> None:
    done: list[JournalError | None] = []
    entries: list[Sequence[AuditEntry] | JournalError] = []
    actions = [AuditEntry(NOON, "ann", "ban", "bob", "spam"), AuditEntry(NOON, "ann", "unban", "bob", "")]
    with open_journal(lambda call_soon: SqliteJournal(tmp_path, call_soon)) as run:
        moderation = load(run)
        changes = [ban(moderation, "192.0.2.0/24", NOON + HOUR), ban(moderation, "2001:db8::/64")]
        changes.append(moderation.ban("account", "3", "bob", "spam", "ann", NOON, None))
        moderation.write(actions[0], changes, done.append)
        moderation.write(actions[1], moderation.unban("2001:db8::/64", None), done.append)
        run.calls.run_until(lambda: len(done) == 2)
        assert done == [None, None]
    with open_journal(lambda call_soon: SqliteJournal(tmp_path, call_soon)) as run:
        moderation = load(run)
        assert [(held.name, held.until) for held in moderation.bans(NOON)] == [
            ("192.0.2.0/24", NOON + HOUR),
            ("bob", None),
        ]
        assert is_banned(moderation, "192.0.2.9")
        assert not is_banned(moderation, "192.0.2.9", NOON + HOUR)
        moderation.read_audit(9, entries.append)
        run.calls.run_until(lambda: bool(entries))
    assert entries == [actions]


def load(run: Harness) -> Moderation:
    """Return the moderation of a server that has just opened its journal."""
    moderation = Moderation(run.journal.records)
    moderation.load(run.journal.records.load())
    return moderation


def test_action_that_cannot_be_stored_holds_until_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    ann, bob = join_operator(world, "ann"), join(world, "bob", "192.0.2.7")
    make_broken(world, monkeypatch)
    ann.read()
    ann.say("/ban bob", "/audit", "/ping")
    lost = "It cannot be stored, so a restart forgets it: no space left"
    assert ann.lines() == [
        " * bob left (banned by ann)",
        f"-> Error: the nickname bob and the address 192.0.2.7/32 are banned. /unban bob ends it. {lost}",
        "-> Error: the audit trail cannot be read: no such table",
        "-> pong",
    ]
    assert bob.transport.finished
    assert is_banned(world.hub.moderation, "192.0.2.7")


def make_broken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    records = BrokenRecords(world)
    monkeypatch.setattr(world.hub.moderation, "_records", records)
    monkeypatch.setattr(world.hub.accounts, "_records", records)


def test_role_that_cannot_be_stored_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    ann, _ = join_operator(world, "ann"), join_operator(world, "bob")
    make_broken(world, monkeypatch)
    ann.read()
    ann.say("/deop bob", "/ping")
    assert ann.lines() == ["-> Error: it cannot be stored: no space left", "-> pong"]


def test_login_to_a_banned_account_is_refused_with_the_right_password() -> None:
    world = World()
    ann, bob = join_operator(world, "ann"), join(world, "bob", "192.0.2.7")
    bob.say("/register", "correct horse", "correct horse")
    bob.read()
    ann.say("/ban bob 1h spam")
    assert bob.transport.finished
    elsewhere = world.connect()
    elsewhere.say("bob", "correct horse")
    refused = "-> Error: you are banned until 2026-01-15 13:00 UTC: spam\r\n"
    assert refused in elsewhere.read()
    elsewhere.say("rob")
    elsewhere.say("/login bob", "correct horse")
    assert refused in elsewhere.read()
    world.clock.advance(3600)
    elsewhere.say("/login bob", "correct horse")
    assert "-> You are logged in as bob." in elsewhere.read()


def test_words_of_muted_people_reach_nobody_during_a_login() -> None:
    world = World()
    ann, bob = join_operator(world, "ann"), join(world, "bob", "192.0.2.7")
    bob.say("/register", "correct horse", "correct horse")
    ann.say("/mute bob")
    ann.read()
    bob.say("/logout", "hi", "/login bob", "wrong password", "correct horse", "hi")
    assert ann.lines() == [" * bob is now bob2.", " * bob2 is now bob."]


def test_somebody_is_kicked_at_any_moment_of_a_visit() -> None:
    world = World()
    ann = join_operator(world, "ann")
    moments = {
        "arriving": "",
        "asked for a password": "/register\r\n",
        "hashing": "/register\r\ncorrect horse\r\ncorrect horse\r\n",
        "moving": "/join kitchen\r\n",
        "waiting for a reply": "/history\r\n",
        "leaving": "quit\r\n",
    }
    for nick, typed in zip("bcdefg", moments.values(), strict=True):
        person = world.connect()
        person.put(f"{nick}\r\n")
        if typed:
            world.settle()
            person.put(typed)
        ann.put(f"/kick {nick}\r\n")
        with logged():
            world.settle()
        assert person.transport.finished
        assert {member.nick for member in world.hub.people.members.values()} == {"ann"}
        assert world.hub.rooms.keys() == {"lobby"}
        ann.say("/ping")
        assert ann.lines()[-1] == "-> pong"


@pytest.mark.parametrize("line", ["/kick bob", "/mute bob", "/ban bob", "/op bob", "/audit", "/slow 5s", "/announce x"])
def test_operator_who_is_gone_before_the_reply_has_acted(line: str) -> None:
    for is_kicked in (False, True):
        world = World()
        ann, bob = join_operator(world, "ann"), join(world, "bob")
        carol = join_operator(world, "carol")
        give_account(world, "bob")
        ann.put(f"{line}\r\n")
        if is_kicked:
            carol.put("/kick ann\r\n")
        else:
            ann.vanish()
        with logged():
            world.settle()
        assert {member.nick for member in world.hub.people.members.values()} >= {"carol"}
        assert world.hub.people.owner_of("ann") is None
        entries = [entry[:2] for entry in audit(world)]
        assert ("ann", line[1:].partition(" ")[0]) in entries or line == "/audit"
        assert bob.transport.finished is (line in {"/kick bob", "/ban bob"})


# Other nodes of a cluster


def make_ban(number: int, name: str = "eve", reason: str = "") -> Ban:
    """Return a ban of the nickname *name*."""
    return Ban(number, "nickname", name, name, reason, "olga", NOON, None)


def test_ban_of_another_node_is_taken_over_and_raises_the_next_number(moderation: Moderation) -> None:
    moderation.load(StoredRecords(bans=[make_ban(1)], next_ban=10, step=8))
    moderation.take_over(SaveBan(make_ban(5, reason="noise")))
    moderation.take_over(SaveBan(make_ban(20, "zoe")))
    assert moderation.bans(NOON) == [make_ban(5, reason="noise"), make_ban(20, "zoe")]
    assert moderation.ban("nickname", "x", "x", "", "olga", NOON, None) == SaveBan(make_ban(26, "x"))
    moderation.take_over(DeleteBan(20))
    moderation.take_over(DeleteBan(1))
    assert [ban.id for ban in moderation.bans(NOON)] == [5, 26]


def test_own_change_of_a_ban_that_is_being_stored_comes_after_those_of_other_nodes() -> None:
    world = World()
    moderation = Moderation(world.journal.records)
    entry = AuditEntry(NOON, "olga", "ban", "eve", "")
    moderation.load(StoredRecords(bans=[make_ban(7, "zoe")], next_ban=9))
    own = moderation.ban("nickname", "eve", "eve", "own", "olga", NOON, None)
    moderation.write(entry, [own])
    moderation.write(entry, moderation.unban("zoe", None))
    moderation.write(entry, [AddAudit(entry)])
    for change in (SaveBan(make_ban(8)), DeleteBan(9), SaveBan(make_ban(9, "eva")), SaveBan(make_ban(7, "zoe"))):
        moderation.take_over(change)
    assert [SaveBan(ban) for ban in moderation.bans(NOON)] == [own]
    moderation.take_over(SaveBan(make_ban(8, "zoe")))
    world.settle()
    moderation.take_over(SaveBan(make_ban(10)))
    assert {ban.id: ban.name for ban in moderation.bans(NOON)} == {8: "zoe", 10: "eve"}


def test_comparison_yields_the_changes_of_bans_that_were_missed(moderation: Moderation) -> None:
    moderation.load(StoredRecords(bans=[make_ban(1), make_ban(2, "zoe")]))
    longer = make_ban(2, "zoe", "noise")
    stored = StoredRecords(bans=[longer, make_ban(3, "x")], next_ban=4)
    assert [*moderation.compare(stored)] == [DeleteBan(1), SaveBan(longer), SaveBan(make_ban(3, "x"))]
