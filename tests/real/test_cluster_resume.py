"""Several installed servers with one database: a program goes on at another one, and nobody sees it leave."""

from __future__ import annotations

import signal
from contextlib import ExitStack, closing
from time import monotonic

import pytest

from tests.browser.people import Person, Program, wait_until
from tests.real.cluster import GONE_SECONDS, Cluster, Node

GRACE = 4
"""Seconds for which a program may be away."""


def sessions(cluster: Cluster) -> int:
    """Return the number of sessions in the database."""
    import psycopg  # noqa: PLC0415 -- it may be missing

    with psycopg.connect(cluster.url) as db:
        row = db.execute("SELECT count(*) FROM broadcast.sessions").fetchone()
    assert row is not None
    return int(row[0])


def come_back(node: Node, program: Program, attempt: int, seq: int, told: int) -> Program:
    """Return a program that has resumed the session of *program* at *node*, after the line *seq*."""
    welcome = program.welcome
    resume = {
        "token": welcome["token"],
        "journal": welcome["journal"],
        "rooms": {"lobby": seq},
        "told": told,
        "attempt": attempt,
    }
    back = Program(node.port, "bob", resume=resume)
    assert back.welcome["resumed"], back.welcome
    assert back.welcome["session"] == welcome["session"]
    return back


def texts(program: Program) -> list[str]:
    """Return the texts of the lines in the result of ``hello``."""
    return [event["text"] for event in program.welcome["rooms"]["lobby"]["events"]]


def close_all(programs: list[Program]) -> None:
    """End the connections of *programs*."""
    for program in programs:
        program.close()


def move(how: str, node: Node) -> None:
    """Let *node* end in the way *how*."""
    if how == "killed":
        node.stop(signal.SIGKILL)
    elif how == "stopped":
        node.stop()
    elif how == "suspended":
        node.signal(signal.SIGSTOP)


@pytest.mark.parametrize("how", ["killed", "stopped", "alive", "suspended"])
def test_program_goes_on_at_another_server_and_nobody_sees_it_leave(cluster: Cluster, how: str) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, closing(Program(two.port, "bob")) as bob:
        ann.until("bob joined.")
        bob.call("away", reason="lunch")
        seq = bob.call("say", room="lobby", text="from bob", uid="u1")["seq"]
        ann.until("bob: from bob")
        ann.say("/msg bob psst")
        ann.until("sent to bob")
        move(how, two)
        if how == "stopped":
            assert "bob left: server stopped (" in two.output()
        text = f"while bob is away, {how}"
        ann.say(text, "/who")
        ann.until("2 here: ")
        wait_until(lambda: cluster.number(f"SELECT count(*) FROM lines WHERE text = '{text}'") == 1)  # noqa: S608
        began = monotonic()
        with closing(come_back(one, bob, 1, seq, 0 if how == "stopped" else 1)) as back:
            seconds = monotonic() - began
            assert texts(back) == [text]
            if how == "stopped":
                assert back.until(lambda each: each["method"] == "told")["params"]["text"] == "psst"
            assert back.call("say", room="lobby", text="from bob", uid="u1")["seq"] == seq
            back.call("say", room="lobby", text="here again")
            ann.say("/who", "/uptime")
            seen = ann.read_until(" people")
            words = ("joined", "left", "bob: from bob", "bob: here again")
            assert [seen.count(text) for text in words] == [1, 0, 1, 1], seen
            assert seconds < GONE_SECONDS
            if how == "suspended":
                two.signal(signal.SIGCONT)
                wait_until(lambda: two.health() == "200 ok", two.health)
                ann.say("/names")
                assert "left" not in ann.read_until("-> 2 here: ann, bob (away: lunch)\r\n")


def test_rolling_restart_of_all_servers(cluster: Cluster) -> None:
    with ExitStack() as stack:
        programs = [Program(node.port, nick) for node, nick in zip(cluster.nodes, ("ann", "bob"), strict=True)]
        stack.callback(close_all, programs)
        for round_, number in enumerate((0, 1, 0), 1):
            node, other = cluster.nodes[number], cluster.nodes[1 - number]
            for program in programs:
                program.call("say", room="lobby", text=f"round {round_}")
            node.stop()
            node.spawn()
            back = come_back(other, programs[number], 2 * round_, 0, 0)
            programs[number].close()
            programs[number] = back
            assert texts(back).count(f"round {round_}") == 2
            node.wait()
            # The load balancer moves it back, while its server lives.
            back = come_back(node, programs[number], 2 * round_ + 1, 0, 0)
            programs[number].close()
            programs[number] = back
        for program in programs:
            kinds = {each.get("method") for each in program.notifications}
            assert not kinds & {"left", "crowd", "gap"}, program.notifications


@pytest.mark.parametrize("how", ["killed", "suspended"])
def test_program_that_does_not_come_back_leaves_after_its_grace(cluster: Cluster, how: str) -> None:
    one, two = cluster.nodes
    with Person(one.port, "ann") as ann, closing(Program(two.port, "bob", grace=GRACE)):
        ann.until("bob joined.")
        began = monotonic()
        move(how, two)
        ann.until("bob left: connection lost")
        assert GRACE <= monotonic() - began < GRACE + 2 * GONE_SECONDS


def test_server_that_was_killed_gives_the_sessions_back(cluster: Cluster) -> None:
    one, two = cluster.nodes
    with closing(Program(one.port, "ann")) as ann, closing(Program(two.port, "bob")) as bob:
        assert sessions(cluster) == 2
        two.stop(signal.SIGKILL)
        two.start()
        with closing(come_back(two, bob, 1, 0, 0)) as back:
            back.call("say", room="lobby", text="again")
            ann.said("again")
            assert [each["method"] for each in ann.notifications] == ["joined", "said"]
