"""Programs in memory: clients of the JSON-RPC door whose messages are all held against docs/openrpc.json."""

from __future__ import annotations

import json
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from broadcast.core.interfaces import View
from broadcast.doors.jsonrpc.messages import MAX_MESSAGE_BYTES
from broadcast.doors.jsonrpc.protocol import DoorContext, ProgramConnection, take_over
from broadcast.doors.jsonrpc.sessions import Sessions
from tests.doors.jsonrpc.openrpc import Checker, lines
from tests.harness import DirectWorld, Person, World

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

Message = dict[str, Any]
"""The prefix of all session ids."""
GRACE: Final = 60.0


def seqs(result: Message) -> list[int]:
    """Return the numbers of the events in *result*."""
    return [event["seq"] for event in result["events"]]


class Program:
    """A program with one connection, behind a person at the line door whose first input is JSON."""

    def __init__(self, world: World, person: Person) -> None:
        self.world = world
        self.person = person
        self.transport = person.transport
        self.checker = Checker()
        self.welcome: Message = {}
        """The result of ``hello``."""
        self._ids = count(1)
        self._unread: list[Message] = []
        self._greeting_end: bytes | None = None

    @property
    def connection(self) -> ProgramConnection:
        """The connection, as the server has it."""
        connection = self.person.protocol._successor
        assert isinstance(connection, ProgramConnection)
        return connection

    # Input

    def put(self, method: str, params: object = None, *, notify: bool = False) -> int:
        """Send one request, and run no turn. Return its id."""
        id_ = next(self._ids)
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if not notify:
            message["id"] = id_
            self.checker.note_request(message)
        self.person.put(json.dumps(message) + "\n")
        return id_

    def put_lines(self, *raw: str | bytes) -> None:
        """Send *raw* lines, which may be anything."""
        self.person.put(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in raw))

    def request(self, method: str, **params: object) -> Message:
        """Send one request, settle, and return its response without the id."""
        id_ = self.put(method, params)
        self.world.settle()
        return self.response(id_)

    def call(self, method: str, **params: object) -> Any:  # noqa: ANN401 - any result
        """Send one request, settle, and return its result."""
        response = self.request(method, **params)
        assert "result" in response, response
        return response["result"]

    def fail(self, method: str, **params: object) -> tuple[int, str | None]:
        """Send one request, settle, and return the code and the reason of its error."""
        error = self.request(method, **params)["error"]
        assert error["message"][-1] in ".`]", error
        return error["code"], error.get("data", {}).get("reason")

    def notify(self, method: str, **params: object) -> None:
        """Send a notification, and settle."""
        self.put(method, params, notify=True)
        self.world.settle()

    def say(self, *texts: str, room: str = "lobby") -> None:
        """Say *texts* as notifications, and settle."""
        for text in texts:
            self.put("say", {"room": room, "text": text}, notify=True)
        self.world.settle()

    def hello(self, nick: str, **params: object) -> Message:
        """Say hello, and return the result."""
        self.welcome = self.call("hello", protocol=1, client="tests/1", nick=nick, **params)
        return self.welcome

    # Output

    def _receive(self) -> None:
        data = bytes(self.transport.sent)
        self.transport.sent.clear()
        if self._greeting_end is None:
            greeting, brace, rest = data.partition(b"{")
            assert greeting.endswith(b"\r\n") or not data, "the greeting is not closed"
            self._greeting_end, data = greeting, brace + rest
        for line in lines(data):
            assert len(line) < MAX_MESSAGE_BYTES
            self._unread.append(self.checker.check(line))

    def read(self) -> list[Message]:
        """Return all messages since the last call: responses, and notifications."""
        self._receive()
        unread, self._unread = self._unread, []
        return unread

    def response(self, id_: int) -> Message:
        """Return the response to the request *id_*, which has come. All other messages remain unread."""
        self._receive()
        (found,) = [message for message in self._unread if "method" not in message and message["id"] == id_]
        self._unread.remove(found)
        return {name: member for name, member in found.items() if name != "id"}

    def events(self) -> list[Message]:
        """Return the notifications since the last call, each with its method among its parameters."""
        messages = self.read()
        assert all("method" in message for message in messages), messages
        return [{"method": message["method"], **message["params"]} for message in messages]

    def refusals(self) -> list[Message]:
        """Return the parameters of the notices ``refused`` since the last call, without their messages."""
        refused = [message["params"] for message in self.read() if message.get("method") == "refused"]
        assert all(params.pop("message").endswith(".") for params in refused)
        return refused

    def texts(self) -> list[str]:
        """Return the texts of the lines since the last call. Other notifications are dropped."""
        return [event["text"] for event in self.events() if event["method"] in {"said", "emoted"}]

    def is_closed(self) -> bool:
        """Whether the server has closed its direction."""
        return self.transport.finished

    # The end

    def vanish(self, *, clean: bool = False) -> None:
        """Lose the connection."""
        self.person.vanish(clean=clean)

    def hang_up(self) -> None:
        """Close the connection, after the server has closed its direction."""
        self.person.hang_up()

    @property
    def resume(self) -> Message:
        """The member ``resume`` of a ``hello`` that resumes the session, from the state that ``hello`` has returned."""
        rooms = {name: room["last"] for name, room in self.welcome["rooms"].items()}
        return {"token": self.welcome["token"], "journal": self.welcome["journal"], "rooms": rooms, "attempt": 1}


class _ProgramWorld(World):
    """A server with the JSON-RPC door."""

    token_prefix = "token-"
    """The begin of all tokens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - those of World
        super().__init__(*args, **kwargs)
        tokens = count(1)
        self.sessions = Sessions(
            self.hub,
            self.clock,
            self._soon.append,
            self.wall,
            lambda: f"{self.token_prefix}{next(tokens)}",
            self.connections.limiter,
            self.factory.visit_log,
        )
        encode = self.factory.encoder_for(View()).encode
        self.context = DoorContext(self.sessions, self.connections, lambda: 0.5, encode)
        self.factory.hand_over = partial(take_over, self.context)

    def open_program(self, address: IAddress | None = None) -> Program:
        """Return a program that has sent nothing yet."""
        return Program(self, self.connect(address))

    def program(self, nick: str, **params: object) -> Program:
        """Return a program that has said hello."""
        program = self.open_program()
        program.hello(nick, **params)
        return program

    def programs(self, *nicks: str) -> list[Program]:
        """Return programs that have said hello and read everything."""
        programs = [self.program(nick) for nick in nicks]
        for program in programs:
            program.read()
        return programs


class ProgramWorld(_ProgramWorld):
    """A server with the JSON-RPC door."""


class DirectProgramWorld(_ProgramWorld, DirectWorld):
    """A server with the JSON-RPC door that sends to the sockets directly."""
