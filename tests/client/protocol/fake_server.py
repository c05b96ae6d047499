"""A server of the program protocol in memory: small, and with faults on demand."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

Params = dict[str, Any]


class Refusal(Exception):
    def __init__(self, code: int, reason: str, **data: object) -> None:
        super().__init__(f"This is refused: {reason}.")
        self.error = {"code": code, "message": str(self), "data": {"reason": reason, **data}}


class FakeSession:
    """A session, which outlives its connections."""

    def __init__(self, nick: str, number: int) -> None:
        self.nick = nick
        self.session = f"s{number}"
        self.token = f"token-{number}"
        self.rooms: set[str] = set()
        self.away: str | None = None
        self.told: list[Params] = []
        self.tell_uids: set[str] = set()
        self.attempt = 0
        self.account: str | None = None
        self.grace = 60.0
        self.connection: FakeConnection | None = None


class FakeServer:
    """The rooms, the journal and the sessions. Lines are stored and delivered at once."""

    def __init__(self) -> None:
        self.journal = "journal-1"
        self.lines: dict[str, list[Params]] = {"lobby": []}
        self.topics: dict[str, str | None] = {}
        self.sessions: dict[str, FakeSession] = {}
        self.connections: list[FakeConnection] = []
        self.greeting = b"Welcome to a chat.\r\nNickname: \r\n"
        self.max_replay = 1000
        self.max_page_bytes = 200_000
        self.answers_held: list[tuple[FakeConnection, Params]] | None = None
        """Answers to ``history`` are put here if it is a list."""
        self.fails: dict[str, Refusal] = {}
        """Methods that are refused."""
        self.refused_rooms: set[str] = set()
        """The rooms that ``hello`` refuses."""
        self.give_slot: Callable[[FakeConnection, Params], Params] | None = None
        """Answers ``upload``. None: the server takes no files."""
        self.passwords: dict[str, str] = {}
        """The passwords of registered nicknames."""
        self.calls: list[tuple[str, Params]] = []
        self._numbers = count(1)

    def connect(self) -> FakeConnection:
        connection = FakeConnection(self)
        self.connections.append(connection)
        return connection

    def say(self, text: str, room: str = "lobby", nick: str = "ann", **more: object) -> int:
        """Store a line of another person, and deliver it."""
        return int(self.store("said", room, text, nick, **more)["seq"])

    def store(self, method: str, room: str, text: str, nick: str, **more: object) -> Params:
        lines = self.lines.setdefault(room, [])
        seq = len(lines) + 1
        line = {"method": method, "room": room, "seq": seq, "at": 1000.0 + seq, "nick": nick, "text": text} | more
        line.setdefault("session", f"of-{nick}")
        lines.append(line)
        self.deliver(room, line)
        return line

    def deliver(self, room: str, event: Params) -> None:
        for session in self.sessions.values():
            if session.connection and room in session.rooms:
                session.connection.notify(event)

    def announce(self, event: Params) -> None:
        for session in self.sessions.values():
            if session.connection:
                session.connection.notify(event)

    def hide(self, *texts: str, room: str = "lobby") -> None:
        """Store lines that are not delivered, and tell that they are not."""
        sessions = self.sessions
        self.sessions = {}
        numbers = [self.say(text, room) for text in texts]
        self.sessions = sessions
        self.deliver(room, {"method": "gap", "room": room, "first": numbers[0], "last": numbers[-1]})

    def tell(self, nick: str, text: str) -> None:
        session = next(session for session in self.sessions.values() if session.nick == nick)
        self.tell_session(session, text)

    def tell_session(self, session: FakeSession, text: str) -> None:
        event = {"method": "told", "id": len(session.told) + 1, "nick": "ann", "session": "of-ann", "at": 1.0}
        session.told.append(event | {"text": text})
        if session.connection:
            session.connection.notify(session.told[-1])

    def tell_everybody(self, text: str) -> None:
        for session in self.sessions.values():
            self.tell_session(session, text)

    def repeat(self, room: str) -> None:
        """Deliver the last two lines a second time."""
        for line in self.lines[room][-2:]:
            self.deliver(room, line)

    def lose_sessions(self) -> None:
        """Forget all sessions, as a restart does."""
        for connection in self.connections:
            connection.close()
        self.sessions.clear()

    def lose_journal(self) -> None:
        self.lose_sessions()
        self.journal += "-next"
        self.lines = {room: [] for room in self.lines}


class FakeConnection:
    """A connection: bytes in, bytes out."""

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.session: FakeSession | None = None
        self.output = bytearray(server.greeting)
        self.input = bytearray()
        self.is_closed = False

    def close(self) -> None:
        """Close from either side."""
        self.is_closed = True
        if self.session and self.session.connection is self:
            self.session.connection = None
            if not self.session.grace:
                self.server.sessions.pop(self.session.token, None)
        if self in self.server.connections:
            self.server.connections.remove(self)

    def receive(self, data: bytes) -> None:
        self.input += data
        while not self.is_closed and b"\n" in self.input:
            line, _, self.input = self.input.partition(b"\n")
            self._execute(json.loads(line))

    def notify(self, event: Params, of: str | None = None) -> None:
        """Send a notification. *of* is the method in the parameters of ``refused``."""
        params = dict(event)
        method = params.pop("method")
        if of is not None:
            params["method"] = of
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def send(self, message: Params) -> None:
        self.output += json.dumps(message, ensure_ascii=False).encode() + b"\n"

    def _execute(self, message: Params) -> None:
        method, params = message["method"], message.get("params", {})
        self.server.calls.append((method, params))
        response: Params = {"jsonrpc": "2.0", "id": message.get("id")}
        self.after: list[Params] = []
        try:
            response["result"] = self._result(method, params)
        except Refusal as refusal:
            response["error"] = refusal.error
        if method == "history" and self.server.answers_held is not None:
            self.server.answers_held.append((self, response))
            return
        if "id" in message:
            self.send(response)
        elif "error" in response:
            error = response["error"]
            self.notify({"method": "refused", "code": error["code"], "message": error["message"]}, method)
        for event in self.after:
            self.notify(event)
        if method == "quit":
            self.close()

    def _result(self, method: str, params: Params) -> object:
        if method in self.server.fails:
            raise self.server.fails[method]
        if self.session is None and method != "hello":
            raise Refusal(1002, "hello-first")
        return getattr(self, f"do_{method}")(**{name.replace("from", "first"): params[name] for name in params})

    # Methods

    @property
    def me(self) -> FakeSession:
        assert self.session
        return self.session

    def do_hello(  # noqa: PLR0913 -- those of the method
        self,
        protocol: int,
        client: str,
        nick: str,
        *,
        rooms: Sequence[str] = ("lobby",),
        replay: int = 50,
        resume: Params | None = None,
        grace: float = 60,
        password: str | None = None,
        private: bool = True,
    ) -> Params:
        server = self.server
        seen: dict[str, int] = {}
        session = None
        if resume:
            seen = resume["rooms"]
            if resume["journal"] != server.journal:
                raise Refusal(1010, "other-journal")
            if any(seq > len(server.lines.get(room, ())) for room, seq in seen.items()):
                raise Refusal(1010, "ahead")
            session = server.sessions.get(resume["token"])
            if session and resume["attempt"] <= session.attempt:
                raise Refusal(1013, "stale")
        resumed = session is not None
        if session is None:
            session = self._new_session(nick, rooms, password)
        else:
            assert resume
            session.attempt = resume["attempt"]
            if old := session.connection:
                session.connection = self
                old.notify({"method": "goodbye", "reason": "resumed elsewhere", "reconnect": False})
                old.close()
            self.after += [told for told in session.told if told["id"] > resume["told"]]
        self.session = session
        session.connection = self
        session.grace = grace
        return {
            "server": "fake", "version": "1", "features": [], "motd": None, "now": 1.0, "resumed": resumed,
            "journal": server.journal, "nick": session.nick, "session": session.session, "token": session.token,
            "grace": grace, "account": session.account,
            "limits": {"line_bytes": 4096, "lines_at_once": 40, "lines_per_second": 2, "new": 1},
            "rooms": {room: self._enter(room, replay, seen.get(room)) for room in sorted(session.rooms)},
        }  # fmt: skip

    def _new_session(self, nick: str, rooms: Sequence[str], password: str | None) -> FakeSession:
        server = self.server
        for room in rooms:
            if room in server.refused_rooms:
                raise Refusal(1004, "no-such-room", room=room)
        if password is not None or nick in server.passwords:
            self._check(nick, password)
            self._end_others(nick)
        if any(other.nick == nick for other in server.sessions.values()):
            raise Refusal(1003, "nick-refused", why="taken")
        session = FakeSession(nick, next(server._numbers))
        session.account = nick if nick in server.passwords else None
        session.rooms = {room.lower() for room in rooms}
        server.sessions[session.token] = session
        return session

    def _enter(self, room: str, replay: int, after: int | None) -> Params:
        lines = self.server.lines.setdefault(room, [])
        wanted = lines[len(lines) - min(replay, len(lines)) :] if after is None else lines[after:]
        events = wanted[-self.server.max_replay :]
        more = len(events) < (len(lines) if after is None else len(wanted))
        if after is not None and more:
            events = [{"method": "gap", "room": room, "first": after + 1, "last": len(lines) - len(events)}, *events]
        members = self._people(room)
        topic = self.server.topics.get(room)
        return {
            "room": room, "last": len(lines), "topic": topic, "count": len(members), "members": members[:200],
            "events": events, "more": more,
        }  # fmt: skip

    def _people(self, room: str) -> list[Params]:
        sessions = sorted(self.server.sessions.values(), key=lambda session: session.nick)
        return [
            {"nick": session.nick, "session": session.session, "away": session.away, "idle": 0}
            for session in sessions
            if room in session.rooms
        ]

    def do_join(self, room: str, replay: int = 50, after: int | None = None) -> Params:
        room = room.lower()
        if room == "closed":
            raise Refusal(1004, "no-such-room")
        self.me.rooms.add(room)
        return self._enter(room, replay, after)

    def do_leave(self, room: str, reason: str | None = None) -> Params:
        if room.lower() not in self.me.rooms:
            raise Refusal(1005, "not-in-room")
        self.me.rooms.remove(room.lower())
        return {}

    def do_say(self, room: str, text: str, uid: str = "", method: str = "said") -> Params:
        room = room.lower()
        if room not in self.me.rooms:
            raise Refusal(1005, "not-in-room")
        if len(text.encode()) > 4096:
            raise Refusal(1008, "too-long", limit=4096)
        line = next((line for line in self.server.lines[room] if uid and line.get("uid") == uid), None)
        if line is None:
            line = self.server.store(method, room, text, self.me.nick, uid=uid, session=self.me.session)
        elif (line["text"], line["nick"]) != (text, self.me.nick):
            raise Refusal(1012, "uid-reused", seq=line["seq"])
        return {"seq": line["seq"], "at": line["at"]}

    def do_emote(self, room: str, text: str, uid: str) -> Params:
        return self.do_say(room, text, uid, "emoted")

    def do_tell(self, to: str, text: str, uid: str) -> Params:
        if to == "nobody":
            raise Refusal(1006, "not-here")
        recipient = next((session for session in self.server.sessions.values() if session.nick == to), None)
        if uid not in self.me.tell_uids and recipient:
            self.server.tell_session(recipient, text)
        self.me.tell_uids.add(uid)
        return {"away": "lunch"} if to == "away" else {}

    def do_upload(self, **params: Any) -> Params:  # noqa: ANN401 -- any type
        if self.server.give_slot is None:
            raise Refusal(-32601, "method-not-found")
        if params["room"] not in self.me.rooms:
            raise Refusal(1005, "not-in-room")
        return self.server.give_slot(self, params)

    def do_topic(self, room: str, text: str | None) -> Params:
        room = room.lower()
        self.server.topics[room] = text
        event = {"method": "topic", "room": room, "nick": self.me.nick, "session": self.me.session, "text": text}
        self.server.deliver(room, event)
        return {}

    def do_nick(self, nick: str) -> Params:
        old, self.me.nick = self.me.nick, nick
        for room in self.me.rooms:
            event = {"method": "renamed", "room": room, "old": old, "nick": nick, "session": self.me.session}
            self.server.deliver(room, event)
        return {"nick": nick}

    def _check(self, nick: str, password: str | None) -> None:
        if password is None:
            raise Refusal(1020, "password-needed")
        if self.server.passwords.get(nick) != password:
            raise Refusal(1021, "wrong-password")

    def _end_others(self, nick: str) -> None:
        for other in [other for other in self.server.sessions.values() if other.nick == nick]:
            del self.server.sessions[other.token]
            if other.connection and other.connection is not self:
                other.connection.notify({"method": "goodbye", "reason": "Taken over.", "reconnect": False})
                other.connection.close()

    @property
    def _account(self) -> Params:
        return {"nick": self.me.nick, "account": self.me.account}

    def do_register(self, password: str) -> Params:
        if self.me.nick in self.server.passwords:
            raise Refusal(-32602, "registered")
        self.server.passwords[self.me.nick] = password
        self.me.account = self.me.nick
        return self._account

    def do_login(self, password: str, nick: str = "") -> Params:
        nick = nick or self.me.nick
        self._check(nick, password)
        if nick != self.me.nick:
            self._end_others(nick)
            self.do_nick(nick)
        self.me.account = nick
        return self._account

    def do_logout(self) -> Params:
        self.me.account = None
        self.do_nick(f"{self.me.nick}2")
        return self._account

    def do_set_password(self, old: str, new: str) -> Params:
        assert self.me.account
        self._check(self.me.account, old)
        self.server.passwords[self.me.account] = new
        return {}

    def do_drop(self, password: str) -> Params:
        assert self.me.account
        self._check(self.me.account, password)
        del self.server.passwords[self.me.account]
        self.me.account = None
        return self._account

    def do_away(self, reason: str | None) -> Params:
        self.me.away = reason
        return {}

    def do_history(self, room: str, **which: int) -> Params:
        lines = self.server.lines[room.lower()]
        match which:
            case {"last": number}:
                chosen = lines[len(lines) - min(number, len(lines)) :]
            case {"before": seq, "count": number}:
                chosen = lines[: seq - 1][-number:]
            case {"after": seq, "count": number}:
                chosen = lines[seq:][:number]
            case {"first": first, "to": to}:
                chosen = lines[first - 1 : to]
            case _:
                raise Refusal(-32602, "params")
        events: list[Params] = []
        space = self.server.max_page_bytes
        for line in reversed(chosen):
            space -= len(json.dumps(line))
            if space < 0:
                break
            events.insert(0, line)
        return {"events": events, "more": len(events) < len(lines)}

    def do_search(self, room: str, words: str, count: int = 50) -> Params:
        found = [line for line in self.server.lines[room] if all(word in line["text"] for word in words.split())]
        return {"events": found[-count:]}

    def do_rooms(self) -> list[Params]:
        return [{"room": room, "members": 1, "last": len(lines)} for room, lines in self.server.lines.items()]

    def do_members(self, room: str, after: str = "", count: int = 1000) -> Params:
        people = self._people(room)
        page = [person for person in people if person["nick"] > after]
        return {"count": len(people), "members": page[:count], "more": len(page) > count}

    def do_command(self, room: str, line: str) -> Params:
        return {"lines": [f"{room}: {line}"]}

    def do_ping(self) -> Params:
        return {}

    def do_quit(self, reason: str | None = None) -> Params:
        del self.server.sessions[self.me.token]
        return {}


class PortConnection(asyncio.Protocol):
    """One real connection to the server. *cut_after* is the number of bytes after which it is aborted."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._fake: FakeConnection | None = None
        self.transport: asyncio.Transport | None = None
        self.is_paused = False
        self.received = 0
        self._left = port.cut_after

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._port.connections.append(self)
        if not self._port.is_mute:
            self._fake = self._port.server.connect()
            self.flush()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if self._fake:
            self._fake.receive(data)
            self._port.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.connections.remove(self)
        if self._fake:
            self._fake.close()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def flush(self) -> None:
        if self._fake is None or self.transport is None:
            return
        data = bytes(self._fake.output)
        self._fake.output.clear()
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self.transport.write(data)
        if self._fake.is_closed or self._left == 0:
            self.transport.close()


class Port:
    """The fake server on a real port, or a unix socket."""

    def __init__(self, server: FakeServer | None = None) -> None:
        self.server = server or FakeServer()
        self.connections: list[PortConnection] = []
        self.cut_after: int | None = None
        self.is_mute = False
        """Whether new connections get no answer."""
        self.number = 0
        self._listening: asyncio.Server | None = None

    async def listen(self, *, path: Path | None = None, context: ssl.SSLContext | None = None) -> Port:
        loop = asyncio.get_running_loop()
        if path is None:
            self._listening = await loop.create_server(
                lambda: PortConnection(self), "127.0.0.1", self.number, ssl=context
            )
            self.number = self._listening.sockets[0].getsockname()[1]
        else:
            self._listening = await loop.create_unix_server(partial(PortConnection, self), path)
        return self

    def flush(self) -> None:
        """Send what the server has to say."""
        for connection in list(self.connections):
            connection.flush()

    def say(self, *texts: str, room: str = "lobby") -> None:
        for text in texts:
            self.server.say(text, room)
        self.flush()

    def abort(self) -> None:
        """Abort all connections."""
        for connection in list(self.connections):
            assert connection.transport
            connection.transport.abort()

    def hang_up(self) -> None:
        """Close all connections after what was sent."""
        for connection in list(self.connections):
            assert connection.transport
            connection.transport.close()

    def close(self) -> None:
        """Refuse new connections."""
        if self._listening:
            self._listening.close()
