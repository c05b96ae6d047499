"""The words of PROTOCOL.md, as bytes: whole lines that end with CRLF, but for the prompt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from broadcast.core.events import (
    Action,
    Announced,
    Barrier,
    CommandReply,
    ErrorReply,
    Event,
    HistoryLine,
    JoinConfirmed,
    JoinCount,
    Joined,
    LeaveCount,
    Left,
    Message,
    Notice,
    PrivateMessage,
    Prompt,
    Receipt,
    Renamed,
    ReplayLine,
    ServerNotice,
    StoreFailed,
    Uptime,
    Welcome,
)
from broadcast.core.interfaces import Encoder, View
from broadcast.doors.line.encoder import LineEncoder

NOW = datetime(2026, 1, 31, 14, 2, tzinfo=UTC).timestamp()
HI = Message(2, "bob", "hi", NOW, 12)
WAVES = Action(2, "bob", "waves", NOW, 13)
PASSAGES: list[Event] = [Joined(2, "bob"), Left(2, "bob"), Left(2, "bob", "tired"), JoinCount(214), LeaveCount(6)]


def wire(*, times: bool = False, quiet: bool = False) -> Encoder:
    return LineEncoder(View(times=times, quiet=quiet), lambda: NOW, UTC)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (HI, "bob: hi"),
        (Message(2, "bob", " * ann left.", NOW), "bob:  * ann left."),
        (WAVES, "** bob waves"),
        (Joined(2, "bob"), " * bob joined."),
        (Left(2, "bob"), " * bob left."),
        (Left(2, "bob", "tired"), " * bob left: tired"),
        (Left(2, "bob", "connection lost"), " * bob left: connection lost"),
        (JoinCount(214), " * 214 people joined."),
        (LeaveCount(6), " * 6 people left."),
        (Renamed(2, "bob", "rob"), " * bob is now rob."),
        (Announced("The server is going down."), " * The server is going down."),
        (PrivateMessage(2, "bob", 1, "psst"), "[bob] psst"),
        (StoreFailed(HI, "the disk is full"), "-> Error: not kept: the disk is full"),
        (Receipt(1207), "-> #1207"),
        (CommandReply("pong"), "-> pong"),
        (ErrorReply("bob is taken."), "-> Error: bob is taken."),
        (ServerNotice("Goodbye, ann."), " * Goodbye, ann."),
        (HistoryLine(HI), "-> #12 [14:02] bob: hi"),
        (HistoryLine(WAVES), "-> #13 [14:02] ** bob waves"),
        (ReplayLine(HI), "[14:02] bob: hi"),
        (ReplayLine(WAVES), "[14:02] ** bob waves"),
        (Uptime(NOW - 86400, 1, 2), "-> up since 2026-01-30 14:02, 1 person, 2 lines."),
        (Uptime(NOW, 2, 1), "-> up since 2026-01-31 14:02, 2 people, 1 line."),
        (Welcome("Broadcast", ()), "Welcome to Broadcast."),
        (Welcome("Broadcast", ("Be kind.", "")), "Welcome to Broadcast.\r\nBe kind.\r\n"),
        (Message(2, "bob", "héllo ✓ \U0001f600", NOW), "bob: héllo ✓ \U0001f600"),
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
    assert wire().encode(JoinConfirmed("ann", named, others)) == line.encode()


def test_a_prompt_has_one_blank_behind_it_and_no_line_end() -> None:
    assert wire().encode(Prompt("Nickname:")) == b"Nickname: "


def test_a_mark_shows_to_nobody() -> None:
    assert wire().encode(Barrier()) == b""


@pytest.mark.parametrize("event", [HI, WAVES])
def test_with_times_a_kept_line_shows_its_own(event: Message | Action) -> None:
    assert wire(times=True).encode(event) == b"[14:02] " + wire().encode(event)


@pytest.mark.parametrize(
    "event", [*PASSAGES, Renamed(2, "bob", "rob"), PrivateMessage(2, "bob", 1, "psst"), ReplayLine(HI)]
)
def test_with_times_everything_else_is_as_without(event: Event | Notice) -> None:
    assert wire(times=True).encode(event) == wire().encode(event)


@pytest.mark.parametrize("event", PASSAGES)
def test_the_quiet_do_not_see_joins_and_leaves(event: Event) -> None:
    assert wire(quiet=True).encode(event) == b""


@pytest.mark.parametrize(
    "event", [HI, WAVES, Renamed(2, "bob", "rob"), Announced("tea"), PrivateMessage(2, "bob", 1, "psst")]
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
    assert LineEncoder(View(), lambda: NOW, zone).encode(ReplayLine(Message(2, "bob", "hi", then))) == shown


def test_without_a_zone_it_is_the_machines_own() -> None:
    local = datetime.fromtimestamp(NOW).astimezone().strftime("%H:%M")
    assert LineEncoder(View(), lambda: NOW).encode(ReplayLine(HI)) == f"[{local}] bob: hi\r\n".encode()
