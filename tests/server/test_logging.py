"""The JSON log has one flat object per line, whatever the event contains. The log goes where twistd would write it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
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
from broadcast.server.logging import as_json, open_log
from tests.harness import World

NOON = 1_768_478_400.25


def parse(line: str) -> dict[str, object]:
    """Return the object in *line*, after checking that it is one flat object on one printable line."""
    assert line.endswith("\n")
    assert line.isascii()
    assert line[:-1].isprintable()
    parsed = json.loads(line, parse_constant=pytest.fail)
    assert isinstance(parsed, dict)
    assert not any(isinstance(value, dict | list) for value in parsed.values())
    return parsed


def logged(emit: Callable[[Logger], None]) -> list[dict[str, object]]:
    """Return the objects that *emit* logs."""
    file = io.StringIO()
    emit(Logger(namespace="some.part", observer=FileLogObserver(file, as_json)))
    return [parse(line) for line in file.getvalue().splitlines(keepends=True)]


def legacy_logged(*message: object, **fields: object) -> list[dict[str, object]]:
    """Return the objects that a call of ``twisted.python.log.msg`` logs."""
    file = io.StringIO()
    publisher = LogPublisher(FileLogObserver(file, as_json))
    legacy.LogPublisher(publisher, publisher).msg(*message, **fields)  # type: ignore[no-untyped-call]
    return [parse(line) for line in file.getvalue().splitlines(keepends=True)]


def test_event_has_time_level_system_message_and_its_plain_fields() -> None:
    plain: dict[str, object] = {"count": 3, "share": 0.5, "sure": True, "why": None, "nick": "ann"}
    event: LogEvent = {
        "log_time": NOON,
        "log_level": LogLevel.warn,
        "log_namespace": "broadcast.server.lifecycle.Server",
        "log_format": "{count} of {nick}: {why}",
        "log_source": object(),
        "other": object(),
        **plain,
    }
    assert parse(as_json(event)) == {
        "time": "2026-01-15T12:00:00.250Z",
        "level": "warn",
        "system": "broadcast.server.lifecycle.Server",
        "message": "3 of ann: None",
        **plain,
    }


def test_fields_do_not_repeat_the_message_or_replace_standard_fields() -> None:
    (line,) = logged(lambda log: log.info("{line}", line="Listening."))
    assert line.keys() == {"time", "level", "system", "message"}
    fields = {"time": "never", "level": "low", "system": "mine", "message": "x", "traceback": "none"}
    assert parse(as_json({**fields, "log_format": "hi", "log_level": LogLevel.info})) == {
        "time": None,
        "level": "info",
        "system": "-",
        "message": "hi",
    }
    assert logged(lambda log: log.emit(LogLevel.info)) == [], "an event without a message is no line"


def test_traceback_is_one_field_even_if_it_cannot_be_formatted() -> None:
    class BrokenFailure:
        def getTraceback(self) -> str:  # noqa: N802 -- Twisted's name
            raise RuntimeError

    def fail(log: Logger) -> None:
        try:
            int("two\nlines\x1b[2J")
        except ValueError:
            log.failure("It went {how}.", how="wrong")
        log.error("x", log_failure=BrokenFailure())

    first, second = logged(fail)
    assert (first["message"], first["level"], first["how"]) == ("It went wrong.", "critical", "wrong")
    assert str(first["traceback"]).startswith("Traceback")
    assert "ValueError: invalid literal for int()" in str(first["traceback"])
    assert second["traceback"] == "(no traceback: RuntimeError)"


def test_events_of_the_legacy_log_look_like_others() -> None:
    (line,) = legacy_logged("two\n", "parts", system="Port,1", count=2)
    assert line.keys() == {"time", "level", "system", "message", "count"}
    assert (line["message"], line["system"], line["level"], line["count"]) == ("two\n parts", "Port,1", "info", 2)
    failure = Failure(ValueError("x"))  # type: ignore[no-untyped-call]
    (line,) = legacy_logged(failure=failure, isError=1, why="It broke")
    assert (line["message"], line["level"]) == ("It broke", "critical")
    assert "ValueError: x" in str(line["traceback"])
    (line,) = legacy_logged(failure=failure, isError=1, why=None)
    assert line["message"] == "Unhandled Error"
    assert legacy_logged() == []


@given(
    st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.floats() | st.text()),
    st.text(),
    st.text() | st.none(),
    st.floats() | st.none(),
)
def test_any_event_is_one_line(fields: dict[str, object], message: str, system: str | None, time: float | None) -> None:
    event: LogEvent = {**fields, "log_format": "{log_text}", "log_text": message or "-", "log_time": time}
    parse(as_json(event | {"log_system": system}))


def test_text_of_clients_is_logged_literally_and_breaks_no_line() -> None:
    with capturedLogs() as events:
        world = World()
        person = world.connect(IPv6Address("TCP", '::1\r\n{"level":"forged"}\x1b[2J', 7))
        person.say("ann", '/quit "tired"\u2028\\n {of} it\x00')
    joined, left = (parse(as_json(event)) for event in events)
    assert (joined["nick"], joined["message"]) == ("ann", 'ann joined from ::1{"level":"forged"} port 7')
    assert (left["nick"], left["why"], left["level"]) == ("ann", '"tired" \\n {of} it', "info")


# The destination


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FORMATS = [("text", " [some.part#info] Hello.\n"), ("json", '"system": "some.part", "message": "Hello."}\n')]


def log_hello(twistd: dict[str, object], log_format: str) -> None:
    """Log an event as with these options of twistd."""
    log = open_log(twistd, log_format)
    assert log is not None
    assert verifyObject(ILogObserver, log.observer)
    Logger(namespace="some.part", observer=log.observer).info("Hello.")
    log.writer.finish()


@pytest.mark.parametrize(("log_format", "line"), FORMATS)
@pytest.mark.parametrize("twistd", [{"nodaemon": True}, {"nodaemon": True, "logfile": "-"}])
def test_foreground_server_logs_to_stdout(
    twistd: dict[str, object], log_format: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log_hello(twistd, log_format)
    assert capfd.readouterr().out.endswith(line)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("log_format", "line"), FORMATS)
@pytest.mark.parametrize(
    ("twistd", "name"),
    [({}, "twistd.log"), ({"logfile": "chat.log"}, "chat.log"), ({"logfile": "b.log", "nodaemon": True}, "b.log")],
)
def test_daemon_or_server_with_a_log_file_logs_to_the_file(
    twistd: dict[str, object], name: str, log_format: str, line: str
) -> None:
    log_hello(twistd, log_format)
    assert Path(name).read_text().endswith(line)


def test_server_with_closed_stdout_logs_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    log_hello({"nodaemon": True}, "text")
    assert list(Path().iterdir()) == []


def test_syslog_receives_the_lines_with_their_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    syslog = pytest.importorskip("syslog")
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: sent.append((priority, text)))
    log = open_log({"syslog": True, "prefix": "chat"}, "text")
    assert log is not None
    logger = Logger(namespace="some.part", observer=log.observer)
    logger.info("Two\nlines.")
    logger.error("NUL \0 and \ud800.")
    assert sent == []
    log.writer.finish()
    assert sent == [
        (syslog.LOG_INFO, "[-] Two"),
        (syslog.LOG_INFO, "[-] \tlines."),
        (syslog.LOG_ALERT, "[-] NUL \\x00 and \\ud800."),
    ]


def test_log_of_twistds_option_logger_stays_as_it_is() -> None:
    assert open_log({"logger": object(), "nodaemon": True}, "text") is None


@pytest.mark.parametrize(
    ("twistd", "log_format", "message"),
    [
        ({"syslog": 1, "nodaemon": True}, "json", "remove twistd's option --syslog."),
        ({"logger": object(), "nodaemon": True}, "json", "remove twistd's option --logger."),
        ({"logfile": "-"}, "json", "a daemon cannot log to stdout: "),
        ({"logfile": "-"}, "text", "a daemon cannot log to stdout: "),
        ({"logfile": "nowhere/chat.log"}, "json", "cannot write the log nowhere/chat.log: "),
        ({"logfile": "nowhere/chat.log"}, "text", "cannot write the log nowhere/chat.log: "),
    ],
)
def test_unusable_log_is_rejected(twistd: dict[str, object], log_format: str, message: str) -> None:
    with pytest.raises(StartupError) as caught:
        open_log(twistd, log_format)
    assert message in str(caught.value)
