"""The calls of a directory change what the hub of this node knows, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.address import IPv4Address

from broadcast.core.directory import Person as Person_
from broadcast.core.events import PrivateMessage
from broadcast.core.records import (
    AccountRecord,
    AddAudit,
    AddPrivate,
    AuditEntry,
    Ban,
    ChangeAccount,
    DeleteAccount,
    MarkDelivered,
    PrivateLine,
    SaveAccount,
    SaveBan,
    StoredRecords,
)
from broadcast.core.settings import Settings
from tests.cluster.nodes import Cluster, Node, register
from tests.harness import Person


def test_ban_that_another_node_has_stored_ends_the_sessions_that_it_reaches(cluster: Cluster, here: Node) -> None:
    people = here.join("ann", "dave", "erin")
    register(people[1])
    account = here.hub.accounts.find("dave")
    assert account is not None
    far = here.connect(IPv4Address("TCP", "192.0.2.7", 1))
    far.say("fred")
    bans = [("nickname", "ann"), ("account", str(account.record.id)), ("address", "192.0.2.0/24")]
    for number, (target, value) in enumerate(bans):
        here.hub.other_nodes.records_changed([SaveBan(Ban(100 + number, target, value, value, "", "olga", 0.0, None))])  # type: ignore[arg-type]
    cluster.settle()
    assert cluster.people() == [{"erin"}] * 2
    assert "You were banned by olga" in far.read()


def test_account_that_is_changed_on_two_nodes_keeps_the_change_that_waits(cluster: Cluster, bob: Person) -> None:
    register(bob)
    hub = cluster.nodes[1].hub
    account = hub.accounts.find("bob")
    assert account is not None
    hub.accounts.change(account, role="operator")
    hub.other_nodes.records_changed([ChangeAccount(account.id, {"last_used": 7.0})])
    assert (account.record.last_used, account.queued.role) == (7.0, "operator")
    cluster.settle()
    assert account.is_operator


def test_account_that_gets_another_name_leaves_another_nickname_alone(cluster: Cluster, bob: Person) -> None:
    register(bob)
    bob.say("/nick bobby")
    hub = cluster.nodes[1].hub
    account = hub.accounts.find("bob")
    assert account is not None
    hub.other_nodes.records_changed([ChangeAccount(account.id, {"name": "robert"})])
    cluster.settle()
    assert hub.people.find("bobby").account is account


def test_private_line_of_another_node_raises_the_next_id(here: Node) -> None:
    line = PrivateLine(1000, 0.0, 1, "ann", 2, "bob", "psst", delivered=True)
    here.hub.other_nodes.records_changed([AddPrivate(line), AddPrivate(replace(line, id=1500, delivered=False))])
    assert here.hub.private_lines._next_id > 1500


def test_old_news_do_not_take_a_nickname_from_a_session_of_this_node() -> None:
    cluster = Cluster(settings=Settings(unicode_nicknames=True))
    (ann,) = cluster.nodes[0].join("ann")
    hub = cluster.nodes[0].hub
    hub.other_nodes.person_changed(Person_(999, "ann"))
    assert hub.people.find("ann") is ann.protocol.session.member
    hub.other_nodes.person_left(999, "ann")
    assert hub.people.find("ann") is ann.protocol.session.member


def test_directory_that_knows_somebody_else_changes_nothing(cluster: Cluster, ann: Person, bob: Person) -> None:
    hub = cluster.nodes[0].hub
    hub.other_nodes.person_left(12345, "nobody")
    hub.other_nodes.person_left(ann.protocol.session.id, "ann")
    hub.other_nodes.records_changed(
        [
            AddAudit(AuditEntry(0.0, "olga", "kick", "bob", "")),
            DeleteAccount(12345),
            MarkDelivered(12345, [1]),
            ChangeAccount(12345, {"role": "operator"}),
            SaveAccount(AccountRecord(32, "zoe")),
            SaveAccount(AccountRecord(32, "zoe", role="operator")),
        ]
    )
    assert hub.accounts.find("zoe").is_operator  # type: ignore[union-attr]
    remote = hub.people.find("bob")
    remote.listener.receive_private(PrivateMessage(ann.protocol.session.id, "ann", remote.id, "psst"))
    cluster.settle()
    assert bob.lines() == ["[ann] psst"]
    assert ann.lines() == []


def test_sessions_follow_the_changes_of_their_account_on_another_node(cluster: Cluster, bob: Person) -> None:
    register(bob)
    hub = cluster.nodes[1].hub
    account = hub.accounts.find("bob")
    assert account is not None
    hub.other_nodes.records_changed([ChangeAccount(account.id, {"role": "operator"})])
    assert " * You are an operator now. /help lists your commands." in bob.lines()
    hub.other_nodes.records_changed([ChangeAccount(account.id, {"password_hash": "stronger"})])
    cluster.settle()
    assert cluster.people() == [{"bob"}] * 2
    hub.other_nodes.records_changed([ChangeAccount(account.id, {"password_hash": "new", "logins": ""})])
    cluster.settle()
    assert "Your password was changed: log in again." in bob.read()
    assert cluster.people() == [set()] * 2


def test_sessions_of_an_account_that_another_node_has_deleted_end(cluster: Cluster, bob: Person) -> None:
    register(bob)
    hub = cluster.nodes[1].hub
    account = hub.accounts.find("bob")
    assert account is not None
    hub.other_nodes.records_changed([DeleteAccount(account.id)])
    cluster.settle()
    assert "The account bob was deleted." in bob.read()
    assert hub.accounts.find("bob") is None


def test_records_that_are_read_again_replace_those_in_memory(cluster: Cluster, here: Node, ann: Person) -> None:
    register(ann)
    old, new = (Ban(number, "nickname", name, name, "", "olga", 0.0, None) for number, name in ((1, "x"), (2, "y")))
    here.hub.other_nodes.records_changed([SaveBan(old)])
    zoe = AccountRecord(50, "zoe")
    here.hub.other_nodes.records_reloaded(StoredRecords([zoe], [new], 66, 18, 34, {50: {18: 0}}, step=16))
    cluster.settle()
    assert "The account ann was deleted." in ann.read()
    assert [account.record for account in here.hub.accounts] == [zoe]
    assert here.hub.moderation.bans(0.0) == [new]
    assert here.hub.private_lines._waiting == {50: {18: 0}}


def test_waiting_line_that_was_just_read_is_not_sent_again(cluster: Cluster, here: Node, ann: Person) -> None:
    register(ann)
    account = here.hub.accounts.find("ann")
    assert account is not None
    session = ann.protocol.session
    line = PrivateLine(1000, 0.0, 0, "bob", account.id, "ann", "psst", delivered=False)
    here.hub.other_nodes.records_changed([AddPrivate(line)])
    session.private_sent(line)
    taken: list[object] = []
    message = PrivateMessage(7, "bob", session.id, "psst", line=line)
    ann.read()
    here.hub.other_nodes.receive(message, taken.append)
    cluster.settle()
    assert (ann.read(), taken) == ("", [None])
    here.hub.private_lines.confirm(line)
    cluster.settle()
    here.hub.other_nodes.receive(message, taken.append)
    cluster.settle()
    assert "psst" in ann.read()


def test_notice_does_not_reach_the_person_on_another_node(cluster: Cluster, ann: Person, bob: Person) -> None:
    cluster.nodes[0].hub.people.find("bob").listener.notify("tea is ready")
    cluster.settle()
    assert bob.lines() == []
    assert ann.lines() == []
