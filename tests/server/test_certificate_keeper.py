"""A new certificate is used once it is complete, a broken one is reported and not used, and the end is announced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from broadcast.core.errors import StartupError
from broadcast.server import certificate_keeper
from broadcast.server.certificate_keeper import CHECK_SECONDS, CertificateKeeper
from tests.certificates import NOW, Pair


class ThreadInTurn:
    """A thread that runs when it is started."""

    def __init__(self, target: Callable[[], None], name: str, daemon: bool) -> None:
        assert daemon
        self.start = target


class Kept:
    """A keeper of the files of *pair* in *folder*, and its log."""

    def __init__(self, folder: Path, pair: Pair | None, data: Path | None = None) -> None:
        self.folder = folder
        self.clock = Clock()
        self.log: list[LogEvent] = []
        self.soon: list[Callable[[], None]] = []
        cert, key = pair.write(folder) if pair else (None, None)
        self.keeper = CertificateKeeper(cert, key, data, self.clock, self.soon.append, self.now)

    def now(self) -> float:
        return NOW.timestamp() + self.clock.seconds()

    def pass_time(self, **time: float) -> None:
        """Let time pass, with a look at the files at its end."""
        self.clock.advance(timedelta(**time).total_seconds())
        self.look()

    def look(self, times: int = 1) -> None:
        """Look at the files so many times."""
        for _ in range(times):
            self.clock.advance(CHECK_SECONDS)
            self.turn()

    def turn(self) -> None:
        calls, self.soon[:] = list(self.soon), []
        for call in calls:
            call()

    def lines(self) -> list[str]:
        """Return the new lines in the log."""
        lines = [formatEvent(event) for event in self.log]
        self.log.clear()
        return lines


def valid(days: float = 90) -> Pair:
    return Pair(start=NOW - timedelta(days=1), days=days + 1)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Kept]]:
    """Make a keeper and start it."""
    monkeypatch.setattr(certificate_keeper, "Thread", ThreadInTurn)
    observers: list[Any] = []

    def start(pair: Pair | None, data: Path | None = None) -> Kept:
        kept = Kept(tmp_path, pair, data)
        globalLogPublisher.addObserver(kept.log.append)  # type: ignore[arg-type]  # any function is an observer
        observers.append(kept.log.append)
        kept.keeper.start()
        return kept

    yield start
    for observer in observers:
        globalLogPublisher.removeObserver(observer)


def test_certificate_is_logged_with_its_fingerprints(make: Callable[..., Kept], tmp_path: Path) -> None:
    kept = make(valid())
    certificate = kept.keeper.certificate
    assert kept.lines() == [
        (
            f"TLS certificate {tmp_path / 'cert.pem'}: valid until 2026-08-30 12:00 UTC, certificate "
            f"{certificate.fingerprint}, key {certificate.key_fingerprint}"
        )
    ]
    kept.keeper.stop()
    kept.keeper.stop()
    assert not kept.clock.getDelayedCalls()


def test_new_files_are_used_once_both_are_there(make: Callable[..., Kept], tmp_path: Path) -> None:
    kept = make(valid())
    before = kept.keeper.get_context()
    kept.look(5)
    assert kept.keeper.get_context() is before
    kept.lines()
    new = valid(200)
    (tmp_path / "cert.pem").write_bytes(new.cert_pem)
    kept.look()
    assert kept.keeper.get_context() is before
    (tmp_path / "key.pem").write_bytes(new.key_pem)
    kept.look()
    assert kept.keeper.get_context() is before
    kept.look()
    assert kept.keeper.get_context() is not before
    assert len(kept.lines()) == 1
    kept.look(5)
    assert not kept.lines()


def test_broken_files_are_logged_once_and_the_old_certificate_stays(make: Callable[..., Kept], tmp_path: Path) -> None:
    kept = make(valid())
    kept.lines()
    before = kept.keeper.get_context()
    (tmp_path / "key.pem").write_bytes(valid().key_pem)
    kept.look(10)
    assert kept.keeper.get_context() is before
    assert kept.lines() == [
        (
            f"The TLS certificate stays as it is: --key {tmp_path / 'key.pem'} is the key of another certificate than "
            f"--cert {tmp_path / 'cert.pem'}: give both of one pair."
        )
    ]
    (tmp_path / "key.pem").unlink()
    kept.look(10)
    assert len(kept.lines()) == 1
    valid().write(tmp_path)
    kept.look(2)
    assert kept.keeper.get_context() is not before


def test_reload_reads_the_files_at_once(make: Callable[..., Kept], tmp_path: Path) -> None:
    kept = make(valid())
    before = kept.keeper.get_context()
    valid().write(tmp_path)
    kept.keeper.read()()
    assert kept.keeper.get_context() is not before
    kept.lines()
    kept.look(5)
    assert not kept.lines()
    (tmp_path / "cert.pem").write_bytes(b"")
    kept.keeper.read()()
    assert [line[:35] for line in kept.lines()] == ["The TLS certificate stays as it is:"]


def test_end_of_the_certificate_is_announced_three_times(make: Callable[..., Kept]) -> None:
    kept = make(valid(days=40))
    assert len(kept.lines()) == 1
    kept.pass_time(days=9)
    assert not kept.lines()
    kept.pass_time(days=1)
    assert kept.lines() == ["The TLS certificate ends at 2026-07-11 12:00 UTC, in 29 days: renew it."]
    kept.pass_time(days=10)
    assert not kept.lines()
    kept.pass_time(days=13)
    assert kept.lines() == ["The TLS certificate ends at 2026-07-11 12:00 UTC, in 6 days: renew it."]
    kept.pass_time(days=6)
    assert kept.lines() == ["The TLS certificate ends at 2026-07-11 12:00 UTC, in 0 days: renew it."]
    kept.pass_time(days=1)
    (event,) = kept.log
    assert event["log_level"] is LogLevel.error
    assert kept.lines() == ["The TLS certificate has ended at 2026-07-11 12:00 UTC, and clients reject it: renew it."]
    kept.pass_time(days=10)
    assert not kept.lines()


def test_certificate_near_its_end_is_announced_at_the_start(make: Callable[..., Kept]) -> None:
    assert make(valid(days=5)).lines()[1:] == ["The TLS certificate ends at 2026-06-06 12:00 UTC, in 5 days: renew it."]


def test_self_signed_certificate_is_renewed_while_the_server_runs(make: Callable[..., Kept], tmp_path: Path) -> None:
    for data in (tmp_path, None):
        kept = make(None, data)
        before = kept.keeper.certificate
        assert kept.lines()[0].startswith("TLS certificate (self-signed): valid until 2028-09-02 12:00 UTC, ")
        kept.pass_time(days=793)
        assert kept.keeper.certificate is before
        kept.pass_time(days=1)
        assert kept.keeper.certificate.not_after > before.not_after
        assert (kept.keeper.certificate.key_fingerprint == before.key_fingerprint) is (data is not None)
        assert len(kept.lines()) == 1
        kept.keeper.stop()


def test_failed_renewal_is_tried_again_after_an_hour(make: Callable[..., Kept], tmp_path: Path) -> None:
    kept = make(None, tmp_path)
    kept.pass_time(days=790)
    (tmp_path / "tls.new").mkdir()
    kept.pass_time(days=5)
    kept.look(10)
    assert [line[:53] for line in kept.lines()[1:]] == [
        "The TLS certificate stays as it is: cannot write " + str(tmp_path)[:4]
    ]
    (tmp_path / "tls.new").rmdir()
    kept.pass_time(hours=1)
    assert kept.lines()[0].startswith("TLS certificate (self-signed): valid until 2030-")


def test_hanging_file_system_holds_one_thread_only(make: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    class Hanging(ThreadInTurn):
        def __init__(self, **_settings: object) -> None:
            self.start = lambda: started.append(self)

    kept = make(valid())
    monkeypatch.setattr(certificate_keeper, "Thread", Hanging)
    kept.look(10)
    assert len(started) == 1


def test_unusable_certificate_is_reported_at_the_start(tmp_path: Path) -> None:
    kept = Kept(tmp_path, valid(days=-0.5))
    with pytest.raises(StartupError, match="has expired"):
        kept.keeper.start()
