"""A session and a server in memory, and a network between them that moves or loses each byte as a test says."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple, Protocol

from hypothesis import strategies as st

from broadcast.client.protocol import errors, events, requests
from broadcast.client.protocol.session import Session
from tests.client.protocol.fake_server import FakeServer


class Connection(Protocol):
    """One connection to a server."""

    @property
    def output(self) -> bytearray:
        """What the server has sent. The reader removes what it takes."""

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed the connection."""

    def receive(self, data: bytes) -> None:
        """Pass bytes to the server."""

    def close(self) -> None:
        """End the connection."""


class Server(Protocol):
    """A server and its other people."""

    @property
    def lines(self) -> dict[str, list[dict[str, Any]]]:
        """The stored lines of each room."""

    def connect(self) -> Connection:
        """Open a connection."""

    def say(self, text: str, room: str) -> int:
        """Let another person say a line."""

    def hide(self, *texts: str, room: str) -> None:
        """Let another person say lines that become a gap, if the server can be made to do that."""

    def repeat(self, room: str) -> None:
        """Deliver lines a second time, if the server can be made to do that."""

    def tell_everybody(self, text: str) -> None:
        """Send a private message to all programs."""

    def lose_sessions(self) -> None:
        """Close all connections, and forget the sessions."""


class Answer(NamedTuple):
    """The end of a call."""

    result: Any
    error: errors.ChatError | None


class Link:
    """A session, the server, and the connection between them."""

    def __init__(self, server: Server | None = None, **options: Any) -> None:  # noqa: ANN401 -- those of Session
        self.server: Any = server or FakeServer()
        rooms = options.pop("rooms", ["lobby"])
        self.session = Session(options.pop("nick", "bot"), rooms, Random(1), **options)  # noqa: S311 -- repeatable
        self.connection: Connection | None = None
        self.answers: dict[int, Answer] = {}
        self.to_server = bytearray()

    @property
    def live(self) -> Any:  # noqa: ANN401 -- a connection of the server
        assert self.connection
        return self.connection

    def connect(self) -> None:
        self.connection = self.server.connect()
        self.session.connection_made()

    def send(self, size: int | None = None) -> None:
        """Move bytes to the server."""
        self.to_server += self.session.bytes_to_send()
        data = bytes(self.to_server[:size])
        del self.to_server[: len(data)]
        if self.connection:
            self.connection.receive(data)

    def receive(self, size: int | None = None) -> None:
        """Move bytes to the session."""
        if self.connection:
            data = bytes(self.connection.output[:size])
            del self.connection.output[: len(data)]
            self.session.receive(data)

    def lose(self, *, noticed: bool = True) -> None:
        """Lose the connection with all that is under way."""
        if self.connection and noticed:
            self.connection.close()
        self.connection = None
        self.to_server.clear()
        self.session.connection_lost("the connection broke")

    def pump(self) -> None:
        """Move bytes until there are none."""
        while self.connection:
            self.send()
            done = not self.connection.output
            self.receive()
            if self.session.must_close or (self.connection.is_closed and not self.connection.output):
                self.lose()
            elif done and not self.to_server:
                break

    def start(self) -> Link:
        self.connect()
        self.pump()
        return self

    def reconnect(self) -> None:
        self.connect()
        self.pump()

    def call(self, request: requests.Request[Any]) -> int:
        def end(result: Any, error: errors.ChatError | None) -> None:  # noqa: ANN401 -- any result
            assert number not in self.answers
            self.answers[number] = Answer(result, error)

        number = self.session.call(request, end)
        return number

    def answered(self, request: requests.Request[Any]) -> Any:  # noqa: ANN401 -- the type of its result
        number = self.call(request)
        self.pump()
        answer = self.answers[number]
        if answer.error:
            raise answer.error
        return answer.result

    def events(self) -> list[events.Event]:
        """Take all events, as a program does, with the requests that this causes."""
        taken = list(iter(self.session.next_event, None))
        self.pump()
        while more := list(iter(self.session.next_event, None)):
            taken += more
            self.pump()
        return taken

    def texts(self) -> list[str]:
        return [event.text for event in self.events() if isinstance(event, events.Line)]


def kinds(taken: Sequence[events.Event]) -> list[type[events.Event]]:
    return [type(event) for event in taken]


ROOMS = st.sampled_from(["lobby", "kitchen"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["say", "hear", "hide", "repeat"]), ROOMS),
        st.tuples(st.sampled_from(["send", "receive"]), st.one_of(st.integers(1, 600), st.just(100_000))),
        st.tuples(st.just("exchange"), st.none()),
        st.tuples(st.just("lose"), st.booleans()),
        st.tuples(st.sampled_from(["restart", "tell"]), st.none()),
        st.tuples(st.just("take"), st.integers(1, 5)),
    ),
    min_size=20,
    max_size=100,
)


class Scenario:
    """A link whose program, server and network do what the steps say."""

    def __init__(self, server: Server) -> None:
        self.link = Link(server, rooms=["lobby", "kitchen"], max_events=4).start()
        self.server = server
        self.said: dict[int, str] = {}
        self.taken: list[events.Event] = []
        self.told = 0

    def step(self, what: str, how: Any) -> None:  # noqa: ANN401 -- depends on the step
        if self.link.connection is None or self.link.connection.is_closed or self.link.session.must_close:
            self.link.lose()
            self.link.connect()
        getattr(self, what)(how)

    def say(self, room: str) -> None:
        self.said[self.link.call(requests.Say(room, f"mine {len(self.said)}"))] = room

    def hear(self, room: str) -> None:
        self.server.say("theirs", room)

    def hide(self, room: str) -> None:
        self.server.hide("hidden", room=room)

    def repeat(self, room: str) -> None:
        self.server.repeat(room)

    def send(self, size: int) -> None:
        self.link.send(size)

    def receive(self, size: int) -> None:
        self.link.receive(size)

    def exchange(self, _: None) -> None:
        self.link.pump()

    def lose(self, noticed: bool) -> None:
        self.link.lose(noticed=noticed)

    def restart(self, _: None) -> None:
        self.server.lose_sessions()

    def tell(self, _: None) -> None:
        self.told += 1
        self.server.tell_everybody(f"psst {self.told}")

    def take(self, number: int) -> None:
        taken = (self.link.session.next_event() for _ in range(number))
        self.taken += [event for event in taken if event is not None]

    def finish(self) -> None:
        self.link.pump()
        if self.link.connection is None:
            self.server.lose_sessions()
            self.link.reconnect()
        self.taken += self.link.events()


def check(steps: list[tuple[str, Any]], server: Server) -> None:
    scenario = Scenario(server)
    for what, how in steps:
        scenario.step(what, how)
    scenario.finish()
    lines, said, answers = scenario.server.lines, scenario.said, scenario.link.answers
    assert not any(isinstance(event, events.Gap) for event in scenario.taken)
    for room in ("lobby", "kitchen"):
        taken = [event.seq for event in scenario.taken if isinstance(event, events.Line) and event.room == room]
        assert taken == [line["seq"] for line in lines[room]]
        mine = [line["text"] for line in lines[room] if line["nick"] == "bot"]
        assert mine == [f"mine {index}" for index, of in enumerate(said.values()) if of == room]
    told = [event.text for event in scenario.taken if isinstance(event, events.Told)]
    assert told == sorted(set(told), key=told.index)
    assert {number: answer.error for number, answer in answers.items()} == dict.fromkeys(said)
    for number, room in said.items():
        assert lines[room][answers[number].result.seq - 1]["nick"] == "bot"
