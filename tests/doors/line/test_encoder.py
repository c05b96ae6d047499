"""The line encoder: an event is a whole line that ends with CRLF, except for the prompt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from broadcast.core.events import (
    Action,
    Announced,
    AwayChanged,
    Barrier,
    CommandReply,
    ErrorReply,
    Event,
    FileInfo,
    Gap,
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
    Shared,
    StoreFailed,
    TopicChanged,
    Uptime,
    Welcome,
)
from broadcast.core.interfaces import View
from broadcast.doors.line.encoder import MAX_TIME_TEXTS, LineEncoder

NOW = datetime(2026, 1, 31, 14, 2, tzinfo=UTC).timestamp()
HI = Message(2, "bob", "hi", NOW, 12)
WAVES = Action(2, "bob", "waves", NOW, 13)
FILE = FileInfo("k3x", "report.pdf", 1_234_567, "application/pdf", "ab" * 32)
SHARED = Shared(2, "bob", FILE, NOW, 14)
URL = "http://host:8080/files/k3x/report.pdf"
PASSAGES: list[Event] = [Joined(2, "bob"), Left(2, "bob"), Left(2, "bob", "tired"), JoinCount(214), LeaveCount(6)]
OTHERS: list[Event] = [Renamed(2, "bob", "rob"), Announced("tea"), PrivateMessage(2, "bob", 1, "psst")]


def encode(event: Event | Notice, *, times: bool = False, quiet: bool = False) -> bytes:
    """Return the bytes of *event* in a view."""
    return LineEncoder(View(times=times, quiet=quiet), lambda: NOW, UTC, lambda file: URL * bool(file.size)).encode(
        event
    )


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
        (TopicChanged(2, "bob", "what to eat"), " * bob set the topic: what to eat"),
        (TopicChanged(2, "bob", ""), " * bob removed the topic."),
        (Announced("The server is going down."), " * The server is going down."),
        (PrivateMessage(2, "bob", 1, "psst"), "[bob] psst"),
        (StoreFailed(HI, "the disk is full"), "-> Error: not kept: the disk is full"),
        (Receipt(1207), "-> #1207"),
        (CommandReply("pong"), "-> pong"),
        (ErrorReply("bob is taken."), "-> Error: bob is taken."),
        (ServerNotice("Goodbye, ann."), " * Goodbye, ann."),
        (HistoryLine(HI), "-> #12 [14:02] bob: hi"),
        (HistoryLine(WAVES), "-> #13 [14:02] ** bob waves"),
        (SHARED, f" * bob shared report.pdf (1.2 MB): {URL}"),
        (HistoryLine(SHARED), f"-> #14 [14:02] * bob shared report.pdf (1.2 MB): {URL}"),
        (ReplayLine(SHARED), f"[14:02] * bob shared report.pdf (1.2 MB): {URL}"),
        (Shared(2, "bob", replace(FILE, size=0), NOW), " * bob shared report.pdf (0 bytes): no longer there"),
        (ReplayLine(HI), "[14:02] bob: hi"),
        (ReplayLine(WAVES), "[14:02] ** bob waves"),
        (Uptime(NOW - 86400, 1, 2), "-> up since 2026-01-30 14:02, 1 person, 2 lines."),
        (Uptime(NOW, 2, 1), "-> up since 2026-01-31 14:02, 2 people, 1 line."),
        (Welcome("Broadcast", ()), "Welcome to Broadcast. Type a nickname and press Enter."),
        (
            Welcome("Broadcast", ("Be kind.", "")),
            "Welcome to Broadcast. Type a nickname and press Enter.\r\nBe kind.\r\n",
        ),
        (Message(2, "bob", "héllo ✓ \U0001f600", NOW), "bob: héllo ✓ \U0001f600"),
        *(
            (JoinConfirmed("ann", nicks, others), f" * You are ann. {company} /help lists the commands, quit leaves.")
            for nicks, others, company in [
                ((), 0, "Nobody else is here."),
                (("bob",), 1, "1 other is here: bob."),
                (("bob", "carol"), 2, "2 others are here: bob, carol."),
                (("bob", "carol"), 216, "216 others are here: bob, carol and 214 more."),
            ]
        ),
    ],
)
def test_event_is_a_line(event: Event | Notice, line: str) -> None:
    assert encode(event) == (line + "\r\n").encode()


def test_prompt_has_no_line_end_and_barrier_and_away_have_no_bytes() -> None:
    assert encode(Prompt("Nickname:")) == b"Nickname: "
    assert encode(Barrier()) == encode(AwayChanged(2, "bob", away=True)) == b""


def test_gap_without_stored_lines_has_no_bytes() -> None:
    assert encode(Gap(13, 13)) == b" * You missed 1 line (#13-#13).\r\n"
    assert encode(Gap(13, 12)) == b""


@pytest.mark.parametrize("event", [HI, WAVES])
def test_view_with_times_shows_the_time_of_a_stored_line(event: Message | Action) -> None:
    assert encode(event, times=True) == b"[14:02] " + encode(event)


def test_view_with_times_shows_the_time_of_a_file() -> None:
    assert encode(SHARED, times=True) == b"[14:02]" + encode(SHARED)


@pytest.mark.parametrize("event", [*PASSAGES, *OTHERS, ReplayLine(HI)])
def test_view_with_times_shows_all_other_events_as_without(event: Event | Notice) -> None:
    assert encode(event, times=True) == encode(event)


@pytest.mark.parametrize("event", [*PASSAGES, HI, WAVES, *OTHERS])
def test_quiet_view_hides_joins_and_leaves_and_nothing_else(event: Event) -> None:
    assert encode(event, quiet=True) == (b"" if event in PASSAGES else encode(event))


@pytest.mark.parametrize(
    ("hours", "seconds", "shown"),
    [
        (0, -14 * 3600 - 120, b"[00:00] bob: hi\r\n"),
        (0, -14 * 3600 - 121, b"[2026-01-30 23:59] bob: hi\r\n"),
        (0, 86400, b"[2026-02-01 14:02] bob: hi\r\n"),
        (10, -120, b"[00:00] bob: hi\r\n"),
        (10, -121, b"[2026-01-31 23:59] bob: hi\r\n"),
    ],
)
def test_line_of_another_day_in_the_zone_of_the_server_shows_its_date(hours: int, seconds: float, shown: bytes) -> None:
    encoder = LineEncoder(View(), lambda: NOW, timezone(timedelta(hours=hours)))
    assert encoder.encode(ReplayLine(Message(2, "bob", "hi", NOW + seconds))) == shown


def test_default_zone_is_that_of_the_machine() -> None:
    local = datetime.fromtimestamp(NOW).astimezone().strftime("%H:%M")
    assert LineEncoder(View(), lambda: NOW).encode(ReplayLine(HI)) == f"[{local}] bob: hi\r\n".encode()


def test_times_are_remembered_for_a_minute_and_not_without_bound() -> None:
    now = [NOW]
    encoder = LineEncoder(View(times=True), lambda: now[0], UTC)
    line = Message(1, "ann", "hi", NOW, 1)
    assert encoder.encode(line) == encoder.encode(line) == b"[14:02] ann: hi\r\n"
    for minute in range(2 * MAX_TIME_TEXTS):
        encoder.encode(Message(1, "ann", "hi", NOW - 60 * minute, 1))
        assert len(encoder._time_texts) <= MAX_TIME_TEXTS
    now[0] += 86400
    assert encoder.encode(line) == b"[2026-01-31 14:02] ann: hi\r\n"
