"""What holds for every input of the line door, and for everything that people do together in a room.

A few seconds by default; with BROADCAST_LONG=1 in the environment, many more examples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import ClassVar
from unicodedata import category, is_normalized

from hypothesis import HealthCheck, assume, example, given, settings
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

from tests.harness import NOON, Person, World, logged

LONG = bool(os.environ.get("BROADCAST_LONG"))
EXAMPLES = settings(max_examples=2_000 if LONG else 100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# What is typed

COMMANDS = [
    b"/help", b"/help msg", b"/names", b"/nick rob", b"/nick ann", b"/me waves", b"/say quit", b"/say",
    b"/msg ann psst", b"/msg bob me", b"/r hm", b"/history", b"/history 3", b"/history #1-#2", b"/timestamp", b"/quiet",
    b"/ignore ann", b"/unignore ann", b"/away", b"/away lunch", b"/back", b"/ping", b"/version", b"/motd",
    b"//x", b"/", b"/x", b"quit", b"/quit tired",
]  # fmt: skip
TELNET = [
    b"\xff", b"\xff\xff", b"\xff\xfd\x06", b"\xff\xfb\x1f", b"\xff\xfe", b"\xff\xfa\x1f", b"\xff\xf0", b"\xff\xf6",
    b"\xff\xf4", b"\xff\xf7", b"\xff\xf8", b"\xff\xf1",
]  # fmt: skip
NASTY = [
    b"\0", b"\x1b[2J", b"\x07", b"\t", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xe2\x81\xa6", b"\xef\xbb\xbf",
    b"\xc2\x9b", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80", b"\xe2\x82", b"x" + b"\xcc\x81" * 12, b"y" * 600,
    b"z" * 4097, "\u0390\u0344".encode(), b"GET / HTTP/1.1", b"SSH-2.0-x", b"\x16\x03\x01",
]  # fmt: skip
ENDS = [b"\r\n", b"\n", b"\r", b"\r\0"]
PIECES = st.one_of(
    st.sampled_from(ENDS),
    st.builds(bytes.__add__, st.sampled_from(COMMANDS), st.sampled_from(ENDS)),
    st.sampled_from([*TELNET, *NASTY]),
    st.text(max_size=8).map(lambda text: text.encode(errors="surrogatepass")),
    st.binary(max_size=8),
)
INPUTS = st.builds(
    bytes.__add__, st.sampled_from([b"", b"bob\r\n", b"bob\r\n"]), st.lists(PIECES, max_size=20).map(b"".join)
)
ARRIVED = st.lists(PIECES, max_size=20).map(lambda pieces: b"bob\r\n" + b"".join(pieces))
LINES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass")),
    st.lists(st.sampled_from(NASTY), max_size=4).map(b"".join),
).map(lambda line: line.translate(None, b"\r\n\xff"))


def outputs(data: bytes, cuts: Sequence[int] = (), *, turns: bool = False) -> tuple[bytes, bytes]:
    """What a newcomer who sends *data* reads, and what somebody else reads; *turns*: each chunk has its own."""
    with logged():
        world = World()
        (ann,) = world.join("ann")
        ann.say("said before")
        newcomer = world.connect()
        if turns:
            edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
            for start, end in pairwise(edges):
                newcomer.send(data[start:end])
        else:
            newcomer.send(data, cuts)
        if newcomer.transport.finished:
            newcomer.hang_up()
        else:
            newcomer.end_input()
        return bytes(newcomer.transport.sent), bytes(ann.transport.sent)


def text_of(output: bytes) -> str:
    """*output* without telnet's answers; they are whole, and what is left is UTF-8."""
    return re.sub(rb"\xff[\xfc\xfe].", b"", output, flags=re.DOTALL).decode()


# 1: however the bytes are cut


@EXAMPLES
@given(INPUTS, st.lists(st.integers(1, 300), max_size=12))
@example(b"bob\r\n/ping\r\n\xff\xf6/ping\r\n", [12])
@example(b"bob\r\n" + b"x" * 4096 + b"\xff\xff", [4102])
def test_however_the_bytes_are_cut_everybody_reads_the_same(data: bytes, cuts: list[int]) -> None:
    assert outputs(data, cuts) == outputs(data)


@EXAMPLES
@given(INPUTS)
def test_bytes_that_come_one_by_one_lead_to_the_same(data: bytes) -> None:
    assert outputs(data, range(len(data))) == outputs(data)


@EXAMPLES
@given(INPUTS, st.lists(st.integers(1, 300), max_size=12))
def test_however_slowly_the_chunks_come_the_others_read_the_same(data: bytes, cuts: list[int]) -> None:
    assert outputs(data, cuts, turns=True)[1] == outputs(data)[1]


# 2: any bytes

NICK = r"[A-Za-z0-9_.-]{1,24}"
SAID = rf"(\[\d\d:\d\d\] )?({NICK}: |\*\* {NICK} ).+|\[{NICK}\] .+"
DOCUMENTED = re.compile(rf"(Nickname: )*(Welcome to Broadcast\.| \* .+|-> .+|\[yes\]|{SAID})\r\n")


@EXAMPLES
@given(INPUTS | ARRIVED)
@example(b"\r\nSSH-2.0-x\r\n\xff\xff")
def test_any_bytes_lead_to_what_is_documented_and_to_no_error(data: bytes) -> None:
    for output in map(text_of, outputs(data)):
        assert not re.sub(DOCUMENTED, "", output)


@EXAMPLES
@given(st.binary(max_size=300), st.booleans())
def test_so_do_random_bytes(data: bytes, named: bool) -> None:
    for output in map(text_of, outputs(b"bob\r\n" * named + data)):
        assert output.endswith("\r\n") or not output


# 3: what reaches a terminal


@EXAMPLES
@given(INPUTS | ARRIVED)
@example("bob\r\n/help \u0390\u0301\r\n".encode())
def test_what_reaches_a_terminal_holds_no_control_and_no_bidi_character(data: bytes) -> None:
    for output in map(text_of, outputs(data)):
        shown = output.replace("\r\n", "")
        assert not {character for character in shown if category(character) in {"Cc", "Cs", "Zl", "Zp"}}
        assert not set(shown) & BIDI
        assert is_normalized("NFC", output)


# 4: one line in, one line out


@EXAMPLES
@given(LINES, st.sampled_from(ENDS), st.sampled_from([b"x", b"/say x", b"//", b"/me x", b"/msg ann x"]))
def test_one_line_in_is_one_line_out_for_every_reader(line: bytes, end: bytes, how: bytes) -> None:
    assume(len(line) < 4000)
    with logged():
        ann, bob, carol = World().join("ann", "bob", "carol")
        carol.say("/timestamp on")
        carol.read()
        ann.read()
        bob.send(how + line + end)
        readers = [ann] if how.startswith(b"/msg") else [ann, carol]
        for reader in readers:
            (shown,) = reader.lines()
            assert "bob" in shown
            assert not set(shown) & set("\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")


# 5: the gate is idempotent


@EXAMPLES
@given(LINES)
def test_what_was_read_and_is_said_again_arrives_the_same(line: bytes) -> None:
    with logged():
        ann, bob = World().join("ann", "bob")
        ann.read()
        bob.send(b"/say " + line + b"\n")
        first = ann.read()
        assume(len(first.encode()) < 4000)
        bob.send("/say " + first.removeprefix("bob: "))
        assert ann.read() == first


# 7: people in a room

NAMES = ["ann", "Ann", "bob", "rob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan", "judy", "mallory"]
CROWD = 5
REPLAY = 20


@dataclass(eq=False)
class Guest:
    """Somebody, and what the model knows of them."""

    person: Person
    nick: str
    told: str = ""
    """The nickname that the others have read."""
    present: bool = False
    """Their coming was told, their leaving was not."""
    talks: bool = False
    """They may type."""
    connected: bool = True
    quiet: bool = False
    times: bool = False
    receipts: bool = False
    away: str = ""
    ignored: dict[str, str] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    """Typed before they came in."""
    why: str | None = None
    """Why they leave, once they do."""
    expected: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)

    def gets(self, line: str) -> None:
        if self.connected:
            self.expected.append(line)


@dataclass
class Happened:
    """Something that everybody will be told."""

    kind: str
    who: Guest
    nick: str
    text: str = ""
    to: Guest | None = None
    receipt: bool = False
    seq: int = 0

    def spoken(self) -> str:
        return f"{self.nick}: {self.text}" if self.kind == "said" else f"** {self.nick} {self.text}"


SPOKEN = re.compile(r"(?P<at>\[..:..\] )?(?:\*\* )?(?P<nick>\w+):? (?P<word>w\d+w)")
PASSED = re.compile(r" \* (?P<nick>\w+) (?:(?P<joined>joined)\.|left\.|left: .+|is now (?P<new>\w+)\.)")
ARRIVED_LINE = re.compile(
    r" \* You are \w+\. (?:Nobody else is|\d+ others? (?:is|are)) here(?:: (?P<names>[\w, ]+))?\. .+"
)


class PeopleInARoom(RuleBasedStateMachine):
    """The room against a model that says, turn by turn, exactly what each of them must read."""

    stamp: ClassVar[str] = datetime.fromtimestamp(NOON).astimezone().strftime("[%H:%M] ")

    def __init__(self) -> None:
        super().__init__()
        self.logging = logged()
        self.logging.__enter__()
        self.world = World()
        self.guests: list[Guest] = []
        self.owners: dict[str, Guest] = {}
        self.pending: list[Happened] = []
        self.kept: list[Happened] = []
        self.seq = 0
        self.words = 0
        self.authors: dict[str, Guest] = {}

    # The model

    def word(self, author: Guest) -> str:
        self.words += 1
        word = f"w{self.words}w"
        self.authors[word] = author
        return word

    def happen(self, kind: str, who: Guest, text: str = "", to: Guest | None = None) -> None:
        seq = 0
        if kind in {"said", "done"}:
            self.seq += 1
            seq = self.seq
        self.pending.append(Happened(kind, who, who.nick, text, to, who.receipts, seq))

    def go(self, guest: Guest, why: str) -> None:
        guest.talks = False
        del self.owners[guest.nick.lower()]
        self.happen("left", guest, why)

    def tell(self) -> None:
        """One turn: everything that has happened is one burst."""
        burst, self.pending = self.pending, []
        joins = [event for event in burst if event.kind == "joined"]
        leaves = [event for event in burst if event.kind == "left"]
        for guest in self.guests:
            if guest.present:
                for event in burst:
                    self.show(event, guest, joins, leaves)
        self.kept += [event for event in burst if event.seq]
        for event in burst:
            if event.kind in {"joined", "left"}:
                event.who.present = event.kind == "joined"
            if event.kind in {"joined", "renamed"}:
                event.who.told = event.text or event.nick
        for event in burst:
            if event.kind == "joined":
                self.arrive(event.who)
            elif event.kind == "left":
                event.who.gets(f" * Goodbye, {event.nick}.")

    def show(self, event: Happened, guest: Guest, joins: list[Happened], leaves: list[Happened]) -> None:
        own = event.who is guest
        hidden = not own and event.nick.lower() in guest.ignored
        if event.kind in {"said", "done"}:
            if own and event.receipt:
                guest.gets(f"-> #{event.seq}")
            elif not own and not hidden:
                guest.gets(self.stamp * guest.times + event.spoken())
        elif event.kind == "whispered":
            if event.to is guest and not hidden:
                guest.gets(f"[{event.nick}] {event.text}")
        elif event.kind == "renamed":
            if not own:
                guest.gets(f" * {event.nick} is now {event.text}.")
            if hidden:
                del guest.ignored[event.nick.lower()]
                guest.ignored[event.text.lower()] = event.text
        elif not guest.quiet and (line := self.passage(event, guest, joins, leaves)):
            guest.gets(line)

    def passage(self, event: Happened, guest: Guest, joins: list[Happened], leaves: list[Happened]) -> str:
        if event.kind == "joined":
            if len(joins) <= CROWD:
                return f" * {event.nick} joined."
            return f" * {len(joins)} people joined." * (event is joins[0])
        if len(leaves) <= CROWD:
            why = f": {event.text}" if event.text else "."
            return f" * {event.nick} left{why}" * (event.who is not guest)
        counted = event is leaves[-1] and all(leave.who is not guest for leave in leaves)
        return f" * {len(leaves)} people left." * counted

    def arrive(self, guest: Guest) -> None:
        others = [other.told for other in self.guests if other.present and other is not guest]
        if not others:
            company = "Nobody else is here."
        else:
            named = ", ".join(others[:20])
            more = f" and {len(others) - 20} more" if len(others) > 20 else ""
            company = f"{len(others)} {'other is' if len(others) == 1 else 'others are'} here: {named}{more}."
        guest.gets(f" * You are {guest.nick}. {company} /help lists the commands, quit leaves.")
        for event in self.kept[-REPLAY:]:
            guest.gets(self.stamp + event.spoken())
        guest.talks = True
        for word in guest.first:
            self.happen("said", guest, word)
        if guest.why is not None:
            self.go(guest, guest.why)

    # What people do

    def somebody(self, data: st.DataObject) -> Guest:
        return data.draw(st.sampled_from([guest for guest in self.guests if guest.talks]))

    def talking(self) -> bool:
        return any(guest.talks for guest in self.guests)

    @initialize(count=st.integers(1, 4))
    def some_are_here(self, count: int) -> None:
        for name in ("ann", "bob", "carol", "dave")[:count]:
            self.come(name, 0)
        self.everything_happens()

    @rule(name=st.sampled_from(NAMES), words=st.integers(0, 2))
    def come(self, name: str, words: int) -> None:
        person = self.world.connect()
        person.read()
        guest = Guest(person, name)
        if name.lower() in self.owners:
            person.put(f"{name}\n")
            assert person.read() == f"-> Error: {name} is taken.\r\nNickname: "
            person.put("quit\n")
            person.protocol.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
            return
        guest.first = [self.word(guest) for _ in range(words)]
        person.put(f"{name}\n" + "".join(f"{word}\r\n" for word in guest.first))
        self.guests.append(guest)
        self.owners[name.lower()] = guest
        self.happen("joined", guest)

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=6, max_size=12, unique_by=str.lower))
    def come_in_a_crowd(self, names: list[str]) -> None:
        for name in names:
            self.come(name, 0)

    @precondition(talking)
    @rule(data=st.data(), count=st.integers(1, 3))
    def say(self, data: st.DataObject, count: int) -> None:
        guest = self.somebody(data)
        words = [self.word(guest) for _ in range(count)]
        guest.person.put("".join(f"{word}\n" for word in words))
        for word in words:
            self.happen("said", guest, word)

    @precondition(talking)
    @rule(data=st.data())
    def emote(self, data: st.DataObject) -> None:
        guest = self.somebody(data)
        word = self.word(guest)
        guest.person.put(f"/me {word}\n")
        self.happen("done", guest, word)

    @precondition(talking)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def whisper(self, data: st.DataObject, name: str) -> None:
        guest = self.somebody(data)
        to = self.owners.get(name.lower())
        word = self.word(guest)
        guest.person.put(f"/msg {name} {word}\n")
        if to is None or not to.present:
            guest.gets(f"-> Error: {name} is not here.")
            return
        self.happen("whispered", guest, word, to)
        guest.gets(f"-> sent to {to.nick}, who is away: {to.away}" if to.away else f"-> sent to {to.nick}.")

    @precondition(talking)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def rename(self, data: st.DataObject, name: str) -> None:
        guest = self.somebody(data)
        guest.person.put(f"/nick {name}\n")
        if self.owners.get(name.lower(), guest) is not guest:
            guest.gets(f"-> Error: {name} is taken.")
            return
        if name != guest.nick:
            self.happen("renamed", guest, name)
            del self.owners[guest.nick.lower()]
            self.owners[name.lower()] = guest
            guest.nick = name
        guest.gets(f"-> You are {name}.")

    @precondition(talking)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def ignore(self, data: st.DataObject, name: str) -> None:
        # Who is meant by a name that is just changing hands, nobody can know.
        while any(event.kind == "renamed" for event in self.pending):
            self.a_turn()
        guest = self.somebody(data)
        guest.person.put(f"/ignore {name}\n")
        other = self.owners.get(name.lower())
        if other is guest:
            guest.gets("-> Error: you cannot ignore yourself.")
        elif other is None or not other.present:
            guest.gets(f"-> Error: {name} is not here.")
        else:
            guest.ignored[other.nick.lower()] = other.nick
            guest.gets(f"-> you ignore {other.nick}. /unignore {other.nick} ends that.")

    @precondition(lambda self: any(guest.talks and guest.ignored for guest in self.guests))
    @rule(data=st.data())
    def unignore(self, data: st.DataObject) -> None:
        while any(event.kind == "renamed" for event in self.pending):
            self.a_turn()
        guests = [guest for guest in self.guests if guest.talks and guest.ignored]
        assume(guests)
        guest = data.draw(st.sampled_from(guests))
        name = data.draw(st.sampled_from(sorted(guest.ignored)))
        guest.person.put(f"/unignore {name}\n")
        guest.gets(f"-> you no longer ignore {guest.ignored.pop(name)}.")

    @precondition(talking)
    @rule(data=st.data(), on=st.booleans())
    def toggle_quiet(self, data: st.DataObject, on: bool) -> None:
        guest = self.somebody(data)
        guest.person.put(f"/quiet {'on' if on else 'off'}\n")
        guest.quiet = on
        guest.gets(f"-> joins and leaves are {'off' if on else 'on'}.")

    @precondition(talking)
    @rule(data=st.data())
    def toggle_times(self, data: st.DataObject) -> None:
        guest = self.somebody(data)
        guest.person.put("/timestamp\n")
        guest.times = not guest.times
        guest.gets(f"-> timestamps are {'on' if guest.times else 'off'}.")

    @precondition(talking)
    @rule(data=st.data())
    def toggle_receipts(self, data: st.DataObject) -> None:
        guest = self.somebody(data)
        guest.person.put("/receipts\n")
        guest.receipts = not guest.receipts
        guest.gets(f"-> receipts are {'on' if guest.receipts else 'off'}.")

    @precondition(talking)
    @rule(data=st.data())
    def be_away(self, data: st.DataObject) -> None:
        guest = self.somebody(data)
        guest.person.put("/away lunch\n")
        guest.away = "lunch"
        guest.gets("-> You are away: lunch")

    @precondition(talking)
    @rule(data=st.data(), words=st.sampled_from(["quit", " EXIT ", "/quit", "/q tired"]))
    def quit(self, data: st.DataObject, words: str) -> None:
        guest = self.somebody(data)
        guest.person.put(f"{words}\nnever said\n")
        self.go(guest, "tired" if "tired" in words else "")

    def leave_by(self, guest: Guest, why: str) -> None:
        if guest.why is None and guest.nick.lower() in self.owners and self.owners[guest.nick.lower()] is guest:
            guest.why = why
            if guest.talks:
                self.go(guest, why)

    @precondition(lambda self: self.guests)
    @rule(data=st.data())
    def half_close(self, data: st.DataObject) -> None:
        guest = data.draw(st.sampled_from(self.guests))
        if guest.connected and not guest.person.transport.finished:
            guest.person.protocol.readConnectionLost()
            self.leave_by(guest, "")

    @precondition(lambda self: self.guests)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        guest = data.draw(st.sampled_from(self.guests))
        if guest.connected:
            self.compare(guest)
            guest.connected = False
            guest.person.protocol.connectionLost(Failure(ConnectionLost()))  # type: ignore[no-untyped-call]
            self.leave_by(guest, "connection lost")

    @rule()
    def a_turn(self) -> None:
        self.tell()
        self.world.turn()

    @rule()
    def everything_happens(self) -> None:
        while self.pending:
            self.a_turn()
        self.world.settle()

    # What must hold

    def compare(self, guest: Guest) -> None:
        got = guest.person.lines()
        assert len(got) == len(guest.expected), (got, guest.expected)
        for line, expected in zip(got, guest.expected, strict=True):
            assert line == expected
        guest.read += got
        guest.expected.clear()

    @invariant()
    def everybody_has_read_exactly_what_happened(self) -> None:
        for guest in self.guests:
            self.compare(guest)

    @invariant()
    def nicknames_are_unique(self) -> None:
        nicks = [guest.person.protocol.session.nick.lower() for guest in self.owners.values()]
        assert len(nicks) == len(set(nicks))
        assert nicks == list(self.owners)

    def teardown(self) -> None:
        try:
            self.everything_happens()
            for guest in self.guests:
                self.compare(guest)
                self.check_order(guest)
                self.check_balance(guest)
                if guest.connected and not guest.present:
                    assert guest.person.transport.finished
        finally:
            self.logging.__exit__(None, None, None)

    def check_order(self, guest: Guest) -> None:
        """Without the model: nothing twice, nothing of their own, each author's words in order."""
        latest: dict[int, int] = {}
        for line in guest.read:
            if (spoken := SPOKEN.fullmatch(line)) is not None:
                author, number = self.authors[spoken["word"]], int(spoken["word"][1:-1])
                assert author is not guest
                assert number > latest.get(id(author), 0)
                latest[id(author)] = number

    def check_balance(self, guest: Guest) -> None:
        """Without the model: who is here, by what somebody read, who saw every join and leave by name."""
        if not guest.read:
            return
        first, *rest = guest.read
        arrived = ARRIVED_LINE.fullmatch(first)
        assert arrived is not None
        here = {guest.nick, *(arrived["names"] or "").split(", ")} - {""}
        for line in rest:
            if " people " in line or line.startswith("-> joins and leaves are"):
                return
            spoken, passed = SPOKEN.fullmatch(line), PASSED.fullmatch(line)
            if spoken is not None and not spoken["at"]:
                assert spoken["nick"] in here
            if passed is None:
                continue
            if passed["new"]:
                here = here - {passed["nick"]} | {passed["new"]}
            elif passed["joined"]:
                here.add(passed["nick"])
            else:
                here.discard(passed["nick"])
        if guest.present and guest.connected:
            assert here - {guest.told} == {other.told for other in self.guests if other.present} - {guest.told}


def test_whatever_people_do_each_reads_exactly_what_happened_in_order_and_once() -> None:
    run_state_machine_as_test(
        PeopleInARoom,
        settings=settings(
            max_examples=1_000 if LONG else 100,
            stateful_step_count=100 if LONG else 40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
