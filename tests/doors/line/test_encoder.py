"""The words of PROTOCOL.md, as bytes: whole lines that end with CRLF, but for the prompt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from broadcast.core.events import (
    Announced,
    Answered,
    Arrived,
    Emoted,
    Event,
    Joined,
    Left,
    ManyJoined,
    ManyLeft,
    Marked,
    Noted,
    Notice,
    NotKept,
    Prompted,
    Recalled,
    Receipt,
    Refused,
    Renamed,
    Replayed,
    Running,
    Said,
    Welcomed,
    Whispered,
)
from broadcast.core.interfaces import View, Wire
from broadcast.doors.line.encoder import LineWire

NOW = datetime(2026, 1, 31, 14, 2, tzinfo=UTC).timestamp()
HI = Said(2, "bob", "hi", NOW, 12)
WAVES = Emoted(2, "bob", "waves", NOW, 13)
PASSAGES: list[Event] = [Joined(2, "bob"), Left(2, "bob"), Left(2, "bob", "tired"), ManyJoined(214), ManyLeft(6)]


def wire(*, times: bool = False, quiet: bool = False) -> Wire:
    return LineWire(View(times=times, quiet=quiet), lambda: NOW, UTC)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (HI, "bob: hi"),
        (Said(2, "bob", " * ann left.", NOW), "bob:  * ann left."),
        (WAVES, "** bob waves"),
        (Joined(2, "bob"), " * bob joined."),
        (Left(2, "bob"), " * bob left."),
        (Left(2, "bob", "tired"), " * bob left: tired"),
        (Left(2, "bob", "connection lost"), " * bob left: connection lost"),
        (ManyJoined(214), " * 214 people joined."),
        (ManyLeft(6), " * 6 people left."),
        (Renamed(2, "bob", "rob"), " * bob is now rob."),
        (Announced("The server is going down."), " * The server is going down."),
        (Whispered(2, "bob", 1, "psst"), "[bob] psst"),
        (NotKept(HI, "the disk is full"), "-> Error: not kept: the disk is full"),
        (Receipt(1207), "-> #1207"),
        (Answered("pong"), "-> pong"),
        (Refused("bob is taken."), "-> Error: bob is taken."),
        (Noted("Goodbye, ann."), " * Goodbye, ann."),
        (Recalled(HI), "-> #12 [14:02] bob: hi"),
        (Recalled(WAVES), "-> #13 [14:02] ** bob waves"),
        (Replayed(HI), "[14:02] bob: hi"),
        (Replayed(WAVES), "[14:02] ** bob waves"),
        (Running(NOW - 86400, 1, 2), "-> up since 2026-01-30 14:02, 1 person, 2 lines."),
        (Running(NOW, 2, 1), "-> up since 2026-01-31 14:02, 2 people, 1 line."),
        (Welcomed("Broadcast", ()), "Welcome to Broadcast."),
        (Welcomed("Broadcast", ("Be kind.", "")), "Welcome to Broadcast.\r\nBe kind.\r\n"),
        (Said(2, "bob", "héllo ✓ \U0001f600", NOW), "bob: héllo ✓ \U0001f600"),
    ],
)
def test_an_event_is_a_line(event: Event | Notice, line: str) -> None:
    assert wire().encode(event) == (line + "\r\n").encode()


@pytest.mark.parametrize(
    ("named", "others", "company"),
    [
        ((), 0, "Nobody else is here."),
        (("bob",), 1, "1 other is here: bob."),
        (("bob", "carol"), 2, "2 others are here: bob, carol."),
        (("bob", "carol"), 216, "216 others are here: bob, carol and 214 more."),
    ],
)
def test_who_arrives_is_told_who_is_here(named: tuple[str, ...], others: int, company: str) -> None:
    line = f" * You are ann. {company} /help lists the commands, quit leaves.\r\n"
    assert wire().encode(Arrived("ann", named, others)) == line.encode()


def test_a_prompt_has_one_blank_behind_it_and_no_line_end() -> None:
    assert wire().encode(Prompted("Nickname:")) == b"Nickname: "


def test_a_mark_shows_to_nobody() -> None:
    assert wire().encode(Marked()) == b""


@pytest.mark.parametrize("event", [HI, WAVES])
def test_with_times_a_kept_line_shows_its_own(event: Said | Emoted) -> None:
    assert wire(times=True).encode(event) == b"[14:02] " + wire().encode(event)


@pytest.mark.parametrize("event", [*PASSAGES, Renamed(2, "bob", "rob"), Whispered(2, "bob", 1, "psst"), Replayed(HI)])
def test_with_times_everything_else_is_as_without(event: Event | Notice) -> None:
    assert wire(times=True).encode(event) == wire().encode(event)


@pytest.mark.parametrize("event", PASSAGES)
def test_the_quiet_do_not_see_joins_and_leaves(event: Event) -> None:
    assert wire(quiet=True).encode(event) == b""


@pytest.mark.parametrize(
    "event", [HI, WAVES, Renamed(2, "bob", "rob"), Announced("tea"), Whispered(2, "bob", 1, "psst")]
)
def test_the_quiet_see_everything_else(event: Event) -> None:
    assert wire(quiet=True).encode(event) == wire().encode(event)


@pytest.mark.parametrize(
    ("hours", "then", "shown"),
    [
        (0, NOW - 14 * 3600 - 120, b"[00:00] bob: hi\r\n"),
        (0, NOW - 14 * 3600 - 121, b"[2026-01-30 23:59] bob: hi\r\n"),
        (0, NOW + 86400, b"[2026-02-01 14:02] bob: hi\r\n"),
        (10, NOW - 120, b"[00:00] bob: hi\r\n"),
        (10, NOW - 121, b"[2026-01-31 23:59] bob: hi\r\n"),
    ],
)
def test_a_line_of_another_day_where_the_server_is_shows_its_date(hours: int, then: float, shown: bytes) -> None:
    zone = timezone(timedelta(hours=hours))
    assert LineWire(View(), lambda: NOW, zone).encode(Replayed(Said(2, "bob", "hi", then))) == shown


def test_without_a_zone_it_is_the_machines_own() -> None:
    local = datetime.fromtimestamp(NOW).astimezone().strftime("%H:%M")
    assert LineWire(View(), lambda: NOW).encode(Replayed(HI)) == f"[{local}] bob: hi\r\n".encode()
