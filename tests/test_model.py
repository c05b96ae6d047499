"""The whole server in memory against a model of what each client must read, and properties of any input.

``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate, count, repeat
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

import broadcast.core.batching
import broadcast.core.room
import broadcast.delivery.cursor
import broadcast.delivery.fanout
import broadcast.delivery.private_queue
import broadcast.delivery.subscriber
import broadcast.net.writers
import tests.harness
from broadcast.core.batching import COALESCE_ABOVE, build_batch
from broadcast.core.commands import COMMANDS
from broadcast.core.events import Action, AwayChanged, Barrier, Event, Joined, Left, Message, PrivateMessage, Renamed
from broadcast.core.interfaces import Batch
from broadcast.core.limits import DEFAULTS, Limits
from broadcast.core.membership import Member, Membership
from broadcast.core.nicknames import casefold_key
from broadcast.core.session import MAX_REJECTED_NICKS
from broadcast.core.settings import Settings
from broadcast.core.time_slice import SLICE_SECONDS
from broadcast.delivery.replay_buffer import ReplayBuffer
from broadcast.journals.memory import MemoryJournal
from tests.harness import NOON, DirectWorld, Person, World, logged

LONG = bool(os.environ.get("BROADCAST_LONG"))

# The model

NAMES = ["ann", "Ann", "bob", "rob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan", "judy"]
REPLAY = 4
PRIVATE_QUEUE_BYTES = 100
REPLAY_BUFFER = 6, 300
"""Events and bytes. Small, like all limits of slow clients, so that few lines make a client lag."""
SMALL_LIMITS: Sequence[tuple[object, str, int]] = (
    (broadcast.delivery.cursor, "RUN_BYTES", 60),
    (broadcast.delivery.cursor, "RUN_BATCHES", 3),
    (broadcast.delivery.private_queue, "CHUNK_OVERHEAD", 5),
    (broadcast.delivery.subscriber, "LAZY_CHUNK_BYTES", 40),
    (broadcast.net.writers, "_CHUNK_BYTES", 80),
    (broadcast.delivery.fanout, "SENDS_PER_SLICE", 1),
    (tests.harness, "ROOM_FOR_OUTPUT", 80),
)
HELP = [
    f"-> {command.syntax}   {command.help}"
    for command in COMMANDS
    if not command.is_for_operators and command.name != "oidc"
]
HELD_BYTES = 3_000
"""The private queue, one reply of ``/help``, the receipts of one batch, and the transport's buffer."""

NOON_STAMP = datetime.fromtimestamp(NOON).astimezone().strftime("[%H:%M] ")
STAMP = r"\[(?:\d{4}-\d\d-\d\d )?\d\d:\d\d\] "
GAP = re.compile(r" \* You missed (\d+) lines? \(#(\d+)-#(\d+)\)\.")
RECEIPT = re.compile(r"-> #\d+")
HISTORY = re.compile(rf"-> #(\d+) {STAMP}(.+)")
NO_HISTORY = "-> nothing was said yet."
IDLE = re.compile(r" \(idle \w+\)|, idle \w+(?=\))")


@dataclass(frozen=True)
class Line:
    """A line that a client must read."""

    text: str
    batch: int | None = None
    """Index of its batch. For a reply: number of the batches before it, or None if the command may have to wait."""
    seq: int = 0
    is_presence: bool = False
    """Whether the line is lost without a notice if the replay buffer moves past it."""
    in_delivery: bool = False
    """For a reply: whether the batch before it was still being delivered, so that the reply may overtake that."""
    history: int = 0
    """For the reply to ``/history``: the number of lines that were asked for."""


@dataclass(eq=False)
class Client:
    """A connection, and what the model knows of it."""

    person: Person
    connected_at: float
    nick: str = ""
    joined: bool = False
    """Whether its join was logged."""
    leaving: bool = False
    receipts_first: bool = False
    """Whether it has asked for receipts before it joined."""
    gone: bool = False
    """Whether it has left, so that its nickname is free."""
    connected: bool = True
    cut: bool = False
    """Whether the connection was lost before everything had been sent."""
    options: dict[str, bool] = field(default_factory=lambda: {"timestamp": False, "receipts": False, "quiet": False})
    was_quiet: bool = False
    away: str = ""
    ignored: dict[str, str] = field(default_factory=dict)
    did: list[Event] = field(default_factory=list)
    """The events that it has caused, in order, without times and numbers."""
    expected: list[Line] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """The lines that it has read."""
    seqs: set[int] = field(default_factory=set)
    """Numbers of the messages of its time. A gap notice may name these, and those of its replay."""
    replayed: set[int] = field(default_factory=set)

    @property
    def id(self) -> int:
        return self.person.protocol.session.id

    @property
    def may_type(self) -> bool:
        """Whether the server reads from it."""
        return self.connected and not self.leaving and self.person.transport.reading

    @property
    def at_once(self) -> bool:
        """Whether the server acts on its next line immediately."""
        protocol = self.person.protocol
        return self.may_type and protocol.session.ready and not protocol.peer.congested

    @property
    def held(self) -> int:
        """Number of bytes that the server holds for it alone."""
        return len(self.person.transport.held) + self.person.protocol.peer._subscriber._queue.size

    def expect(self, line: Line) -> None:
        if self.connected:
            self.expected.append(line)

    def read(self) -> None:
        """Take in the whole lines that came since the last call, without prompts and idle times."""
        whole, _end, rest = self.person.read().rpartition("\r\n")
        assert rest in {"", "Nickname: "} or self.cut, "the stream ends within a line"
        if whole:
            self.lines += [IDLE.sub("", line.removeprefix("Nickname: ")) for line in whole.split("\r\n")]


def without_time(line: str) -> str:
    return re.sub(f"^{STAMP}", "", line)


def is_reply(line: str) -> bool:
    """Return whether *line* answers a command. A receipt is part of the stream."""
    return line.startswith("-> ") and not RECEIPT.fullmatch(line)


def spoken(event: Message | Action) -> str:
    return f"{event.nick}: {event.text}" if isinstance(event, Message) else f"** {event.nick} {event.text}"


def presence_line(event: Joined | Left, client: Client, joins: Sequence[Joined], leaves: Sequence[Left]) -> str:
    """Return how *client* sees a join or leave, if it does: a crowd is a number."""
    if isinstance(event, Joined):
        if len(joins) <= COALESCE_ABOVE:
            return f" * {event.nick} joined."
        return f" * {len(joins)} people joined." if event is joins[0] else ""
    if len(leaves) <= COALESCE_ABOVE:
        reason = f": {event.reason}" if event.reason else "."
        return f" * {event.nick} left{reason}" if event.session != client.id else ""
    is_counted = event is leaves[-1] and all(leave.session != client.id for leave in leaves)
    return f" * {len(leaves)} people left." if is_counted else ""


def rule_for(
    clients: Callable[[Any], Sequence[Client]], **arguments: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator: the method is a rule for one of *clients*, if there are any, with drawn *arguments*."""

    def decorate(method: Callable[..., None]) -> Callable[..., None]:
        def step(server: Server, data: st.DataObject, **drawn: object) -> None:
            method(server, data.draw(st.sampled_from(clients(server)), label="client"), **drawn)

        step.__name__ = method.__name__
        typed_rule: Any = rule  # its overloads do not take arguments that are not known here
        decorated: Callable[..., None] = typed_rule(data=st.data(), **arguments)(step)
        return precondition(lambda server: bool(clients(server)))(decorated)

    return decorate


class Server(RuleBasedStateMachine):
    """Clients of one server. The model derives what each must read from the log of events and from what was typed."""

    prompt: ClassVar[bool]
    """Whether all clients always read everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(logged())
        self.stack.enter_context(mock.patch.object(broadcast.core.room, "build_batch", self.log_batch))
        self.batches: list[Sequence[Event]] = []
        self.clients: list[Client] = []
        self.present: dict[int, str] = {}
        """Nicknames of those present after the last batch, by session, in the order of joining."""
        self.numbers = count(1)
        self.ordered: list[str] = []
        """Words that the server took immediately: it must keep their order across clients."""
        self.pending_renames = 0

    def open(self, kind: type[World], limits: Limits, buffer: ReplayBuffer | None = None) -> None:
        self.world = kind(Settings(version="0.0", replay=REPLAY), limits=limits)
        self.world.dispatcher.private_queue_bytes = limits.private_queue_bytes
        self.world.fanout.replay_buffer = buffer or ReplayBuffer()
        self.witness = self.connect()
        self.give_name(self.witness, "witness")
        self.world.settle()

    # The log

    def log_batch(
        self,
        events: Sequence[Event],
        members: Mapping[int, Membership],
        ignoring: Collection[Member],
        last: int,
        unannounced: Sequence[Sequence[Joined | Left]],
    ) -> Batch:
        """Stand in for ``build_batch``: the events are stored, and about to be delivered."""
        assert list(members) == list(self.present)
        assert not unannounced, "without timers, each join is announced when it takes effect"
        clients = {client.id: client for client in self.clients}
        for session in self.present:
            self.expect_batch(clients[session], events)
        self.batches.append(tuple(events))
        joiners, leavers = [], []
        for event in events:
            match event:
                case Joined(session=session, nick=nick):
                    joiners.append(clients[session])
                    self.present[session] = nick
                case Left(session=session, nick=nick):
                    leavers.append(clients[session])
                    assert self.present.pop(session) == nick
                case Renamed(session=session, nick=nick, new=new):
                    assert self.present[session] == nick
                    self.present[session] = new
                    self.pending_renames -= 1
                case Message() | Action() | PrivateMessage():
                    assert self.present[event.session] == event.nick
                case _:
                    pass
            assert len({*map(casefold_key, self.present.values())}) == len(self.present)
        for client in joiners:
            client.joined, client.gone = True, client.leaving
            self.expect_arrival(client)
        for client in leavers:
            client.expect(Line(f" * Goodbye, {client.nick}.", len(self.batches) - 1))
        return build_batch(events, members, ignoring, last)

    @property
    def messages(self) -> Sequence[Message | Action]:
        return [event for batch in self.batches for event in batch if isinstance(event, Message | Action)]

    def expect_batch(self, client: Client, events: Sequence[Event]) -> None:
        """Expect the lines of a batch at a *client* that is present."""
        joins = [event for event in events if isinstance(event, Joined)]
        leaves = [event for event in events if isinstance(event, Left)]
        for event in events:
            match event:
                case Message() | Action() | PrivateMessage() | Renamed():
                    self.expect_event(client, event)
                case Joined() | Left():
                    line = presence_line(event, client, joins, leaves)
                    if line and not client.options["quiet"]:
                        client.expect(Line(line, len(self.batches), is_presence=True))
                case _:
                    assert isinstance(event, AwayChanged | Barrier)

    def expect_event(self, client: Client, event: Message | Action | PrivateMessage | Renamed) -> None:
        batch = len(self.batches)
        is_own = event.session == client.id
        is_hidden = not is_own and casefold_key(event.nick) in client.ignored
        match event:
            case PrivateMessage(to=to):
                if to == client.id and not is_hidden:
                    client.expect(Line(f"[{event.nick}] {event.text}", batch))
            case Renamed(nick=nick, new=new):
                if not is_own:
                    client.expect(Line(f" * {nick} is now {new}.", batch, is_presence=True))
                if is_hidden:
                    del client.ignored[casefold_key(nick)]
                    client.ignored[casefold_key(new)] = new
            case _:
                client.seqs.add(event.seq)
                if is_own and event.receipt:
                    client.expect(Line(f"-> #{event.seq}", batch))
                elif not is_own and not is_hidden:
                    stamp = NOON_STAMP * (self.prompt and client.options["timestamp"])
                    client.expect(Line(stamp + spoken(event), batch, event.seq))

    def expect_arrival(self, client: Client) -> None:
        """Expect what a *client* reads first that has joined in the last batch, and the replay."""
        batch = len(self.batches) - 1
        others = [nick for session, nick in self.present.items() if session != client.id]
        company = "Nobody else is here."
        if others:
            company = f"{len(others)} {'other is' if len(others) == 1 else 'others are'} here: {', '.join(others)}."
        you = f" * You are {self.present[client.id]}."
        client.expect(Line(f"{you} {company} /help lists the commands, quit leaves.", batch))
        for event in self.messages[-REPLAY:]:
            client.replayed.add(event.seq)
            client.expect(Line(NOON_STAMP * self.prompt + spoken(event), batch, event.seq))
        if client.receipts_first:
            client.expect(Line("-> receipts are on."))

    # Clients and words
    def word(self) -> str:
        return f"w{next(self.numbers)}w"

    def words(self, client: Client, count: int, kind: type[Message | Action] = Message) -> list[str]:
        """Return *count* words that *client* is about to say."""
        words = [self.word() for _ in range(count)]
        client.did += [kind(client.id, client.nick, word, 0.0, receipt=client.options["receipts"]) for word in words]
        return words

    def others(self) -> list[Client]:
        """Return all connected clients except the witness, which only reads."""
        return [client for client in self.clients if client.connected and client is not self.witness]

    def typing(self) -> list[Client]:
        return [client for client in self.others() if client.joined and client.may_type]

    def ready(self) -> list[Client]:
        return [client for client in self.typing() if client.at_once]

    def nameless(self) -> list[Client]:
        """Return the clients that can still try a nickname without being disconnected for the tenth rejection."""
        nameless = [client for client in self.others() if not client.nick and client.at_once]
        return [client for client in nameless if len(client.expected) < MAX_REJECTED_NICKS]

    def owner(self, name: str) -> Client | None:
        """Return the client that the server gives *name* to. ``PromptClients`` checks the owners."""
        member = self.world.hub.people._owners.get(casefold_key(name))
        return next((client for client in self.clients if member and client.id == member.id), None)

    def reply(self, client: Client, line: str, *replies: str) -> None:
        """Let *client* type *line*, to which the server replies immediately."""
        room = self.world.hub.lobby
        for reply in replies:
            client.expect(Line(f"-> {reply}", len(self.batches), in_delivery=room.delivering))
        client.person.put(f"{line}\r\n")

    def settle_renames(self) -> None:
        """Let renames happen: which client a changing name means would depend on the moment."""
        if self.pending_renames or self.world.hub.lobby.delivering:
            self.world.settle()

    # Arriving

    def connect(self) -> Client:
        client = Client(self.world.connect(), self.world.clock.seconds())
        self.clients.append(client)
        client.expect(Line("Welcome to Broadcast. Type a nickname and press Enter."))
        return client

    def give_name(self, client: Client, name: str, words: int = 0, *, receipts: bool = False) -> None:
        """Let *client* take *name*, and say so many *words* without waiting for the answer."""
        typed = [name]
        if self.owner(name) is not None:
            client.expect(Line(f"-> Error: {name} is taken."))
        else:
            client.nick = name
            client.did.append(Joined(client.id, name))
            if receipts:
                client.options["receipts"] = True
                client.receipts_first = True
                typed.append("/receipts on")
            typed += self.words(client, words)
        client.person.put("".join(f"{line}\r\n" for line in typed))

    @rule()
    def come_without_a_name(self) -> None:
        self.connect()

    @rule(
        name=st.sampled_from(NAMES),
        words=st.integers(0, 2),
        receipts=st.booleans(),
        room=st.none() | st.integers(0, 60),
    )
    def come(self, name: str, words: int, receipts: bool, room: int | None) -> None:
        """Let a client come that, if clients may be slow, reads only *room* bytes of what it is sent then."""
        client = self.connect()
        self.give_name(client, name, words, receipts=receipts)
        client.person.transport.room = None if self.prompt else room

    @rule_for(nameless, name=st.sampled_from(NAMES))
    def take_a_name(self, client: Client, name: str) -> None:
        self.give_name(client, name)

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=6, max_size=9, unique_by=casefold_key))
    def come_in_a_crowd(self, names: list[str]) -> None:
        for name in names:
            self.give_name(self.connect(), name)

    # Talking

    @rule_for(
        typing,
        how=st.sampled_from(["", "/say ", "/me "]),
        times=st.integers(1, 9),
        end=st.sampled_from(["\n", "\r\n", "\r"]),
    )
    def say(self, client: Client, how: str, times: int, end: str) -> None:
        words = self.words(client, times, Action if how == "/me " else Message)
        self.ordered += words if client.at_once else []
        client.person.put("".join(f"{how}{word}{end}" for word in words))

    def can_receive(self, name: str) -> bool:
        """Return whether the owner of *name* reads fast enough to receive another private message."""
        member = self.world.hub.people._owners[casefold_key(name)]
        return not member.listener.congested and member.private_in_flight < self.world.dispatcher.private_queue_bytes

    @rule_for(ready, name=st.sampled_from(NAMES[:6]), times=st.integers(1, 9))
    def whisper(self, client: Client, name: str, times: int) -> None:
        to = self.owner(name)
        for word in (self.word() for _ in range(times) if client.at_once):
            if to is None or not to.joined:
                answer = f"Error: {name} is not here."
            elif not self.prompt and not self.can_receive(name):
                answer = f"Error: {to.nick} does not read what is sent to them."
            else:
                client.did.append(PrivateMessage(client.id, client.nick, to.id, word, self.world.wall()))
                answer = f"sent to {to.nick}" + (f", who is away: {to.away}" if to.away else ".")
            self.reply(client, f"/msg {name} {word}", answer)

    @rule_for(ready, name=st.sampled_from(NAMES))
    def rename(self, client: Client, name: str) -> None:
        if self.owner(name) not in {client, None}:
            self.reply(client, f"/nick {name}", f"Error: {name} is taken.")
            return
        if name != client.nick:
            client.did.append(Renamed(client.id, client.nick, name))
            self.pending_renames += 1
            client.nick = name
        self.reply(client, f"/nick {name}", f"You are {name}.")

    @rule_for(ready, name=st.sampled_from(NAMES[:6]))
    def ignore(self, client: Client, name: str) -> None:
        self.settle_renames()
        other = self.owner(name)
        if not client.at_once:
            return
        if other is client:
            answer = "Error: you cannot ignore yourself."
        elif other is None or not other.joined:
            answer = f"Error: {name} is not here."
        else:
            client.ignored[casefold_key(name)] = other.nick
            answer = f"you ignore {other.nick}. /unignore {other.nick} ends that."
        self.reply(client, f"/ignore {name}", answer)

    @rule_for(lambda server: [c for c in server.ready() if c.ignored], name=st.none() | st.sampled_from(NAMES))
    def unignore(self, client: Client, name: str | None) -> None:
        self.settle_renames()
        if client.at_once:
            name = name or next(iter(client.ignored.values()), "nobody")
            was = client.ignored.pop(casefold_key(name), "")
            answer = f"you no longer ignore {was}." if was else f"Error: you do not ignore {name}."
            self.reply(client, f"/unignore {name}", answer)

    @rule_for(
        ready, option=st.sampled_from(["timestamp", "receipts", "quiet"]), value=st.sampled_from(["", " on", " off"])
    )
    def switch(self, client: Client, option: str, value: str) -> None:
        is_on = client.options[option] = value == " on" if value else not client.options[option]
        client.was_quiet |= client.options["quiet"]
        shown = "joins and leaves are" if option == "quiet" else f"{option.removesuffix('s')}s are"
        self.reply(client, f"/{option}{value}", f"{shown} {'on' if is_on != (option == 'quiet') else 'off'}.")

    @rule_for(ready, away=st.booleans())
    def be_away(self, client: Client, away: bool) -> None:
        client.away = "lunch" if away else ""
        self.reply(client, *(("/away lunch", "You are away: lunch") if away else ("/back", "Welcome back.")))

    @rule_for(ready)
    def ask_for_help(self, client: Client) -> None:
        self.reply(client, "/help", *(line.removeprefix("-> ") for line in HELP))

    @rule_for(ready, lines=st.integers(1, 30), behind=st.booleans())
    def ask_for_history(self, client: Client, lines: int, behind: bool) -> None:
        """Input behind ``/history`` waits for the reply, and others go on meanwhile."""
        if self.prompt:
            self.world.settle()
        words = self.words(client, int(behind))
        if not self.prompt:
            client.expect(Line("", history=lines))
        else:
            for event in self.messages[-lines:]:
                client.expect(Line(f"-> #{event.seq} {NOON_STAMP}{spoken(event)}"))
            if not self.messages:
                client.expect(Line(NO_HISTORY))
        client.expect(Line("-> pong"))
        client.person.put("".join(f"{line}\n" for line in (f"/history {lines}", *words, "/ping")))
        if self.prompt:
            self.world.settle()

    @rule_for(ready)
    def ask_for_names(self, client: Client) -> None:
        self.world.settle()
        if client.at_once:
            away = {other.id: f" (away: {other.away})" for other in self.clients if other.away}
            names = ", ".join(nick + away.get(session, "") for session, nick in self.present.items())
            self.reply(client, "/names", f"{len(self.present)} here: {names}")

    # Leaving

    def start_leaving(self, client: Client, reason: str) -> None:
        if not client.leaving:
            client.leaving, client.gone = True, client.joined
            if client.nick:
                client.did.append(Left(client.id, client.nick, reason))
            else:
                client.expect(Line(" * Goodbye."))

    @rule_for(others, how=st.sampled_from(["quit", " EXIT ", "/quit", "/q tired", "half-close", "reset"]))
    def leave(self, client: Client, how: str) -> None:
        if how == "reset":
            self.lose(client)
        elif how == "half-close":
            self.start_leaving(client, "")
            client.person.protocol.readConnectionLost()
        elif client in self.typing():
            self.start_leaving(client, "tired" if "tired" in how else "")
            client.person.put(f"{how}\r\nnever said\r\n")

    @precondition(lambda self: len(self.others()) > COALESCE_ABOVE)
    @rule(more=st.integers(1, 9))
    def reset_many(self, more: int) -> None:
        for client in self.others()[: COALESCE_ABOVE + more]:
            self.lose(client)

    def lose(self, client: Client) -> None:
        """Reset the connection of *client*."""
        self.compare(client)
        protocol = client.person.protocol
        client.cut = not protocol._input.ended or protocol.peer._subscriber.lagging or client.held > 0
        client.connected = False
        self.start_leaving(client, "connection lost")
        protocol.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]

    def compare(self, client: Client) -> None:
        """Compare what *client* has read up to now with what is expected, if that is exact."""

    @rule(all_turns=st.booleans())
    def turn(self, all_turns: bool) -> None:
        (self.world.settle if all_turns else self.world.turn)()

    # What holds at every moment, and in the end

    @invariant()
    def nicknames_are_unique(self) -> None:
        nicks = [casefold_key(c.person.protocol.session.nick) for c in self.clients if c.nick and not c.leaving]
        assert len(set(nicks)) == len(nicks)

    def teardown(self) -> None:
        try:
            if self.clients:
                self.finish()
                for client in self.others():
                    self.lose(client)
                self.wait_until(lambda: all(c.person.protocol._input.ended for c in self.clients if not c.connected))
                self.check_log()
        finally:
            self.stack.close()

    def finish(self) -> None:
        """Let all clients read everything, and check what they have read."""
        raise NotImplementedError

    def wait_until(self, done: Callable[[], bool]) -> None:
        for _ in range(1000):
            self.world.settle()
            if done():
                return
            self.world.clock.advance(1)
        raise AssertionError("nothing goes on")

    def check_log(self) -> None:
        """Check that the log holds what each client has done, in its order, and nothing else."""
        assert list(self.present) == [self.witness.id]
        assert [event.seq for event in self.messages] == list(range(1, len(self.messages) + 1)), "numbers are dense"
        ordered = set(self.ordered)
        assert [event.text for event in self.messages if event.text in ordered] == self.ordered
        log: dict[int, list[Event]] = {client.id: [] for client in self.clients}
        unseen = AwayChanged, Barrier
        for event in (event for batch in self.batches for event in batch if not isinstance(event, unseen)):
            plain = replace(event, at=0.0, seq=0) if isinstance(event, Message | Action) else event
            log[plain.session].append(plain)  # type: ignore[union-attr]  # every event here has an author
        for client in self.clients:
            assert log[client.id] == client.did


class PromptClients(Server):
    """All clients read at once: at every step, each has read exactly what the model expects."""

    prompt = True

    @initialize(kind=st.sampled_from([World, DirectWorld]), names=st.integers(0, 4))
    def begin(self, kind: type[World], names: int) -> None:
        self.open(kind, DEFAULTS.without_client_limits())
        for name in NAMES[:names]:
            self.give_name(self.connect(), name)
        self.world.settle()

    @rule()
    def one_turn_delivers_everything(self) -> None:
        if isinstance(self.world.journal, MemoryJournal):
            self.world.turn()
        else:
            self.world.settle()  # a thread has not stored everything by then
        assert {event.text for event in self.messages}.issuperset(self.ordered)

    @invariant()
    def each_client_has_read_exactly_what_is_expected(self) -> None:
        for client in self.clients:
            self.compare(client)
        owners = {casefold_key(client.nick): client.id for client in self.clients if client.nick and not client.gone}
        assert not self.clients or {nick: owner.id for nick, owner in self.world.hub.people._owners.items()} == owners

    def compare(self, client: Client) -> None:
        if client.connected:
            checked = len(client.lines)
            client.read()
            assert client.lines[checked:] == [line.text for line in client.expected[checked:]]

    def finish(self) -> None:
        self.world.settle()
        self.each_client_has_read_exactly_what_is_expected()
        for client in self.others():
            assert client.person.transport.finished is client.leaving


class SlowClients(Server):
    """Clients stop and go on reading anywhere. In the end, the log explains what each has read.

    Each line has come, whole, once and in order, or a gap notice names it. Private lines and replies always come.
    """

    prompt = False

    def __init__(self) -> None:
        super().__init__()
        for module, name, value in SMALL_LIMITS:
            self.stack.enter_context(mock.patch.object(module, name, value))

    @initialize(
        kind=st.sampled_from([World, DirectWorld]),
        slow_delivery=st.booleans(),
        large_buffer=st.booleans(),
        rooms=st.lists(st.none() | st.integers(0, 150), max_size=4),
    )
    def begin(self, kind: type[World], slow_delivery: bool, large_buffer: bool, rooms: list[int | None]) -> None:
        """Let some clients join that ignore the first of them, and read only so many bytes."""
        self.loses_nothing = large_buffer
        limits = replace(DEFAULTS.without_client_limits(), private_queue_bytes=PRIVATE_QUEUE_BYTES)
        self.open(kind, limits, None if large_buffer else ReplayBuffer(*REPLAY_BUFFER))
        if slow_delivery:  # each look at the clock uses up the turn, so that each send has a turn of its own
            for queue in (self.world.dispatcher._delivery_steps, self.world.dispatcher._subscriber_steps):
                queue._slice._now = accumulate(repeat(SLICE_SECONDS)).__next__
        for name, room in zip(("ann", "bob", "carol", "dave"), rooms, strict=False):
            client = self.connect()
            self.give_name(client, name, receipts=name < "c")
            client.person.transport.room = room
            self.world.settle()
            if client.at_once and name != "ann":
                client.ignored["ann"] = "ann"
                self.reply(client, "/ignore ann", "you ignore ann. /unignore ann ends that.")

    @rule_for(Server.others, room=st.integers(0, 60))
    def stop_reading(self, client: Client, room: int) -> None:
        """Let a client read *room* bytes more, and then nothing."""
        client.person.transport.room = room

    @rule_for(Server.others, room=st.none() | st.integers(1, 400))
    def read_on(self, client: Client, room: int | None) -> None:
        client.person.transport.take_again(room)

    @rule(seconds=st.sampled_from([1, 9, 11, 61]))
    def time_passes(self, seconds: int) -> None:
        self.world.settle()
        self.world.clock.advance(seconds)
        for client in self.others():
            if not client.nick and not client.leaving and self.world.clock.seconds() - client.connected_at >= 60:
                client.leaving = True
                client.expect(Line(" * No nickname in 60 seconds."))
            if client.person.transport.aborted:
                self.lose(client)

    @invariant()
    def held_bytes_are_bounded(self) -> None:
        for client in self.clients:
            assert not client.connected or client.held <= HELD_BYTES

    def finish(self) -> None:
        def all_have_read() -> bool:
            for client in self.clients:
                if client.connected and client.person.transport.aborted:
                    self.lose(client)  # it had too long to read what was sent before the close
                elif client.connected:
                    client.person.transport.take_again()
            return all(each.person.protocol._input.ended if each.leaving else each.may_type for each in self.clients)

        self.wait_until(all_have_read)
        self.world.settle()
        for client in self.clients:
            if client.connected:
                assert client.person.transport.finished is client.leaving
                assert not client.held
                assert not client.person.protocol.peer._subscriber.lagging
            self.explain(client)

    def explain(self, client: Client) -> None:  # noqa: C901 -- a line is a gap notice, a reply, or part of the stream
        """Check that each line that *client* has read is expected there, and that no other is missing."""
        stream = [line for line in client.expected if not is_reply(line.text) and not line.history]
        replies = deque(line for line in client.expected if is_reply(line.text) or line.history)
        history: list[int] = []
        seen: set[int] = set()
        missed: set[int] = set()
        seq = at = floor = 0
        batch = -1
        client.read()
        for text in map(without_time, client.lines):
            if gap := GAP.fullmatch(text):
                lost = range(int(gap[2]), int(gap[3]) + 1)
                assert int(gap[1]) == len(lost) > 0
                assert lost[0] > seq, "named twice, or after it came"
                assert not self.loses_nothing or client.replayed.issuperset(lost)
                seq = lost[-1]
                missed.update(lost)
            elif is_reply(text):
                if replies and replies[0].history:
                    if self.is_history(text, history):
                        continue
                    asked = replies.popleft().history
                    assert len(history) == asked or (len(history) < asked and history[:1] in ([], [1]))
                    if not history:
                        assert text == NO_HISTORY
                        continue
                    history = []
                assert replies, f"unexpected reply {text!r}"
                reply = replies.popleft()
                assert text == reply.text
                if reply.batch is not None:
                    assert batch < reply.batch, "the reply comes after a later batch"
                    floor = reply.batch - (reply.in_delivery and batch < reply.batch - 1)
            else:
                while at < len(stream) and stream[at].text != text:
                    at += 1
                assert at < len(stream), f"{text!r} came twice, out of order, or to the wrong client"
                line = stream[at]
                assert not line.seq or line.seq > seq, "the message came after it was named as missed"
                seq = line.seq or seq
                if not line.is_presence and line.batch is not None:
                    batch = line.batch
                    assert batch >= floor, "the reply comes before an earlier batch, or in one"
                seen.add(at)
                at += 1
        loses_nothing = client is self.witness or (self.loses_nothing and not client.was_quiet)
        for index, line in enumerate(stream[:at] if client.cut else stream):
            is_optional = line.seq in missed or (line.is_presence and not loses_nothing)
            assert index in seen or is_optional, f"{line} neither came nor is it named"
        assert not replies or client.cut
        assert missed <= client.seqs | client.replayed, "a gap names only messages of the client's time"

    def is_history(self, text: str, numbers: list[int]) -> bool:
        """Check *text* and add its number to *numbers*, if it is a line of the history."""
        if (line := HISTORY.fullmatch(text)) is None:
            return False
        numbers.append(int(line[1]))
        assert spoken(self.messages[numbers[-1] - 1]) == line[2]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        return True


MODEL = settings(
    max_examples=3_000 if LONG else 40,
    stateful_step_count=100 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [PromptClients, SlowClients])
def test_each_client_reads_what_happened_in_order_and_once(machine: type[Server]) -> None:
    run_state_machine_as_test(machine, settings=MODEL)
