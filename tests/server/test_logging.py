"""The log as JSON: every event is one line and one flat object, whatever people and programs put into it."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger, LogLevel, LogPublisher, capturedLogs
from twisted.python import log as legacy
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from broadcast.core.errors import StartupError
from broadcast.server.logging import as_json, json_log
from tests.harness import World

NOON = 1_768_478_400.25


def parsed(line: str) -> dict[str, object]:
    """The object that *line* is; what is not one flat object on one line fails the test."""
    assert line.endswith("\n")
    assert line.isascii()
    assert line[:-1].isprintable()
    shown = json.loads(line, parse_constant=pytest.fail)
    assert isinstance(shown, dict)
    assert not any(isinstance(value, dict | list) for value in shown.values())
    return shown


def logged(emit: Callable[[Logger], None]) -> list[dict[str, object]]:
    """What *emit* logs, as JSON."""
    file = io.StringIO()
    emit(Logger(namespace="some.part", observer=FileLogObserver(file, as_json)))
    return [parsed(line) for line in file.getvalue().splitlines(keepends=True)]


def test_an_event_is_its_time_level_system_and_message_and_its_own_fields() -> None:
    event: LogEvent = {
        "log_time": NOON,
        "log_level": LogLevel.warn,
        "log_namespace": "broadcast.server.lifecycle.Server",
        "log_format": "{count} of {nick}: {why}",
        "log_source": object(),
        "count": 3,
        "share": 0.5,
        "sure": True,
        "why": None,
        "nick": "ann",
        "other": object(),
    }
    assert parsed(as_json(event)) == {
        "time": "2026-01-15T12:00:00.250Z",
        "level": "warn",
        "system": "broadcast.server.lifecycle.Server",
        "message": "3 of ann: None",
        "count": 3,
        "share": 0.5,
        "sure": True,
        "why": None,
        "nick": "ann",
    }


def test_a_field_that_is_the_whole_message_is_not_told_twice() -> None:
    (shown,) = logged(lambda log: log.info("{line}", line="Listening."))
    assert shown.keys() == {"time", "level", "system", "message"}


def test_no_field_takes_the_place_of_one_that_is_always_there() -> None:
    names = {"time": "never", "level": "low", "system": "mine", "message": "x", "traceback": "none"}
    shown = parsed(as_json({**names, "log_format": "hi", "log_level": LogLevel.info}))
    assert shown == {"time": None, "level": "info", "system": "-", "message": "hi"}


def test_what_says_nothing_is_no_line() -> None:
    assert logged(lambda log: log.emit(LogLevel.info)) == []


def test_a_traceback_is_one_field() -> None:
    def fail(log: Logger) -> None:
        try:
            int("two\nlines\x1b[2J")
        except ValueError:
            log.failure("It went {how}.", how="wrong")

    (shown,) = logged(fail)
    assert (shown["message"], shown["level"], shown["how"]) == ("It went wrong.", "critical", "wrong")
    traceback = str(shown["traceback"])
    assert traceback.startswith("Traceback")
    assert "ValueError: invalid literal for int()" in traceback


def test_a_failure_that_cannot_be_shown_is_told_all_the_same() -> None:
    class Odd:
        def getTraceback(self) -> str:  # noqa: N802 -- Twisted's name
            raise RuntimeError

    (shown,) = logged(lambda log: log.error("x", log_failure=Odd()))
    assert shown["traceback"] == "(no traceback: RuntimeError)"


def old(*message: object, **fields: object) -> list[dict[str, object]]:
    """What ``twisted.python.log`` makes of it."""
    file = io.StringIO()
    publisher = LogPublisher(FileLogObserver(file, as_json))
    legacy.LogPublisher(publisher, publisher).msg(*message, **fields)  # type: ignore[no-untyped-call]
    return [parsed(line) for line in file.getvalue().splitlines(keepends=True)]


def test_the_events_of_twisteds_old_log_look_like_the_others() -> None:
    (shown,) = old("two\n", "parts", system="Port,1", count=2)
    assert shown.keys() == {"time", "level", "system", "message", "count"}
    assert (shown["message"], shown["system"], shown["level"], shown["count"]) == ("two\n parts", "Port,1", "info", 2)
    failure = Failure(ValueError("x"))  # type: ignore[no-untyped-call]
    (shown,) = old(failure=failure, isError=1, why="It broke")
    assert (shown["message"], shown["level"]) == ("It broke", "critical")
    assert "ValueError: x" in str(shown["traceback"])
    (shown,) = old(failure=failure, isError=1, why=None)
    assert shown["message"] == "Unhandled Error"
    assert old() == []


@given(
    st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.floats() | st.text()),
    st.text(),
    st.text() | st.none(),
    st.floats() | st.none(),
)
def test_whatever_it_holds_an_event_is_one_line(
    fields: dict[str, object], message: str, system: str | None, time: float | None
) -> None:
    event: LogEvent = {**fields, "log_format": "{log_text}", "log_text": message or "-", "log_time": time}
    parsed(as_json(event | {"log_system": system}))


def test_what_people_type_is_told_as_it_stands_and_breaks_no_line() -> None:
    with capturedLogs() as events:
        world = World()
        person = world.connect(IPv6Address("TCP", '::1\r\n{"level":"forged"}\x1b[2J', 7))
        person.say("a\x1bnn\x85\u2028", '/quit "tired"\u2028\\n {of} it\x00')
    joined, left = (parsed(as_json(event)) for event in events)
    assert (joined["nick"], joined["message"]) == ("ann", 'ann joined from ::1{"level":"forged"}[2J port 7')
    assert (left["nick"], left["why"], left["level"]) == ("ann", '"tired" \\n {of} it', "info")


# Where it goes


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the test's folder, with the signal as it was."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def run(call: Callable[[], None]) -> None:
    call()


def log_to(twistd: dict[str, object], then: Callable[[], None] = lambda: None) -> None:
    """Log an event as twistd would with these options; then do that."""
    observer = json_log(twistd, run)
    assert isinstance(observer, FileLogObserver)
    assert verifyObject(ILogObserver, observer)
    Logger(observer=observer).info("Hello.")
    then()
    if observer._outFile is not sys.stdout:
        observer._outFile.close()


@pytest.mark.parametrize("twistd", [{"nodaemon": True}, {"nodaemon": True, "logfile": "-"}])
def test_in_the_foreground_it_goes_to_stdout(twistd: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    log_to(twistd)
    assert parsed(capsys.readouterr().out)["message"] == "Hello."
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("twistd", "name"),
    [({}, "twistd.log"), ({"logfile": "chat.log"}, "chat.log"), ({"logfile": "b.log", "nodaemon": True}, "b.log")],
)
def test_else_it_goes_to_a_file(twistd: dict[str, object], name: str) -> None:
    log_to(twistd)
    assert parsed(Path(name).read_text())["message"] == "Hello."


def test_the_file_is_rotated_when_twistds_would_be() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    log_to({"logfile": "chat.log"}, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert parsed(Path("chat.log.1").read_text())["message"] == "Hello."
    assert Path("chat.log").read_text() == ""


def test_a_signal_that_somebody_else_wants_stays_theirs() -> None:
    def theirs(*_: object) -> None:
        """Nothing."""

    signal.signal(signal.SIGUSR1, theirs)
    log_to({"logfile": "chat.log"})
    assert signal.getsignal(signal.SIGUSR1) is theirs


@pytest.mark.parametrize(
    ("twistd", "said"),
    [
        ({"syslog": 1, "nodaemon": True}, "remove twistd's option --syslog."),
        ({"logger": object(), "nodaemon": True}, "remove twistd's option --logger."),
        ({"logfile": "-"}, "a daemon cannot log to stdout."),
        ({"logfile": "nowhere/chat.log"}, "cannot write the log nowhere/chat.log: "),
    ],
)
def test_what_cannot_be_is_refused(twistd: dict[str, object], said: str) -> None:
    with pytest.raises(StartupError) as refused:
        json_log(twistd, run)
    assert said in str(refused.value)
