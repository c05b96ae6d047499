"""The cases of Autobahn's test suite for WebSocket servers, as a table. Each case has Autobahn's number.

Autobahn's server echoes each message. Here, a message is a request, and its answer has the same id. Messages that only
differ in their size, and those of compression, are left out: the server accepts no extension, and limits messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from broadcast.doors.jsonrpc.messages import MAX_REQUEST_BYTES
from broadcast.doors.web.frames import MAX_MESSAGE_BYTES
from tests.doors.web.websockets import frame, text

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Case(NamedTuple):
    """The input of a client, and what it receives."""

    name: str
    sent: bytes
    answers: list[int]
    """The ids of the requests that are answered."""
    pongs: Sequence[bytes] = ()
    """The payloads of the pongs."""
    close: int | None = None
    """The code of the close frame, 1005 if it has none; None if the WebSocket stays open."""


def request(id_: int, member: bytes = b"", size: int = 0) -> bytes:
    """Return a request, with *member* as the text of a member that the server ignores, of at least *size* bytes."""
    start, end = b'{"jsonrpc":"2.0","id":%d,"method":"ping","member":"%s' % (id_, member), b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


def fragments(parts: list[bytes], between: bytes = b"") -> bytes:
    """Return a message in *parts*, with other frames *between* each two of them."""
    last = len(parts) - 1
    frames = [frame(CONT if index else TEXT, part, fin=index == last) for index, part in enumerate(parts)]
    return between.join(frames)


def cut(data: bytes, size: int) -> list[bytes]:
    """Return *data* in parts of *size* bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def closing(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def framing() -> Iterator[Case]:
    for number, size in enumerate((0, 125, 126, 127, 128, MAX_REQUEST_BYTES), 1):
        yield Case(f"1.1.{number}", text(request(1, size=size)), [1])
    yield Case("1.1.1 empty", text(b"") + text(request(1)), [1])
    yield Case("1.1.7", text(b"\n".join(request(id_, size=13106) for id_ in range(1, 6))), [1, 2, 3, 4, 5])
    for number, size in enumerate((0, 125, 126, 127, 128, 65535), 1):
        yield Case(f"1.2.{number}", text(request(1)) + frame(BINARY, bytes(size)) + text(request(2)), [1], close=1003)
    yield Case("1.2.7", frame(BINARY, b"x", fin=False), [], close=1003)
    yield Case("1 long form of a short length", text(request(1), size=126) + text(request(2), size=127), [1, 2])
    yield Case("1 without a mask", text(request(1)) + text(request(2), mask=None), [1], close=1002)
    yield Case("1 mask of zeros", text(request(1), mask=bytes(4)), [1])


def pings() -> Iterator[Case]:
    for name, payload in (
        ("2.1", b""),
        ("2.2", b"Hello, world!"),
        ("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        ("2.4", b"\xfe" * 125),
    ):
        yield Case(name, frame(PING, payload), [], [payload])
    yield Case("2.5", frame(PING, b"\xfe" * 126), [], close=1002)
    yield Case("2.7", frame(PONG) + text(request(1)), [1])
    yield Case("2.8", frame(PONG, b"unsolicited") + text(request(1)), [1])
    yield Case("2.9", frame(PONG, b"unsolicited") + frame(PING, b"ping"), [], [b"ping"])
    payloads = [b"payload-%d" % number for number in range(10)]
    yield Case("2.10", b"".join(frame(PING, payload) for payload in payloads), [], payloads)


def reserved_bits() -> Iterator[Case]:
    yield Case("3.1", text(request(1), rsv=1), [], close=1002)
    for name, rsv in (("3.2", 2), ("3.3", 3), ("3.4", 4)):
        sent = text(request(1)) + text(request(2), rsv=rsv) + frame(PING)
        yield Case(name, sent, [1], close=1002)
    yield Case("3.5", frame(BINARY, b"\x00\xff", rsv=5), [], close=1002)
    yield Case("3.6", frame(PING, b"Hello", rsv=6), [], close=1002)
    yield Case("3.7", frame(CLOSE, rsv=7), [], close=1002)


def opcodes() -> Iterator[Case]:
    for number, opcode in enumerate((3, 4, 5, 6, 7), 1):
        bad = frame(opcode, b"" if number == 1 else b"payload") + frame(PING)
        yield Case(f"4.1.{number}", text(request(1)) * (number > 2) + bad, [1] * (number > 2), close=1002)
    for number, opcode in enumerate((11, 12, 13, 14, 15), 1):
        bad = frame(opcode, b"" if number == 1 else b"payload") + frame(PING)
        yield Case(f"4.2.{number}", text(request(1)) * (number > 2) + bad, [1] * (number > 2), close=1002)


def fragmentation() -> Iterator[Case]:
    two = cut(request(1), 30)
    yield Case("5.1", frame(PING, b"a", fin=False) + frame(CONT, b"b"), [], close=1002)
    yield Case("5.2", frame(PONG, b"a", fin=False) + frame(CONT, b"b"), [], close=1002)
    yield Case("5.3", fragments(two), [1])
    yield Case("5.6", fragments(two, frame(PING, b"ping")), [1], [b"ping"] * (len(two) - 1))
    yield Case("5.9", frame(CONT, b"nothing to continue") + text(request(1)), [], close=1002)
    yield Case("5.12", frame(CONT, b"nothing to continue", fin=False) + text(request(1)), [], close=1002)
    yield Case("5.15", fragments(two) + frame(CONT, b"x", fin=False) + text(request(2)), [1], close=1002)
    no_start = frame(CONT, b"x", fin=False) + text(request(1))
    yield Case("5.16", no_start * 2, [], close=1002)
    yield Case("5.17", (frame(CONT, b"x") + text(request(1))) * 2, [], close=1002)
    yield Case("5.18", frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), [], close=1002)
    five = cut(request(1), 12)
    yield Case("5.19", fragments(five, frame(PING, b"pong me")), [1], [b"pong me"] * (len(five) - 1))
    yield Case("5 binary within a message", frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), [], close=1002)
    yield Case("5 each byte", fragments(cut(request(1), 1)), [1])


def utf8() -> Iterator[Case]:
    yield Case("6.1.1", text(b"") + text(request(1)), [1])
    yield Case("6.1.2", fragments([b"", b"", b""]) + text(request(1)), [1])
    yield Case("6.1.3", fragments([b"", request(1), b""]), [1])
    greek = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    yield Case("6.2.1", text(request(1, greek)), [1])
    yield Case("6.2.2", fragments([request(1, greek)[:-20], request(1, greek)[-20:]]), [1])
    yield Case("6.2.3", fragments(cut(request(1, greek), 1)), [1])
    kosme = "κόσμε".encode()
    yield Case("6.2.4", fragments(cut(request(1, kosme), 1)), [1])
    invalid = kosme + b"\xed\xa0\x80edited"
    yield Case("6.3.1", text(request(1, invalid)), [], close=1007)
    yield Case("6.3.2", fragments(cut(request(1, invalid), 1)), [], close=1007)
    # The message has no end: the fragment alone is the reason.
    yield Case("6.4.1", frame(TEXT, kosme + b"\xf4\x90\x80\x80", fin=False), [], close=1007)
    yield Case("6.4.2", frame(TEXT, kosme + b"\xf4", fin=False) + frame(CONT, b"\x90", fin=False), [], close=1007)
    yield Case("6 cut off", text(request(1)[:-2] + b"\xce"), [], close=1007)
    valid = [
        "6.5 κόσμε", "6.6 κ", "6.7 \u0080", "6.7 \u0800", "6.7 \U00010000", "6.9 \u007f", "6.9 \u07ff", "6.9 \uffff",
        "6.9 \U0010ffff", "6.11 \ud7ff", "6.11 \ue000", "6.11 \ufffd", "6.23 \ufffe", "6.23 \ufdd0", "6.23 \U0001fffe",
    ]  # fmt: skip
    for name in valid:
        number, _, sample = name.partition(" ")
        yield Case(f"{number} {sample.encode().hex()}", text(request(1, sample.encode())), [1])
    for name, sequences in (
        ("6.6 unfinished", "ce cebae1 cebae1bd f0 f090 f09080"),
        ("6.8 five and six bytes", "f888808080 fc8480808080"),
        ("6.10 above U+10FFFF", "f7bfbfbf f4908080 fbbfbfbfbf fdbfbfbfbfbf"),
        ("6.12 continuation", "80 bf 80bf 80bf80 80bf80bf"),
        ("6.13 lonely start", "c020 df20 e020 ef20 f020 f720 f820 fb20 fc20 fd20"),
        ("6.14 last byte missing", "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf"),
        ("6.16 impossible bytes", "fe ff fefeffff"),
        ("6.17 overlong", "c0af e080af f08080af f8808080af fc80808080af"),
        ("6.18 overlong", "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf"),
        ("6.19 overlong NUL", "c080 e08080 f0808080 f880808080 fc8080808080"),
        ("6.20 surrogates", "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf"),
        ("6.21 pairs of surrogates", "eda080edb080 edadbfedbfbf edaf80edb080"),
    ):
        for sequence in sequences.split():
            yield Case(f"{name} {sequence}", text(request(1, bytes.fromhex(sequence))), [], close=1007)


def closes() -> Iterator[Case]:
    yield Case("7.1.1", text(request(1)) + frame(CLOSE), [1], close=1005)
    yield Case("7.1.2", closing(1000) + closing(1000), [], close=1000)
    yield Case("7.1.3", closing(1000) + frame(PING), [], close=1000)
    yield Case("7.1.4", closing(1000) + text(request(1)), [], close=1000)
    yield Case("7.1.5", frame(TEXT, b"{", fin=False) + closing(1000) + frame(CONT, b"}"), [], close=1002)
    yield Case("7.1.6", text(bytes(256 * 1024)) + closing(1000) + frame(PING), [], close=1009)
    yield Case("7.3.1", frame(CLOSE), [], close=1005)
    yield Case("7.3.2", frame(CLOSE, b"a"), [], close=1002)
    yield Case("7.3.3", closing(1000), [], close=1000)
    yield Case("7.3.4", closing(1000, b"Hello World!"), [], close=1000)
    yield Case("7.3.5", closing(1000, b"*" * 123), [], close=1000)
    yield Case("7.3.6", closing(1000, b"*" * 124), [], close=1002)
    yield Case("7.5.1", closing(1000, "κόσμε".encode() + b"\xed\xa0\x80edited"), [], close=1007)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield Case(f"7.7 {code}", closing(code), [], close=code)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
        yield Case(f"7.9 {code}", closing(code), [], close=1002)


def limits() -> Iterator[Case]:
    lines = b"\n".join(request(id_, size=13106) for id_ in range(1, 6))
    full = lines + b" " * (MAX_MESSAGE_BYTES - len(lines))
    yield Case("9.1.1", text(full), [1, 2, 3, 4, 5])
    yield Case("9.1.2", text(request(1)) + text(full + b" "), [1], close=1009)
    header = frame(TEXT, mask=None)[:1] + b"\xff" + (1 << 63).to_bytes(8, "big")
    yield Case("9.1 header alone", header, [], close=1009)
    for number, size in enumerate((64, 256, 1024, 4096, 16384), 1):
        yield Case(f"9.3.{number}", fragments(cut(full, size)), [1, 2, 3, 4, 5])
        yield Case(f"9.3.{number} too long", fragments(cut(full + b"  ", size)), [], close=1009)
    nearly = cut(full, MAX_MESSAGE_BYTES - 10)
    yield Case("9 ping in a full message", fragments(nearly, frame(PING, b"x" * 125)), [1, 2, 3, 4, 5], [b"x" * 125])
    yield Case("9.7", b"".join(text(request(id_)) for id_ in range(1000)), list(range(1000)))
    empty = frame(TEXT, fin=False) + frame(CONT, fin=False) * 2000
    yield Case("9 empty fragments", empty + frame(CONT, request(1)), [1])
    yield Case("10.1.1", fragments(cut(full, 1300)), [1, 2, 3, 4, 5])


CASES: Final = [
    *framing(),
    *pings(),
    *reserved_bits(),
    *opcodes(),
    *fragmentation(),
    *utf8(),
    *closes(),
    *limits(),
]
