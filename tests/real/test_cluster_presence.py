"""A server or its database connection fails: soon all servers agree again on who is here."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import pytest

from tests.browser.people import Person, wait_until
from tests.postgres import PostgresServer
from tests.real.cluster import GONE_SECONDS, Cluster

SUSPENDED_SECONDS = 30
"""Duration of a suspension. It is three times that of a lease."""
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = %s ORDER BY pid"


@contextmanager
def in_time() -> Iterator[None]:
    """Let the block take at most twice as long as it is allowed to take on an idle machine."""
    began = monotonic()
    yield
    seconds = monotonic() - began
    assert seconds < 2 * GONE_SECONDS, seconds


def shows(person: Person, names: str) -> Callable[[], bool]:
    """Return a function that returns whether *names* are those that *person* reads after ``/names``."""

    def ask() -> bool:
        person.say("/names", "/ping")
        return f"-> {names}\r\n" in person.read_until("-> pong\r\n")

    return ask


def test_people_of_a_killed_server_leave_and_their_nicknames_are_free(cluster: Cluster) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, Person(two.port, "bob"):
        ann.until(" * bob joined.\r\n")
        with in_time():
            two.stop(signal.SIGKILL)
            ann.until(" * bob left: connection lost\r\n")
        with Person(one.port, "bob"):
            assert shows(ann, "2 here: ann, bob")()


def test_person_who_comes_back_from_a_killed_server_reads_why_the_nickname_takes_so_long(cluster: Cluster) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, Person(two.port, "bob"):
        ann.until(" * bob joined.\r\n")
        two.stop(signal.SIGKILL)
        with in_time(), Person(one.port, "bob") as again:
            before, _, _ = again.seen.partition("You are bob.")
            assert " * The server that has bob does not answer. Wait for the nickname:" in before
            assert "taken" not in before
            ann.until(" * bob left: connection lost\r\n * bob joined.\r\n")


def test_people_of_a_server_that_stops_leave_for_that_reason(cluster: Cluster) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, Person(two.port, "bob") as bob:
        ann.until(" * bob joined.\r\n")
        two.stop()
        ann.until(" * bob left: server stopped\r\n")
        bob.until(" * The server is going down. Connect again to reach another one.\r\n")


def test_nickname_is_free_once_a_server_that_stops_has_closed_the_connection(cluster: Cluster) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, Person(two.port, "bob") as bob:
        ann.until(" * bob joined.\r\n")
        two.signal(signal.SIGTERM)
        bob.until_closed()
        with Person(one.port, "bob") as again:
            assert "taken" not in again.seen
            ann.until(" * bob left: server stopped\r\n * bob joined.\r\n")
        two.stop()
        assert "Nothing that is said is kept" not in two.output()
        one.stop()
        ann.until_closed()
        assert ann.seen.endswith(" * The server is going down.\r\n"), "there is no other server any more"


def test_people_of_a_suspended_server_leave_and_come_back(cluster: Cluster) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, Person(two.port, "bob") as bob:
        ann.until(" * bob joined.\r\n")
        end = monotonic() + SUSPENDED_SECONDS
        with in_time():
            two.signal(signal.SIGSTOP)
            ann.until(" * bob left: connection lost\r\n")
        assert shows(ann, "1 here: ann")()
        sleep(max(0.0, end - monotonic()))
        with in_time():
            two.signal(signal.SIGCONT)
            bob.until("Connect again")
            wait_until(lambda: two.health() == "200 ok", two.health)
            with Person(two.port, "bob") as again:
                for person in (ann, again):
                    wait_until(shows(person, "2 here: ann, bob"))


@pytest.mark.parametrize("which", range(3))
def test_presence_is_right_although_a_process_of_the_database_is_stopped(
    cluster: Cluster, postgres: PostgresServer, which: int
) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, Person(two.port, "bob") as bob:
        ann.until(" * bob joined.\r\n")
        backends = [pid for (pid,) in postgres.execute(BACKENDS, [f"broadcast {two.name}"])]
        os.kill(backends[which], signal.SIGSTOP)
        try:
            with in_time(), Person(one.port, "carol") as carol:
                carol.say("hi")
                bob.until("carol: hi\r\n")
                for person in (ann, bob, carol):
                    wait_until(shows(person, "3 here: ann, bob, carol"))
            for person in (ann, bob):
                wait_until(shows(person, "2 here: ann, bob"))
        finally:
            os.kill(backends[which], signal.SIGCONT)
        wait_until(lambda: two.health() == "200 ok", two.health)
