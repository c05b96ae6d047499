"""Properties of every input of the line door, and of what the server holds and remembers.

``BROADCAST_LONG=1`` tries many more examples.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from unicodedata import category, is_normalized

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.harness import DirectWorld, World, logged

LONG = bool(os.environ.get("BROADCAST_LONG"))
EXAMPLES = settings(max_examples=2_000 if LONG else 100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
COMMANDS = [
    b"/help", b"/help msg", b"/names", b"/nick rob", b"/nick ann", b"/me waves", b"/say quit", b"/say",
    b"/msg ann psst", b"/msg bob me", b"/r hm", b"/history", b"/history 3", b"/history #1-#2", b"/timestamp", b"/quiet",
    b"/ignore ann", b"/unignore ann", b"/away", b"/away lunch", b"/back", b"/ping", b"/version", b"/motd",
    b"//x", b"/", b"/x", b"quit", b"/quit tired",
]  # fmt: skip
TELNET = [
    b"\xff", b"\xff\xff", b"\xff\xfd\x06", b"\xff\xfb\x1f", b"\xff\xfe", b"\xff\xfa\x1f", b"\xff\xf0", b"\xff\xf6",
    b"\xff\xf4", b"\xff\xf7", b"\xff\xf8", b"\xff\xf1", b"\xff\xec",
]  # fmt: skip
NASTY = [
    b"\0", b"\x1b[2J", b"\x07", b"\t", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xe2\x81\xa6", b"\xef\xbb\xbf",
    b"\xc2\x9b", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80", b"\xe2\x82", b"x" + b"\xcc\x81" * 12, b"y" * 600,
    b"z" * 4097, "\u0390\u0344".encode(), b"GET / HTTP/1.1", b"SSH-2.0-x", b"\x16\x03\x01",
]  # fmt: skip
KEYS = [
    b"\b", b"\x7f", b"\x7f" * 20, b"\x15", b"\x17", b"\x04", b"\x1b", b"\x1b[A", b"\x1b[3~", b"\x1bOP", b"\x1b[200~",
    b"\x1b[201~", b"\x1b[1;", b"\x1b]0;title", b"\x1b]8;;x\x1b\\", b"\x1bP1", b"\x1b_", b"\x1b\\", b"\xc2\x9d",
    b"\xc2\x9c", b"\xc2\x9b2J", "👩\u200d💻".encode(), "🇩🇪".encode(), "1\ufe0f\u20e3".encode(), "👋🏽".encode(),
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f".encode(), "🏴\U000e0067\U000e0062".encode(),
]  # fmt: skip
ENDS = [b"\r\n", b"\n", b"\r", b"\r\0"]
TEXTS = st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass"))
PIECES = st.one_of(
    st.sampled_from(ENDS),
    st.builds(bytes.__add__, st.sampled_from(COMMANDS), st.sampled_from(ENDS)),
    st.sampled_from([*TELNET, *NASTY]),
    st.sampled_from(KEYS),
    TEXTS,
    st.binary(max_size=8),
)
INPUTS = st.builds(
    bytes.__add__, st.sampled_from([b"", b"bob\r\n", b"bob\r\n"]), st.lists(PIECES, max_size=20).map(b"".join)
)
RANDOM = st.builds(bytes.__add__, st.sampled_from([b"", b"bob\r\n"]), st.binary(max_size=300))
ERASING = b"\b\x7f\x15\x17"
LINES = (st.binary(max_size=40) | TEXTS | st.lists(st.sampled_from(NASTY + KEYS), max_size=6).map(b"".join)).map(
    lambda line: line.translate(None, b"\r\n\xff" + ERASING)
)

NICK = r"[A-Za-z0-9_.-]{1,24}"
SAID = rf"(\[\d\d:\d\d\] )?({NICK}: |\*\* {NICK} ).+|\[{NICK}\] .+"
DOCUMENTED = re.compile(
    rf"(Nickname: )*(Welcome to Broadcast\. Type a nickname and press Enter\.| \* .+|-> .+|\[yes\]|{SAID})\r\n"
)


def outputs(data: bytes, cuts: Sequence[int] = (), *, turns: bool = False) -> tuple[bytes, bytes]:
    """Return what a newcomer that sends *data* reads, and what another client reads.

    *cuts* are the ends of the chunks. With *turns*, each chunk has its own turn of the reactor.
    """
    with logged():
        world = World()
        (ann,) = world.join("ann")
        ann.say("said before")
        newcomer = world.connect()
        if turns:
            for start, end in pairwise([0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]):
                newcomer.send(data[start:end])
        else:
            newcomer.send(data, cuts)
        if newcomer.transport.finished:
            newcomer.hang_up()
        else:
            newcomer.end_input()
        return bytes(newcomer.transport.sent), bytes(ann.transport.sent)


@EXAMPLES
@given(INPUTS, st.lists(st.integers(1, 300), max_size=12))
@example(b"bob\r\n/ping\r\n\xff\xf6/ping\r\n", [12])
@example(b"bob\r\n" + b"x" * 4096 + b"\xff\xff", [4102])
def test_output_does_not_depend_on_how_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    whole = outputs(data)
    assert outputs(data, cuts) == whole
    assert outputs(data, range(len(data))) == whole
    assert outputs(data, cuts, turns=True)[1] == whole[1]


@EXAMPLES
@given(INPUTS | RANDOM)
@example(b"\r\nSSH-2.0-x\r\n\xff\xff")
@example("bob\r\n/help \u0390\u0301\r\n".encode())
def test_any_bytes_lead_to_documented_safe_output_and_no_error(data: bytes) -> None:
    for output in outputs(data):
        text = re.sub(rb"\xff[\xfc\xfe].", b"", output, flags=re.DOTALL).decode()  # without answers to telnet options
        assert not DOCUMENTED.sub("", text)
        shown = text.replace("\r\n", "")
        assert not {character for character in shown if category(character) in {"Cc", "Cs", "Zl", "Zp"}}
        assert not set(shown) & BIDI
        assert is_normalized("NFC", text)


@EXAMPLES
@given(LINES, st.sampled_from(ENDS), st.sampled_from([b"x", b"/say x", b"//", b"/me x", b"/msg ann x"]))
def test_one_line_of_input_is_one_line_for_every_subscriber(line: bytes, end: bytes, how: bytes) -> None:
    assume(len(line) < 4000)
    with logged():
        ann, bob, carol = World().join("ann", "bob", "carol")
        carol.say("/timestamp on")
        carol.read()
        bob.send(how + line + end)
        for subscriber in [ann] if how.startswith(b"/msg") else [ann, carol]:
            (shown,) = subscriber.lines()
            assert "bob" in shown
            assert not set(shown) & set("\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")


@EXAMPLES
@given(LINES)
def test_line_that_was_read_and_is_said_again_arrives_the_same(line: bytes) -> None:
    with logged():
        ann, bob = World().join("ann", "bob")
        bob.send(b"/say " + line + b"\n")
        first = ann.read()
        assume(len(first.encode()) < 4000)
        bob.send("/say " + first.removeprefix("bob: "))
        assert ann.read() == first


HELD_BYTES: dict[type[World], int] = {DirectWorld: 64 * 1024 + 16 * (4096 + 64) + 64 * 1024 + 4096}
"""The private queue; one page of a history, which may be queued before it is full; private lines on their way (64 Ki
characters); the rest of a line that the socket took in part. No line here is longer than 4,096 bytes."""
HELD_BYTES[World] = HELD_BYTES[DirectWorld] + 128 * 1024 + 4096
"""In addition: the bytes that a transport takes before it asks for a pause, and one line."""
REQUESTS = ["/help", "/names", "/history", "/history 1000", "/ping", "/receipts on", "/receipts off", "/timestamp",
            "x", "y" * 4090, *(f"/msg p{to} " + "z" * 4000 for to in range(4))]  # fmt: skip


@settings(max_examples=400 if LONG else 40)
@given(
    st.sampled_from([World, DirectWorld]),
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(REQUESTS), st.integers(1, 60))
        | st.tuples(st.integers(0, 3), st.just(""), st.sampled_from([0, 1, 5000, 100_000])),
        max_size=30,
    ),
)
def test_held_bytes_of_a_client_never_exceed_the_cap(kind: type[World], steps: Sequence[tuple[int, str, int]]) -> None:
    """Each step: a client types a line so many times, or reads so many bytes (no line)."""
    world = kind()
    people = world.join(*(f"p{number}" for number in range(4)))

    def held() -> list[int]:
        return [len(person.transport.held) + person.protocol.peer._subscriber._queue.size for person in people]

    for number, line, times in steps:
        if not line:
            people[number].transport.take_again(times)
        elif people[number].transport.reading:
            people[number].put(f"{line}\r\n" * times)
        assert max(held()) <= HELD_BYTES[kind]
        while world.turn():
            assert max(held()) <= HELD_BYTES[kind]
    for _ in range(100):
        for person in people:
            person.transport.take_again()
        world.settle()
    assert held() == [0] * 4
    assert all(person.transport.reading for person in people)


@settings(max_examples=500 if LONG else 50)
@given(
    st.sampled_from([World, DirectWorld]),
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["", "/me ", "//", "/say "]), st.text("ab /é\t\x1b", min_size=1)),
        max_size=60,
    ),
)
def test_history_equals_what_a_prompt_subscriber_has_read(
    kind: type[World], steps: Sequence[tuple[int, str, str]]
) -> None:
    world = kind()
    watcher, *people = world.join("watcher", "p0", "p1", "p2")
    watcher.say("/timestamp on")
    watcher.read()
    people[2].transport.takes = False  # a slow subscriber makes no difference
    for number, how, text in steps:
        people[number].put(f"{how}{text}\r\n")
        if len(text) % 2:
            world.settle()
    world.settle()
    seen = watcher.lines()
    assert len(seen) == world.hub.lobby.last_seq
    if seen:
        watcher.say(f"/history #1-#{len(seen)}")
        assert watcher.lines() == [f"-> #{number} {line}" for number, line in enumerate(seen, 1)]
